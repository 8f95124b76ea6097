"""Files of variables (``EnvironmentFile=``), as systemd reads them: not as a shell does.

A quote or a ``#`` within a value is a part of it, and a password may hold any.
"""

import glob
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 1_000_000
"""Bytes of a file that is read: settings are short."""

_ESCAPED = '"\\`$'
"""What a backslash stands before within double quotes; before anything else it is a part of the value."""


def variables(pattern: str) -> Iterator[tuple[str, str]]:
    """The variables in files, as far as these can be read.

    Args:
        pattern: a path, which may hold wildcards; with ``-`` before it no file need be there.
    """
    for name in sorted(glob.glob(pattern.removeprefix("-"))):  # noqa: PTH207 - it is absolute
        path = Path(name)
        try:
            # Whatever else is there may never end.
            if path.is_file() and path.stat().st_size <= _LONGEST:
                yield from assignments(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue


def assignments(text: str) -> Iterator[tuple[str, str]]:
    """The variables in the text of such a file."""
    rest = iter(text + "\n")
    for first in rest:
        if first.isspace():
            continue
        if first in "#;":
            for sign in rest:
                if sign == "\n":
                    break
            continue
        name = first
        for sign in rest:
            if sign in "=\n":
                break
            name += sign
        if sign == "=":
            yield name.strip(), _value(rest)


def _value(rest: Iterator[str]) -> str:
    """What stands behind the equals sign, to the end of its line; a backslash joins the next one."""
    value, blanks, is_begun = "", "", False
    for sign in rest:
        if sign == "\n":
            break
        if not is_begun and sign in "'\"":
            value += _quoted(rest, sign)
        elif sign == "\\":
            escaped = next(rest, "\n")
            if escaped != "\n":
                value, blanks = value + blanks + escaped, ""
            is_begun = True
        elif sign.isspace():
            blanks += sign if is_begun else ""
        else:
            value, blanks, is_begun = value + blanks + sign, "", True
    return value


def _quoted(rest: Iterator[str], quote: str) -> str:
    value = ""
    for sign in rest:
        if sign == quote:
            break
        if sign == "\\" and quote == '"':
            escaped = next(rest, "")
            value += escaped if escaped in _ESCAPED else "" if escaped == "\n" else sign + escaped
        else:
            value += sign
    return value

"""Reading the JSON object of an answer: bounded in depth and count, and of a long one as much as is there.

Python's own parser makes an object of every ``[]``, holds the interpreter, and takes all or nothing.
Here the members of the object are taken one by one: what stands before the place where an answer was cut off
is still worth having, whatever the order of its members.
"""

import json
import re
from collections.abc import Iterator

MOST_VALUES = 100_000
"""Values inside one member, a list of result files for example."""

DEEPEST = 64
"""Lists and objects inside each other."""

_MOST_MEMBERS = 1000
# A control character that a script has put out, and nobody escaped, spoils no record.
_DECODER = json.JSONDecoder(strict=False)
_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"-?[0-9][0-9.eE+-]{0,1000}|true|false|null|NaN|-?Infinity")
# Possessive: else each escape of a long text is remembered, with a hundred times its bytes.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)
_MARK = re.compile(_TOKEN.pattern + '|"', re.DOTALL)
_CUT_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")


class BeyondBoundsError(ValueError):
    """An object with more values, or deeper ones, than an honest one has."""


class EndOfTextError(ValueError):
    """The text ends inside a value."""


def read_object(body: bytes, *, is_cut: bool = False) -> dict[str, object]:
    """The members of a JSON object, in UTF-8 with or without a BOM.

    Args:
        body: the whole text, or its beginning.
        is_cut: it is the beginning: a text that is not complete ends where it was cut off, any other value
            that is not complete is left out.

    Raises:
        BeyondBoundsError: it has more values, or deeper ones, than an honest one has.
        ValueError: it is no JSON object.
    """
    text = body.decode("utf-8-sig", errors="ignore" if is_cut else "strict")
    found: dict[str, object] = {}
    begin = _past(text, 0, "{")
    try:
        # Counted one by one: a name may come again and again.
        for number, (name, value) in enumerate(_members(text, begin, is_cut=is_cut), 1):
            if number > _MOST_MEMBERS:
                raise BeyondBoundsError("too many members")
            found[name] = value
    except EndOfTextError:
        if not is_cut:
            raise
    return found


def parsed(body: bytes, *, is_cut: bool = False) -> dict[str, object] | None:
    """The JSON object of a body, with or without a BOM; None when it is none, or beyond all bounds."""
    try:
        return read_object(body, is_cut=is_cut)
    except (ValueError, RecursionError):
        return None


def _members(text: str, begin: int, *, is_cut: bool) -> Iterator[tuple[str, object]]:
    """Each member of an object whose first one begins here.

    Raises:
        EndOfTextError: the text ends before the object does.
        ValueError: this is no object.
    """
    position, closes = _skip(text, begin), "}"
    while text[position : position + 1] != closes:
        name, position = _text(text, position)
        begin = _past(text, position, ":")
        if is_cut and text[begin : begin + 1] == '"' and (cut := _cut_text(text, begin)) is not None:
            yield name, cut
            raise EndOfTextError
        value, position = _value(text, begin)
        yield name, value
        position = _skip(text, position)
        if text[position : position + 1] == "}":
            break
        position, closes = _past(text, position, ","), ""
    if _skip(text, position + 1) != len(text):
        raise ValueError("something behind the object")


def _past(text: str, position: int, mark: str) -> int:
    """Where the next value or name begins, behind this mark."""
    position = _skip(text, position)
    if position == len(text):
        raise EndOfTextError
    if text[position] != mark:
        raise ValueError(f"no {mark}")
    return _skip(text, position + 1)


def _text(text: str, position: int) -> tuple[str, int]:
    if position == len(text):
        raise EndOfTextError
    if text[position] != '"':
        raise ValueError("not a text")
    try:
        value, end = _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        if _TOKEN.match(text, position) is None:
            raise EndOfTextError from None
        raise ValueError(str(error)) from None
    return str(value), end


def _value(text: str, begin: int) -> tuple[object, int]:
    first = text[begin : begin + 1]
    if first == "":
        raise EndOfTextError
    if first == '"':
        return _text(text, begin)
    if first in "[{":
        end = _end_of_container(text, begin)
        return json.loads(text[begin:end], strict=False), end
    match = _SCALAR.match(text, begin)
    if match is not None and match.end() < len(text):
        return json.loads(match[0]), match.end()
    # A number at the very end of the text may have been cut: an object closes behind its last one.
    raise EndOfTextError if match is not None or len(text) - begin < len("-Infinity") else ValueError


def _end_of_container(text: str, begin: int) -> int:
    depth = 0
    for count, token in enumerate(_MARK.finditer(text, begin)):
        mark = token[0][0]
        if token[0] == '"':
            raise EndOfTextError  # a text that does not end, whatever brackets stand in it
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
            if depth == 0:
                return token.end()
        if depth > DEEPEST or count > 2 * MOST_VALUES:
            raise BeyondBoundsError("too deep, or too many values")
    raise EndOfTextError


def _cut_text(text: str, begin: int) -> str | None:
    """A text without its end; None when it has one."""
    if _TOKEN.match(text, begin) is not None:
        return None
    raw = text[begin + 1 :]
    if (escape := _CUT_ESCAPE.search(raw, max(len(raw) - 20, 0))) is not None:
        raw = raw[: escape.start(1)]
    try:
        return str(_DECODER.decode(f'"{raw}"'))
    except json.JSONDecodeError:
        return ""


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()

"""Texts of others, made fit to be seen: on a terminal, in a log, in a mail.

What a runner writes is kept as it is. Shown as it is, it could move the cursor, set the title of a window,
answer for the person who reads it, or turn the reading direction so that a line says something else.
"""

import codecs
import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 without line ends and tabs, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the reading direction
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # end lines, mark bytes, annotate
    "\ud800-\udfff]"
)
_COLOR = re.compile(r"(\x1b\[(?:[0-79]|[1-9][0-9]|;){0,12}m)")


def escaped(text: str) -> str:
    r"""A text on any number of lines in which nothing acts: ``\x1b`` and ``\u202e`` stand for what would.

    A carriage return, with which a progress bar paints over itself, begins a line.
    """
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n").replace("\r", "\n"))


def escaped_json(document: str) -> str:
    r"""The same for a JSON document, which means what it meant before: ``\u001b``."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def is_utf8(encoding: str | None) -> bool:
    """Whether a stream of this encoding takes a document as it is: programs read UTF-8, or ASCII."""
    return codecs.lookup(encoding or "utf-8").name == "utf-8"


def colored(text: str) -> str:
    """The same for a text of ours, in which colors and bold print are kept."""
    if "\x1b" not in text:
        return escaped(text)
    parts = _COLOR.split(text)
    return "".join(part if position % 2 else escaped(part) for position, part in enumerate(parts))


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"

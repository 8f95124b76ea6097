"""Reading JSON that somebody else wrote: with bounds, and a slice at a time.

Python's parser holds the interpreter until it is done, and makes an object of every ``[]``: eight megabytes
of them take half a gigabyte. So what is outside strings is bounded first, and long strings are decoded in
slices, of which only as much is kept as anybody stores.
"""

import json
import re
from collections.abc import Generator

from poddispatchd.domain.script_output import BoundedText, storable

SLICE = 2**16
"""Bytes that are looked at in one step: a few milliseconds at most."""

_AT_ONCE = 2**20
"""Bytes that are read in one step when there are few values in them: some milliseconds."""

_FEW = 20_000

_MOST_OUTSIDE = 2**16
"""Bytes outside strings: brackets, commas, numbers. A callback has five fields."""

_MOST_STRINGS = 2000

_MOST_SKELETON = 2**18
"""Bytes of everything but long strings."""

_DEEPEST = 950
"""Brackets inside each other: a little less than Python's parser takes."""

_BOM = b"\xef\xbb\xbf"
_INSIDE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_WHOLE_ESCAPES = re.compile(rb"[^\\]*(?:\\(?:u.{4}|[^u])[^\\]*)*", re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")

Steps = Generator[None, None, object]
"""Work that can be put aside at every ``yield``; its return value is the result."""


def read_json(body: bytes) -> Steps:
    """The value that a JSON text stands for, as ``json.loads`` reads it; the middle of long strings is cut.

    Raises:
        ValueError: it is no JSON, or more of it than a callback can need.
    """
    if len(body) <= _AT_ONCE and _is_plain(body):
        return json.loads(body)
    encoding = json.detect_encoding(body)
    if encoding not in ("utf-8", "utf-8-sig"):
        if len(body) > SLICE:
            raise ValueError("a long text in another encoding than UTF-8")
        body = body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    return (yield from _read_long(body.removeprefix(_BOM)))


def _is_plain(body: bytes) -> bool:
    """Whether so few values can be in it that Python's parser is done soon, whatever is inside strings."""
    return body.count(b"[") + body.count(b"{") < _DEEPEST and body.count(b",") < _FEW


def _read_long(body: bytes) -> Steps:
    skeleton: list[bytes] = []
    texts: dict[str, str] = {}
    depth = outside = size = strings = position = 0
    while position < len(body):
        quote = body.find(b'"', position, position + _MOST_OUTSIDE + 1)
        end = quote if quote >= 0 else len(body)
        outside += end - position
        if outside > _MOST_OUTSIDE:
            raise ValueError("too many values")
        between = body[position:end]
        depth = _deepened(depth, between)
        if quote < 0:
            skeleton.append(between)
            break
        closing = yield from _end_of_string(body, quote + 1)
        if closing - quote > SLICE:
            name = f"\0{len(texts)}\0"
            texts[name] = yield from _decoded(body, quote + 1, closing)
            string = json.dumps(name).encode()
        else:
            string = body[quote : closing + 1]
        skeleton += (between, string)
        size += len(between) + len(string)
        strings += 1
        if size > _MOST_SKELETON or strings > _MOST_STRINGS:
            raise ValueError("too many strings")
        position = closing + 1
    value = json.loads(b"".join(skeleton))
    if isinstance(value, dict):
        return {key: texts.get(item, item) if isinstance(item, str) else item for key, item in value.items()}
    return value


def _deepened(depth: int, between: bytes) -> int:
    for bracket in _BRACKETS.findall(between):
        depth += 1 if bracket in b"[{" else -1
        if depth > _DEEPEST:
            raise ValueError("too deep")
    return depth


def _end_of_string(body: bytes, position: int) -> Generator[None, None, int]:
    """Where the quote is that closes a string which begins here."""
    while True:
        match = _INSIDE.match(body, position, position + SLICE)
        end = position if match is None else match.end()
        if body[end : end + 1] == b'"':
            return end
        if end + 1 >= len(body) or end == position:
            raise ValueError("a string without an end")
        position = end
        yield


def _decoded(body: bytes, position: int, closing: int) -> Generator[None, None, str]:
    """The text of a long string, bounded."""
    text = BoundedText()
    held = ""
    while position < closing:
        match = _WHOLE_ESCAPES.match(body, position, min(position + SLICE, closing))
        end = position if match is None else match.end()
        while position < end < closing and body[end] & 0xC0 == 0x80:
            end -= 1  # not within a character
        if end == position:
            raise ValueError("an escape without an end")
        piece = held + str(json.loads(b'"' + body[position:end] + b'"'))
        held = piece[-1:] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        text.add(storable(_joined(piece.removesuffix(held) if held else piece)))
        position = end
        yield
    text.add(storable(held))
    return text.text()


def _joined(piece: str) -> str:
    """The same with surrogates that make a pair put together: a cut may have gone between them."""
    if piece.isascii():
        return piece
    return piece.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

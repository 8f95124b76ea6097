"""Captions as speech recognition and editors really write them, made readable for a WebVTT parser.

Players pass over what they cannot read, without a word. Here it is repaired where its meaning is plain: times
with commas or with more than 59 minutes, blank lines inside a text or missing between captions, a file of
SubRip without its header. What is still unreadable is counted, by its line.
"""

import re

from msgspec import Struct, field

__all__ = ["RepairedCaptions", "repaired"]

ARROW = "-->"
_ESCAPED_ARROW = "--&gt;"
_HEADER = "WEBVTT"

_TIME = r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2})(?:[.,](\d{1,9}))?"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_IDENTIFIER = re.compile(r"^\s*\d{1,9}\s*$")
_BEGINS_LIKE_A_TIME = re.compile(r"\W{0,3}\d")
_HOLDS_LIKE_A_TIME = re.compile(r"\d[:.,]\d")
_TOKENS_APART = re.compile(r"^\s*\S+\s*-->\s*\S+\s*$")
"""Where a time stands: two words that are none, as ``nan --> nan``."""

_LONGEST_TIMES = 200
"""Characters of a line that may be meant as times: a longer one is a text."""

_APART = ("NOTE", "STYLE", "REGION")


class RepairedCaptions(Struct):
    """Lines that a WebVTT parser reads.

    ``captions`` counts those with a text, readable or not; ``unread`` holds the line numbers (from 1) of the
    ones whose times cannot be understood, and whose texts are therefore not among the lines.
    """

    lines: list[str] = field(default_factory=list)
    captions: int = 0
    unread: list[int] = field(default_factory=list)


class _Caption(Struct):
    timing: str | None
    """As WebVTT writes it; None when it cannot be understood."""
    line: int
    identifier: str | None = None
    text: list[str] = field(default_factory=list)


def repaired(text: str) -> RepairedCaptions:
    """Read the text of a caption file; one without captions, or of another kind, comes back as it is."""
    # Not by one regular expression: it would hold up everything else for as long as the file is long.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    blocks = _blocks(lines)
    found = RepairedCaptions()
    if not blocks:
        return RepairedCaptions(lines)
    if not blocks[0][1][0].lstrip("\ufeff").startswith(_HEADER):
        if not any(_TIMING.match(line) for line in blocks[0][1][:2]):
            return RepairedCaptions(lines)
        # SubRip, but for its name.
        blocks.insert(0, (1, [_HEADER]))
    number, head = blocks[0]
    # A caption may follow the header without a blank line.
    at = next((at for at, line in enumerate(head) if at and ARROW in line), len(head))
    found.lines += [*head[:at], ""]
    if at < len(head):
        blocks.insert(1, (number + at, head[at:]))
    _Reader(found).read(blocks[1:])
    return found


def _blocks(lines: list[str]) -> list[tuple[int, list[str]]]:
    """Lines between blank ones, each block with the number of its first line."""
    blocks: list[tuple[int, list[str]]] = []
    is_open = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            is_open = False
        elif is_open:
            blocks[-1][1].append(line)
        else:
            blocks.append((number, [line]))
            is_open = True
    return blocks


class _Reader:
    """Goes through the blocks behind the header, and keeps the caption that a text may belong to."""

    def __init__(self, found: RepairedCaptions) -> None:
        self._found = found
        self._caption: _Caption | None = None
        self._identifier: str | None = None
        self._is_in_note = False

    def read(self, blocks: list[tuple[int, list[str]]]) -> None:
        for place, (number, lines) in enumerate(blocks):
            following = blocks[place + 1][1] if place + 1 < len(blocks) else []
            is_apart = lines[0].split(maxsplit=1)[0] in _APART
            if is_apart and not any(_TIMING.match(line) for line in lines[:2]):
                self._end_caption()
                self._found.lines += [*(line.replace(ARROW, _ESCAPED_ARROW) for line in lines), ""]
                self._is_in_note = lines[0].startswith("NOTE")
            elif self._begins_caption(lines):
                self._captions(number, lines)
            elif self._is_lone_identifier(lines, following):
                self._end_caption()
                self._identifier = lines[0].strip()
            elif self._caption is not None:
                self._caption.text += lines
            elif self._is_in_note:
                self._found.lines[-1:] = [*(line.replace(ARROW, _ESCAPED_ARROW) for line in lines), ""]
        self._end_caption()

    def _begins_caption(self, lines: list[str]) -> bool:
        return any(_TIMING.match(line) or self._is_like_a_time(line) for line in lines[:2])

    def _is_like_a_time(self, line: str) -> bool:
        """Whether a line that stands where a time does is meant as one.

        With a caption before, it may be more of that one's text, behind a blank line: only two words with an
        arrow between them are not believed to be said. Without one it can be nothing else.
        """
        if ARROW not in line:
            return False
        if self._caption is None:
            return True
        if len(line) > _LONGEST_TIMES:
            return False
        before, _, behind = line.partition(ARROW)
        return bool(
            _BEGINS_LIKE_A_TIME.match(before)
            or _HOLDS_LIKE_A_TIME.search(behind)
            or _TOKENS_APART.match(line)
        )

    def _is_lone_identifier(self, lines: list[str], following: list[str]) -> bool:
        """A number on its own before a time is that caption's, unless it does not count on."""
        if len(lines) > 1 or not _IDENTIFIER.match(lines[0]) or not following:
            return False
        if not _TIMING.match(following[0]):
            return False
        before = self._caption.identifier if self._caption is not None else None
        count_on = {self._found.captions + 1, self._found.captions + 2}
        if before is not None and _IDENTIFIER.match(before):
            count_on = {int(before) + 1}
        return int(lines[0]) in count_on

    def _captions(self, number: int, lines: list[str]) -> None:
        """The captions of a block: more than one where the blank line between them is missing."""
        for offset, line in enumerate(lines):
            timing = _timing(line)
            is_place_of_time = self._caption is None or (offset < 2 and self._caption.line < number)
            if timing is None and not (is_place_of_time and self._is_like_a_time(line)):
                if self._caption is not None and self._caption.line >= number:
                    self._caption.text.append(line)
                elif offset == 0:
                    self._end_caption()
                    self._identifier = line
                continue
            identifier = self._identifier
            if self._caption is not None and self._caption.line >= number:
                identifier = None
                text = self._caption.text
                if text and _IDENTIFIER.match(text[-1]):
                    identifier = text.pop()
            self._end_caption()
            self._caption = _Caption(timing, number + offset, identifier)
            self._identifier = None

    def _end_caption(self) -> None:
        self._is_in_note = False
        caption, self._caption = self._caption, None
        if caption is None:
            return
        found = self._found
        if any(line.strip() for line in caption.text):
            found.captions += 1
            if caption.timing is None:
                found.unread.append(caption.line)
        if caption.timing is None:
            return
        identifier = [caption.identifier.replace(ARROW, "->")] if caption.identifier else []
        text = [line.replace(ARROW, _ESCAPED_ARROW) for line in caption.text]
        found.lines += [*identifier, caption.timing, *text, ""]


def _timing(line: str) -> str | None:
    match = _TIMING.match(line)
    if match is None:
        return None
    return f"{_written(*match.groups()[:4])} {ARROW} {_written(*match.groups()[4:])}"


def _written(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> str:
    """A time as WebVTT writes it, with minutes and seconds below 60."""
    total = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    milliseconds = (fraction or "").ljust(3, "0")[:3]
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}.{milliseconds}"

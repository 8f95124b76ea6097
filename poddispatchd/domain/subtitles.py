"""Subtitles: read as Pod's library reads them, written as WebVTT that every player accepts."""

import codecs
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import webvtt
from webvtt.errors import MalformedCaptionError, MalformedFileError

from poddispatchd.errors import ResultRefusedError

READING_WIDTH = 55
"""Characters a line, by which captions are re-flowed for reading."""

STRICT_WIDTH = 40
"""The same under CAPTIONS_STRICT_ACCESSIBILITY."""

_LINES = 2
_TIMING = re.compile(
    r"^\s*(?:\d+:)?\d{1,2}:\d{1,2}\.\d{1,3}\s*-->\s*(?:\d+:)?\d{1,2}:\d{1,2}\.\d{1,3}(?:\s.*)?$"
)
_ARROW, _ESCAPED_ARROW = "-->", "--&gt;"

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption. ``start`` and ``end`` in seconds; ``lines`` hold markup; ``notes`` stand before it."""

    start: float
    end: float
    lines: tuple[str, ...]
    identifier: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subtitles:
    """A whole file. ``styles`` are the bodies of STYLE blocks, each with the notes before it."""

    cues: tuple[Cue, ...]
    styles: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    header_notes: tuple[str, ...] = ()
    footer_notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The file's text: positions and regions are left out, as Pod's library leaves them out."""
        blocks = [["WEBVTT"], *map(_note, self.header_notes)]
        for lines, notes in self.styles:
            blocks += [*map(_note, notes), ["STYLE", *lines]]
        for cue in self.cues:
            blocks += map(_note, cue.notes)
            head = [cue.identifier] if cue.identifier else []
            blocks.append([*head, f"{_timestamp(cue.start)} --> {_timestamp(cue.end)}", *cue.lines])
        blocks += map(_note, self.footer_notes)
        return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def read_subtitles(name: str, data: bytes) -> Subtitles:
    """Read a ``.vtt`` file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    An arrow inside a text is kept (escaped, as WebVTT wants it); captions without text are left out.

    Args:
        name: the file's name, for the words of an error.
        data: its content.

    Raises:
        ResultRefusedError: it cannot be read, or holds no caption at all.
    """
    encoding = next((codec for mark, codec in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ResultRefusedError(f"The subtitles in {name} are not text in UTF-8.") from None
    try:
        parsed = webvtt.from_string("\n".join(_with_escaped_arrows(text)))
        cues = tuple(_cue(caption) for caption in parsed.captions if any(caption.lines))
    except (MalformedFileError, MalformedCaptionError, ValueError) as error:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ResultRefusedError(f"The subtitles in {name} are not WebVTT: {reason}.") from None
    if not cues:
        raise ResultRefusedError(
            f"The subtitles in {name} hold no caption: nothing was understood in the sound."
        )
    return Subtitles(
        cues=cues,
        styles=tuple((tuple(style.lines), tuple(style.comments)) for style in parsed.styles),
        header_notes=tuple(parsed.header_comments),
        footer_notes=tuple(parsed.footer_comments),
    )


def _with_escaped_arrows(text: str) -> Iterator[str]:
    # Any arrow outside a timing line makes the library drop the caption it stands in.
    for line in re.split(r"\r\n|\r|\n", text):
        yield line if _TIMING.match(line) else line.replace(_ARROW, _ESCAPED_ARROW)


def _cue(caption: webvtt.Caption) -> Cue:
    return Cue(
        start=_seconds(str(caption.start)),
        end=_seconds(str(caption.end)),
        lines=tuple(caption.lines),
        identifier=caption.identifier or "",
        notes=tuple(caption.comments),
    )


def _seconds(timestamp: str) -> float:
    hours, minutes, seconds = timestamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _timestamp(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def _note(text: str) -> list[str]:
    return ["NOTE", *text.split("\n")] if "\n" in text else [f"NOTE {text}".rstrip()]


def reflow(subtitles: Subtitles, width: int) -> Subtitles:
    """The subtitles with long captions split so that each fits into two lines of ``width`` characters.

    The time of a caption goes to its parts by their number of words. A word longer than a line is cut.
    Captions that fit stay as they are.
    """
    return replace(subtitles, cues=tuple(part for cue in subtitles.cues for part in _split(cue, width)))


def _split(cue: Cue, width: int) -> Sequence[Cue]:
    if len(cue.lines) <= _LINES and all(len(line) <= width for line in cue.lines):
        return [cue]
    lines = textwrap.wrap(" ".join(cue.lines), width, break_on_hyphens=False)
    parts = [" ".join(lines[at : at + _LINES]) for at in range(0, len(lines), _LINES)]
    counts = [len(part.split()) for part in parts]
    total = sum(counts)
    cues = []
    done = 0
    for part, count in zip(parts, counts, strict=True):
        start, end = (cue.start + (cue.end - cue.start) * words / total for words in (done, done + count))
        cues.append(Cue(start, end, (part,), notes=cue.notes if done == 0 else ()))
        done += count
    return cues

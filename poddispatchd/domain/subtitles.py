"""Subtitles: read as Pod's library reads them, written as WebVTT that every player accepts."""

import codecs
import re
import textwrap
from collections.abc import Sequence

import webvtt
from msgspec import Struct
from msgspec.structs import replace
from webvtt.errors import MalformedCaptionError, MalformedFileError

from poddispatchd.domain.caption_repair import RepairedCaptions, repaired
from poddispatchd.errors import ResultRefusedError

READING_WIDTH = 55
"""Characters a line, by which captions are re-flowed for reading."""

STRICT_WIDTH = 40
"""The same under CAPTIONS_STRICT_ACCESSIBILITY."""

LARGEST_CAPTIONS = 8 * 2**20
"""Bytes of a file: a caption for every second of a day takes five megabytes."""

_LINES = 2
_MOST_NAMED = 5

_MOST_LINES = 500_000
"""Of a file: a caption for every second of a day has 350,000."""

_LONGEST_CAPTION = 100_000
"""Characters of one caption: far more than the words of a whole lecture."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Players of the web write a caption's text into the page; what they would take for an element is taken out.
_LOOKS_LIKE_A_TAG = re.compile(r"<\s*[/!?a-z]", re.IGNORECASE)
_SPAN = re.compile(r"<(/?)(c|i|b|u|ruby|rt|v|lang)((?:\.[\w-]{1,50})*)(?:\s+([^>]*))?>")
_TIMESTAMP = re.compile(r"<(?:\d{1,4}:)?\d{2}:\d{2}\.\d{3}>")
_SPEAKER = re.compile(r"[\w\s.,;:'\u2019&()/+-]{1,100}")
_LANGUAGE = re.compile(r"[A-Za-z0-9-]{1,35}")
_MARKUP = re.compile(r"<[^>]*>")
"""In a text that was read: of its characters only those of tags are still written so."""

_ACTIVE_STYLE = re.compile(r"url|image|@|\\|<|>|expression|script|behavior|binding|/\*", re.IGNORECASE)


class Cue(Struct, frozen=True):
    """One caption. ``start`` and ``end`` in seconds; ``lines`` hold markup; ``notes`` stand before it."""

    start: float
    end: float
    lines: tuple[str, ...]
    identifier: str = ""
    notes: tuple[str, ...] = ()


class Subtitles(Struct, frozen=True):
    """A whole file. ``styles`` are the bodies of STYLE blocks, each with the notes before it.

    ``warnings`` say what of the file it was read from is not among them, each a sentence.
    """

    cues: tuple[Cue, ...]
    styles: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    header_notes: tuple[str, ...] = ()
    footer_notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

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
    """Read a ``.vtt`` file with captions; see ``read_captions``.

    Raises:
        ResultRefusedError: it cannot be read, or holds no caption at all.
    """
    subtitles = read_captions(name, data)
    if not subtitles.cues:
        raise ResultRefusedError(
            f"The subtitles in {name} hold no caption: nothing was understood in the sound."
        )
    return subtitles


def read_captions(name: str, data: bytes) -> Subtitles:
    """Read a ``.vtt`` file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    What has a plain meaning is repaired. An arrow inside a text is kept (escaped, as WebVTT wants it). Only
    markup that WebVTT knows stays; styles that fetch something go. Captions without text are left out.

    Args:
        name: the file's name, for the words of errors and warnings.
        data: its content.

    Raises:
        ResultRefusedError: it cannot be read, or no caption of it can.
    """
    encoding = next((codec for mark, codec in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ResultRefusedError(f"The subtitles in {name} are not text in UTF-8.") from None
    if text.count("\n") + text.count("\r") > _MOST_LINES:
        raise ResultRefusedError(f"The subtitles in {name} have more than {_MOST_LINES} lines.")
    source = repaired(text)
    try:
        # Not as one text: older releases of the library end lines at characters that WebVTT leaves in them.
        parsed = webvtt.from_buffer(f"{line}\n" for line in source.lines)
        if any(sum(map(len, caption.lines)) > _LONGEST_CAPTION for caption in parsed.captions):
            raise ResultRefusedError(f"A caption in {name} has more than {_LONGEST_CAPTION} characters.")
        read = [_cue(caption) for caption in parsed.captions if any(caption.lines)]
    except (MalformedFileError, MalformedCaptionError, ValueError) as error:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ResultRefusedError(f"The subtitles in {name} are not WebVTT: {reason}.") from None
    lost = source.captions - len(read)
    if lost > 0 and not read:
        raise ResultRefusedError(f"None of the {_lost_words(name, lost, source)}")
    styles = tuple(
        (tuple(style.lines), tuple(map(clean_plain, style.comments)))
        for style in parsed.styles
        if is_harmless_style(tuple(style.lines))
    )
    warnings = []
    if lost > 0:
        warnings.append(f"{lost} of {_lost_words(name, lost, source)}")
    if len(styles) < len(parsed.styles):
        warnings.append(f"A style in {name} that would fetch something was left out.")
    return Subtitles(
        cues=tuple(cue for cue in read if cue.lines),
        styles=styles,
        header_notes=tuple(map(clean_plain, parsed.header_comments)),
        footer_notes=tuple(map(clean_plain, parsed.footer_comments)),
        warnings=tuple(warnings),
    )


def _lost_words(name: str, lost: int, source: RepairedCaptions) -> str:
    words = f"{source.captions} captions in {name} could{' not' if lost < source.captions else ''} be read"
    if source.unread:
        lines = ", ".join(map(str, source.unread[:_MOST_NAMED]))
        more = ", …" if len(source.unread) > _MOST_NAMED else ""
        words += f": line{'s' if len(source.unread) > 1 else ''} {lines}{more}"
    return f"{words} (times are written 00:01:02.345 --> 00:01:04.000)."


def _cue(caption: webvtt.Caption) -> Cue:
    return Cue(
        start=_seconds(str(caption.start)),
        end=_seconds(str(caption.end)),
        lines=tuple(line for line in clean_text("\n".join(caption.lines)).split("\n") if line.strip()),
        identifier=clean_plain(caption.identifier or ""),
        notes=tuple(map(clean_plain, caption.comments)),
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
    """The subtitles with every caption wrapped anew, as Pod does for what Whisper did not make.

    A caption of one or two lines keeps its time; Pod fills such lines up to the width, and so do we, so that
    the files are the same. A longer one is split into captions of two lines' words, and its time goes to them
    by their number of words. Of the text its words stay, without markup, one space between them: a tag that
    opens in one caption and ends in another would be broken. A word longer than a line is cut. Identifiers
    and the notes before captions go, as with Pod: the captions are other ones.
    """
    return replace(subtitles, cues=tuple(part for cue in subtitles.cues for part in _split(cue, width)))


def _split(cue: Cue, width: int) -> Sequence[Cue]:
    words = _MARKUP.sub("", " ".join(cue.lines)).split()
    lines = textwrap.wrap(" ".join(words), width, break_on_hyphens=False)
    if not lines:
        return [cue]
    if len(lines) <= _LINES:
        return [Cue(cue.start, cue.end, tuple(line.ljust(width) for line in lines))]
    parts = [" ".join(lines[at : at + _LINES]) for at in range(0, len(lines), _LINES)]
    counts = [len(part.split()) for part in parts]
    total = sum(counts)
    cues = []
    done = 0
    for part, count in zip(parts, counts, strict=True):
        start, end = (cue.start + (cue.end - cue.start) * said / total for said in (done, done + count))
        cues.append(Cue(start, end, (part,)))
        done += count
    return cues


def clean_text(text: str) -> str:
    """The text of a caption; a tag that WebVTT does not know is taken out, what it holds stays."""
    kept: list[str] = []
    at = end = 0
    # Every step goes on behind what it has looked at: megabytes of "<" take no longer than another text.
    while (tag := text.find("<", at)) >= 0:
        kept.append(text[at:tag])
        if 0 <= end <= tag:
            end = text.find(">", tag)
        if end < 0:
            kept.append(text[tag:].replace("<", "&lt;"))
            return "".join(kept)
        if (time := _TIMESTAMP.match(text, tag)) is not None:
            kept.append(time[0])
            at = end + 1
        elif _LOOKS_LIKE_A_TAG.match(text, tag):
            kept.append(_kept(_SPAN.match(text, tag)))
            at = end + 1
        else:
            kept.append("&lt;")
            at = tag + 1
    kept.append(text[at:])
    return "".join(kept)


def clean_plain(text: str) -> str:
    """A text that holds no markup at all: a note or an identifier."""
    return text.replace("<", "&lt;")


def is_harmless_style(lines: tuple[str, ...]) -> bool:
    """Whether a STYLE block only styles: it fetches nothing and runs nothing."""
    return _ACTIVE_STYLE.search("\n".join(lines)) is None


def _kept(span: re.Match[str] | None) -> str:
    if span is None:
        return ""
    slash, name, classes, annotation = span.groups()
    if slash:
        return f"</{name}>"
    allowed = {"v": _SPEAKER, "lang": _LANGUAGE}.get(name)
    annotation = (annotation or "").strip()
    if allowed is None or not allowed.fullmatch(annotation):
        annotation = ""
    return f"<{name}{classes}{' ' if annotation else ''}{annotation}>"

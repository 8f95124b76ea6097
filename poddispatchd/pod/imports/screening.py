"""What of a staged result may lie where Pod serves it: judged file by file, captions written anew."""

from msgspec import Struct

from poddispatchd.domain.encoding_result import OVERVIEW_FILE
from poddispatchd.domain.file_policy import (
    HEAD,
    IMAGE_ENDINGS,
    active_content,
    ending_of,
    image_problem,
    is_cut_film,
    is_cut_image,
    is_cut_sound,
    name_problem,
    uri_problem,
)
from poddispatchd.domain.hls import address_findings, is_cut
from poddispatchd.domain.subtitles import LARGEST_CAPTIONS, Subtitles, clean_text, read_captions
from poddispatchd.errors import ResultRefusedError
from poddispatchd.file_errors import disk_error
from poddispatchd.pod.media.files import list_files, open_file, read_part, read_text
from poddispatchd.pod.media.placing import write_staged
from poddispatchd.pod.media.tree import MediaPath

_IS_CUT = {"mp4": is_cut_film, "m4a": is_cut_film, "mp3": is_cut_sound}
_READ = (".m3u8", ".vtt", ".srt")
_MOST_TEXT = 32 * 2**20
"""Bytes of all texts of a result that are read to their end: a long lecture has some megabytes."""

_MOST_CAPTION_LINES = 1_000_000
"""Of all captions of a result together: short ones take far longer than long ones of as many bytes."""

_MOST_LINES = 500_000
"""Of subtitles whose lines are looked at one by one: a list of more would take many times their memory."""

_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""Where ``str.splitlines`` ends a line."""

_PLACE_IN_PICTURE = "#xywh="
"""What an overview adds to the name of its picture: the part of it that belongs to a moment."""


class Screened(Struct, frozen=True):
    """A staged result.

    Args:
        listing: sizes of the files that may be put in place, by name.
        left_out: the others, with the reason as the predicate of a sentence.
        cut: those of them that break off, with nothing else wrong.
        warnings: what was taken out of files that may, each a sentence.
    """

    listing: dict[str, int]
    left_out: dict[str, str]
    cut: frozenset[str]
    warnings: tuple[str, ...]


def screen(staging: MediaPath) -> Screened:
    """Judge every file of a staged result (blocking).

    Raises:
        ResultRefusedError: a text is larger than any of its kind.
        MediaNotWritableError: a file cannot be read or written.
    """
    listing: dict[str, int] = {}
    left_out: dict[str, str] = {}
    cut: set[str] = set()
    warnings: list[str] = []
    lines = 0
    files = list_files(staging)
    if sum(size for name, size in files.items() if name.lower().endswith(_READ)) > _MOST_TEXT:
        raise ResultRefusedError(
            f"The captions and playlists of the result have more than {_MOST_TEXT // 2**20} MiB together."
        )
    for name, size in files.items():
        reason = name_problem(name)
        if reason is None and size:
            lines += _caption_lines(staging / name)
            if lines > _MOST_CAPTION_LINES:
                raise ResultRefusedError(
                    f"The captions of the result have more than {_MOST_CAPTION_LINES} lines together."
                )
            reason = _content_problem(staging / name, warnings)
            if reason is not None and _is_cut(staging / name):
                cut.add(name)
        if reason is None:
            listing[name] = size
        else:
            left_out[name] = reason
    return Screened(listing, left_out, frozenset(cut), tuple(warnings))


def _content_problem(path: MediaPath, warnings: list[str]) -> str | None:
    head = read_part(path, HEAD)
    ending = ending_of(path.name)
    if (problem := active_content(head)) is not None:
        return problem
    if ending in IMAGE_ENDINGS:
        return image_problem(head)
    if ending in _IS_CUT:
        return "is cut short" if _breaks_off(path) else None
    if ending == "m3u8":
        findings = address_findings(path.name, read_text(path).decode("utf-8", "replace"))
        return f"is no playlist of a result ({' '.join(findings[:3])})" if findings else None
    if ending == "vtt":
        return _captions_problem(path, warnings)
    if ending == "srt":
        return _write_subrip(path)
    return None


def _is_cut(path: MediaPath) -> bool:
    """Whether a file that is left out would be as it should, had it not broken off."""
    ending = ending_of(path.name)
    if ending in IMAGE_ENDINGS:
        return is_cut_image(read_part(path, HEAD))
    if ending in _IS_CUT:
        return _breaks_off(path)
    return ending == "m3u8" and is_cut(path.name, read_text(path).decode("utf-8", "replace"))


def _breaks_off(path: MediaPath) -> bool:
    """A runner whose disk is full leaves such a film or sound, and serves it whole as it is."""
    try:
        with open_file(path) as file:
            return _IS_CUT[ending_of(path.name)](file.size, lambda offset, size: file.read(size, at=offset))
    except OSError as error:
        raise disk_error(error, f"{path} cannot be read") from error


def _caption_lines(path: MediaPath) -> int:
    if ending_of(path.name) != "vtt":
        return 0
    content = read_text(path, most=LARGEST_CAPTIONS)
    return content.count(b"\n") + content.count(b"\r")


def _captions_problem(path: MediaPath, warnings: list[str]) -> str | None:
    """Captions are read and written anew, so that nothing but captions is in the file."""
    content = read_text(path, most=LARGEST_CAPTIONS)
    try:
        captions = read_captions(path.name, content)
    except ResultRefusedError as error:
        return f"cannot be read ({error})"
    if (problem := _overview_problem(path, captions)) is not None:
        return problem
    warnings.extend(captions.warnings)
    written = str(captions).encode()
    if _without_space(written) != _without_space(content):
        # What differs in white space only holds nothing else, and stays as the runner wrote it.
        write_staged(path, written)
    return None


def _without_space(content: bytes) -> bytes:
    return content.translate(None, b" \t\n\r\v\f")


def _overview_problem(path: MediaPath, captions: Subtitles) -> str | None:
    """The captions of an overview are addresses of pictures, which players fetch."""
    for cue in captions.cues:
        for line in cue.lines:
            if path.name == OVERVIEW_FILE or _PLACE_IN_PICTURE in line:
                problem = uri_problem(line)
                if problem is not None:
                    return f"names a picture whose address {problem}"
    return None


def _write_subrip(path: MediaPath) -> str | None:
    content = read_text(path, most=LARGEST_CAPTIONS)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "is no text in UTF-8"
    if sum(map(text.count, _LINE_ENDS)) > _MOST_LINES:
        return f"has more than {_MOST_LINES} lines"
    written = "\n".join(map(clean_text, text.splitlines())).encode()
    if written != content:
        write_staged(path, written + b"\n")
    return None

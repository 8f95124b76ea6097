"""What a result may put where Pod's web server finds it: judged by names, and by what files begin with.

Pod serves its media tree from its own origin. A page, a script or a picture that runs scripts would act there
with the rights of whoever looks at it, so that only what a result of a task can honestly hold is let in.
"""

import posixpath
import re
from collections.abc import Iterator
from itertools import islice
from urllib.parse import unquote

from poddispatchd.domain.completeness import Read

__all__ = [
    "HEAD",
    "IMAGE_ENDINGS",
    "active_content",
    "announced_end",
    "boxes",
    "ending_of",
    "first_frame",
    "frame_length",
    "image_problem",
    "is_cut_film",
    "is_cut_image",
    "is_cut_sound",
    "is_small",
    "name_problem",
    "path_problem",
    "uri_problem",
]

HEAD = 4096
"""Bytes of a file's beginning that are looked at: browsers look at 1445."""

IMAGE_ENDINGS = frozenset({"png", "jpg", "jpeg", "webp"})

_MEDIA_ENDINGS = frozenset(
    {
        # VIDEO_ALLOWED_EXTENSIONS of Pod …
        *("3gp", "avi", "divx", "flv", "m2p", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "wmv"),
        *("mp3", "ogg", "wav", "wma", "webm", "ts"),
        # … and what its studio and its runners make besides.
        *("m4a", "aac", "flac", "oga", "ogv", "opus", "m2ts", "mka", "weba"),
    }
)
_TEXT_ENDINGS = frozenset({"m3u8", "vtt", "srt", "json", "log", "txt"})
_ENDINGS = _MEDIA_ENDINGS | IMAGE_ENDINGS | _TEXT_ENDINGS

_EXECUTED = re.compile(
    r"(php\d?|phtml|pht|phps|phar|cgi|fcgi|pl|py|rb|sh|asp|aspx|ashx|jsp|jspx|cfm|shtml?|stm|inc|htaccess|"
    r"html?|xhtml|xht|xml|xsl|xslt|svgz?|js|mjs|css|swf|wasm|mhtml?|mht|hta|htc|pdf|asis|var|lua|"
    # Served with a Content-Encoding, so that what is looked at here is not what a browser reads.
    r"gz|br|zst|bz2|xz)"
)
"""Endings that make some web servers run a file, or name its type, wherever in its name they stand."""

_SKIPPED = b"\t\n\x0b\x0c\r \0"
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SCRIPTS = (b"#!", b"%pdf-", b"%!ps", b"<", b"+adw", b"+/v", b"{\\rtf")
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")
"""Beginnings of gzip, Zstandard, bzip2, xz and zip: nothing that results hold begins so."""

_LONGEST_NAME = 255
_LONGEST_PATH = 1024
_MOST_PARTS = 16
"""Of a name: a result lies in one directory, and each part of each name may be one more to make."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs: no text holds one alone."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def path_problem(path: str) -> str | None:
    """Why a name cannot be written below a directory, in words; None when it can."""
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    if "\\" in path:
        return "holds a backslash"
    if _CONTROL.search(path) is not None:
        return "holds a control character"
    parts = path.split("/")
    if ".." in parts:
        return "leaves the result's directory"
    if "" in parts or "." in parts:
        return "holds an empty part"
    if len(parts) > _MOST_PARTS:
        return "lies in too many directories"
    if len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in parts):
        return "is too long"
    return None


def name_problem(path: str) -> str | None:
    """Why a file is left out for its name alone, in words; None when it may come in.

    Args:
        path: relative, with ``/`` between its parts; it has been found safe.
    """
    for part in path.split("/"):
        if part.startswith("."):
            return "begins with a dot"
        *inner, ending = part.lower().split(".")
        if any(_EXECUTED.fullmatch(word) for word in inner[1:]) or (
            len(inner) > 0 and _EXECUTED.fullmatch(ending)
        ):
            return "has an ending that a web server may run or show as a page"
    if ending_of(path) not in _ENDINGS:
        return "has an ending that no result needs"
    return None


def ending_of(path: str) -> str:
    """What stands behind the last dot of a file's name, in small letters; empty without one."""
    return posixpath.splitext(path)[1][1:].lower()


def is_small(path: str) -> bool:
    """Whether a file is small by its name, as texts and pictures are; whatever else may be of any size."""
    return ending_of(path) in IMAGE_ENDINGS | _TEXT_ENDINGS


def active_content(head: bytes) -> str | None:
    """Why a file is left out for its beginning, in words, whatever its name; None when it may come in.

    Mirrors how browsers guess the type of what a server sends without one (WHATWG, MIME sniffing): byte order
    marks and white space are passed over. Whatever then begins with ``<`` is taken for markup.
    """
    if head.startswith(_COMPRESSED):
        return "is compressed, so that what it holds cannot be looked at"
    for mark in _BYTE_ORDER_MARKS:
        head = head.removeprefix(mark)
    # Without NULs, UTF-16 and UTF-32 read as ASCII.
    start = head.replace(b"\0", b"").lstrip(_SKIPPED).removeprefix(_BYTE_ORDER_MARKS[0]).lstrip(_SKIPPED)
    if start[:8].lower().startswith(_SCRIPTS):
        return "begins as a page or a script does"
    if not start and len(head) >= HEAD:
        return "hides what it begins with"
    return None


_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def image_problem(head: bytes) -> str | None:
    """Why a file is no picture that browsers only show, in words; None when it is one."""
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    if is_webp or head.startswith(_IMAGES):
        return None
    return "is no PNG, JPEG or WebP picture"


def is_cut_image(head: bytes) -> bool:
    """Whether a picture breaks off before its form can be told."""
    return any(start.startswith(head) for start in (*_IMAGES, b"RIFF")) or (
        head.startswith(b"RIFF") and len(head) < len(b"RIFF....WEBP")
    )


_MOST_BOXES = 100
"""Of a film that are looked at: one in a piece has four, and a hostile one as many as it has room for."""


def boxes(size: int, read: Read) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an MP4 and its relatives: the kind of each, where it begins, and how long it says it is.

    The last one is that which reaches the end, or beyond it, or which is none: its length is less than 8.

    Args:
        size: how many bytes there are.
        read: gives them.
    """
    at = 0
    while at < size:
        head = read(at, 16)
        length = int.from_bytes(head[:4]) if len(head) >= 8 else -1
        if length == 1:
            length = int.from_bytes(head[8:16]) if len(head) == 16 else -1
        yield head[4:8], at, length
        if length < 8:
            return
        at += length


def is_cut_film(size: int, read: Read) -> bool:
    """Whether an MP4 begins an index or media that reach beyond its end, or has media and no index.

    The index comes last: where it finds no room on the disk, ffmpeg leaves the media alone, of no length yet,
    and may end as if all was well. What is no film, or ends in another way than films do, is not judged:
    players are forgiving. See ``boxes``.
    """
    found = tuple(islice(boxes(size, read), _MOST_BOXES))
    if any(at + length > size and kind in (b"moov", b"mdat") for kind, at, length in found):
        return True
    kinds = [kind for kind, _, _ in found]
    if kinds[:1] != [b"ftyp"] or b"mdat" not in kinds or b"moov" in kinds:
        return False
    _, at, length = found[-1]
    return length == 0 or at + length == size


_BITRATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SAMPLE_RATES = (44100, 48000, 32000)


def is_cut_sound(size: int, read: Read) -> bool:
    """Whether an MP3 has fewer bytes than its first frame says, which encoders write at their end.

    What says nothing of it is not judged: players are forgiving.
    """
    announced = announced_end(first_frame(read), read)
    return announced is not None and announced > size


def first_frame(read: Read) -> int:
    """Where the sound of an MP3 begins: behind its tags."""
    head = read(0, 10)
    if head[:3] == b"ID3" and len(head) == 10 and head[3] in (2, 3, 4):
        return 10 + sum((byte & 0x7F) << 7 * (3 - place) for place, byte in enumerate(head[6:]))
    return 0


def announced_end(at: int, read: Read) -> int | None:
    """How many bytes an MP3 has, as its first frame says; None where that does not."""
    frame = read(at, 200)
    if frame_length(frame) is None:
        return None
    for mark in (b"Xing", b"Info"):
        place = frame.find(mark, 4, 48)
        if place > 0 and len(frame) >= place + 16 and frame[place + 7] & 3 == 3:
            return at + int.from_bytes(frame[place + 12 : place + 16])
    return None


def frame_length(head: bytes) -> int | None:
    """Bytes of a frame of MPEG audio, layer III; None when none begins here."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version = head[1] >> 3 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    is_first = version == 3
    kilobits = (_BITRATES if is_first else _BITRATES_LOW)[bitrate]
    samples_a_second = _SAMPLE_RATES[rate] >> (0 if is_first else 1 if version == 2 else 2)
    return (144 if is_first else 72) * kilobits * 1000 // samples_a_second + (head[2] >> 1 & 1)


def uri_problem(uri: str) -> str | None:
    """Why an address inside a result may lead out of it, in words; None when it cannot."""
    plain = uri.strip()
    # Encoded twice or thrice, too: who decodes on the way is not known.
    for _ in range(3):
        if _SCHEME.match(plain) or plain.startswith(("/", "\\")):
            return "is not relative"
        if ".." in re.split(r"[/\\?#]", plain):
            return "leaves the result's directory"
        if "{$" in plain:
            return "is made of variables"
        if not plain.isprintable():
            return "holds a control character"
        plain = unquote(plain, errors="replace")
    return None

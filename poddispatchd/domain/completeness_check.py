"""Whether a file is complete, told by its own form: for a body whose end nothing else vouches for.

Media files say how long they are or how they end. Most texts do not: only a second copy shows that one is
complete. Nothing here opens a file; the content is read through a function.
"""

import re
from collections.abc import Callable
from itertools import islice

from poddispatchd.domain.completeness import Completeness, Read
from poddispatchd.domain.file_policy import announced_end, boxes, first_frame, frame_length
from poddispatchd.domain.json_completeness import json_completeness

__all__ = ["Completeness", "Read", "completeness"]

_LARGEST_TEXT = 16 * 2**20
_MOST_PARTS = 1_000_000
"""Boxes, chunks, pages or frames looked at: more than any real file has."""

_TS_PACKET = 188
_RIFF_STREAMED = 0xFFFFFFFF
_TAIL = 64 * 2**10


def completeness(name: str, size: int, read: Read) -> Completeness:
    """Judge a file by its content, and by its name where the content says nothing.

    Args:
        name: the file's name; its ending tells what it should be.
        size: how many bytes there are.
        read: gives them.
    """
    head = read(0, 12)
    ending = name.rpartition(".")[2].lower()
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(size, read)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(size, read)
    if head.startswith(b"RIFF"):
        return _riff(size, read)
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _matroska(size, read)
    if head.startswith(b"OggS"):
        return _ogg(size, read)
    if head[4:8] in _FIRST_BOXES:
        return _boxes(size, read)
    if ending == "ts" and head[:1] == b"G":
        return _transport_stream(size, read)
    if ending == "mp3":
        return _mp3(size, read)
    if ending in _TEXTS:
        return _TEXTS[ending](read(0, _LARGEST_TEXT))
    return Completeness.UNLIKELY if ending in _WITH_AN_END else Completeness.OPEN


_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"sidx"})
_WITH_AN_END = frozenset({"mp4", "m4a", "ts", "png", "jpg", "jpeg", "webp"})
"""What runners make themselves, beside mp3 and texts: it is of the form that its name says."""


# --- images ---------------------------------------------------------------------------------------------


def _png(size: int, read: Read) -> Completeness:
    """Chunks of length, type, content and checksum; the last one is IEND."""
    at = 8
    for _ in range(_MOST_PARTS):
        head = read(at, 8)
        if len(head) < 8:
            return Completeness.CUT
        at += 12 + int.from_bytes(head[:4])
        if at > size:
            return Completeness.CUT
        if head[4:] == b"IEND":
            return Completeness.COMPLETE
    return Completeness.CUT


def _jpeg(size: int, read: Read) -> Completeness:
    """Ends with a marker of its own, behind which some cameras put padding."""
    tail = read(max(0, size - _TAIL), _TAIL).rstrip(b"\0")
    return Completeness.COMPLETE if tail.endswith(b"\xff\xd9") else Completeness.CUT


def _riff(size: int, read: Read) -> Completeness:
    """WebP, WAV and AVI: the first eight bytes of each part say how long it is."""
    at = 0
    for _ in range(_MOST_PARTS):
        head = read(at, 8)
        if len(head) < 8 or head[:4] != b"RIFF":
            break
        length = int.from_bytes(head[4:], "little")
        if length in (0, _RIFF_STREAMED):
            return Completeness.OPEN
        at += 8 + length
        if at >= size:
            break
        at += length % 2
    return Completeness.COMPLETE if at <= size else Completeness.CUT


# --- films and sound ------------------------------------------------------------------------------------


def _boxes(size: int, read: Read) -> Completeness:
    """MP4 and its relatives: boxes up to the very end, with an index (moov) and media (mdat) among them."""
    kinds: set[bytes] = set()
    for kind, at, length in islice(boxes(size, read), _MOST_PARTS):
        if length == 0 and at:
            # The last box goes on to the end, wherever that is.
            return Completeness.OPEN if {b"moov", b"mdat"} <= kinds | {kind} else Completeness.CUT
        if length < 8 or at + length > size:
            return Completeness.CUT
        kinds.add(kind)
    if not {b"moov", b"mdat"} <= kinds:
        return Completeness.CUT
    # Of a file made of fragments, any number of them looks whole; its last box lists them all.
    return Completeness.OPEN if b"moof" in kinds and b"mfra" not in kinds else Completeness.COMPLETE


def _transport_stream(size: int, read: Read) -> Completeness:
    """Packets of one size; the playlist tells how many bytes there must be."""
    if size < _TS_PACKET or read(_TS_PACKET, 1) not in (b"G", b""):
        return Completeness.UNLIKELY
    if size % _TS_PACKET or read(size - _TS_PACKET, 1) != b"G":
        return Completeness.CUT
    return Completeness.COMPLETE


def _matroska(size: int, read: Read) -> Completeness:
    """WebM and Matroska: a head, then one segment that says how long it is, unless it was recorded live."""
    at = 0
    for _ in range(8):
        identifier, after = _vint(read(at, 12), 0, keep_marker=True)
        length, after = _vint(read(at, 20), after, keep_marker=False)
        if identifier is None or after == 0:
            return Completeness.CUT
        if length is None:
            return Completeness.OPEN
        at += after + length
        if at > size:
            return Completeness.CUT
        if identifier == _SEGMENT:
            return Completeness.COMPLETE
    return Completeness.OPEN


_SEGMENT = 0x18538067


def _vint(data: bytes, at: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """A number of variable length and where it ends; None for "unknown", an end of 0 for "cut"."""
    if at >= len(data) or not data[at]:
        return None, 0
    width = 9 - data[at].bit_length()
    if at + width > len(data):
        return None, 0
    number = int.from_bytes(data[at : at + width])
    if keep_marker:
        return number, at + width
    mask = (1 << 7 * width) - 1
    number &= mask
    return (None if number == mask else number), at + width


def _ogg(size: int, read: Read) -> Completeness:
    """Pages; the last one of a stream says that it is the last."""
    start = max(0, size - _TAIL - 1)
    tail = read(start, _TAIL + 1)
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return Completeness.CUT
    segments = tail[at + 26]
    table = tail[at + 27 : at + 27 + segments]
    if len(table) < segments or at + 27 + segments + sum(table) > len(tail):
        return Completeness.CUT
    return Completeness.COMPLETE if tail[at + 5] & 4 else Completeness.OPEN


def _mp3(size: int, read: Read) -> Completeness:
    """As many bytes as an encoder's first frame says; without one, frames up to the very end."""
    at = first_frame(read)
    if frame_length(read(at, 4)) is None:
        return Completeness.CUT if 0 < size <= at else Completeness.UNLIKELY
    if (announced := announced_end(at, read)) is not None:
        return Completeness.COMPLETE if announced <= size else Completeness.CUT
    return _frames(at, size, read)


def _frames(at: int, size: int, read: Read) -> Completeness:
    block, start = b"", at
    for _ in range(10 * _MOST_PARTS):
        if at >= size:
            return Completeness.OPEN if at == size else Completeness.CUT
        if at + 4 > start + len(block):
            block, start = read(at, 2**20), at
        length = frame_length(block[at - start : at - start + 4])
        if length is None:
            # Tags may follow the sound (ID3v1, APE); what they hold does not matter to it.
            return Completeness.COMPLETE if block[at - start :][:3] in (b"TAG", b"APE") else Completeness.CUT
        at += length
    return Completeness.OPEN


# --- texts ----------------------------------------------------------------------------------------------


def _playlist(content: bytes) -> Completeness:
    text = content.decode("utf-8-sig", "replace").strip()
    is_whole = text.split(None, 1)[:1] == ["#EXTM3U"] and text.rsplit(None, 1)[-1:] == ["#EXT-X-ENDLIST"]
    return Completeness.COMPLETE if is_whole else Completeness.UNLIKELY


def _captions(content: bytes) -> Completeness:
    """Every writer of WebVTT ends its last line; a caption without a text was cut off before it."""
    last = re.split(r"[\n\r]", content[-_TAIL:].decode("utf-8", "replace").rstrip())[-1]
    is_ended = content.endswith((b"\n", b"\r", b"\n\0", b"\0\n"))
    is_likely = is_ended and "-->" not in last
    return Completeness.OPEN if is_likely else Completeness.UNLIKELY


_TEXTS: dict[str, Callable[[bytes], Completeness]] = {
    "json": json_completeness,
    "m3u8": _playlist,
    "vtt": _captions,
}

"""A file whose end nothing vouches for is told complete or cut by its own form."""

import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain import json_completeness
from poddispatchd.domain.completeness import Completeness
from poddispatchd.domain.completeness_check import completeness
from poddispatchd.domain.file_policy import is_cut_film, is_cut_sound
from poddispatchd.sandbox.fake_runner_manager.results import RESULTS

COMPLETE, CUT, UNLIKELY, OPEN = (
    Completeness.COMPLETE,
    Completeness.CUT,
    Completeness.UNLIKELY,
    Completeness.OPEN,
)


def judged(name: str, content: bytes) -> Completeness:
    return completeness(name, len(content), lambda offset, size: content[offset : offset + size])


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IDAT", b"x" * 40) + chunk(b"IEND", b"")


def riff(kind: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 24) + kind + b"x" * 20


MEDIA_TO_THE_END = struct.pack(">I", 0) + b"mdat" + b"media of no length yet"
FTYP, MOOV, MDAT = box(b"ftyp", b"isom" * 3), box(b"moov", b"m" * 30), box(b"mdat", b"d" * 100)
LARGE = struct.pack(">I", 1) + b"mdat" + struct.pack(">Q", 16 + 50) + b"d" * 50
FRAME = b"\xff\xfb\x90\x00" + b"s" * 413
INFO_FRAME = FRAME[:36] + b"Info\0\0\0\x03\0\0\0\x02" + struct.pack(">I", 3 * 417) + FRAME[52:]
WEBM = b"\x1aE\xdf\xa3\x84webm\x18S\x80g\x01\0\0\0\0\0\0\x40" + b"c" * 64
OGG = b"OggS\0\x04" + bytes(20) + b"\x01\x10" + b"o" * 16
JPEG = b"\xff\xd8\xff\xe0" + b"j" * 50 + b"\xff\xd9"

WITH_AN_END = {
    "a.mp4": FTYP + MOOV + MDAT,
    "b.m4a": FTYP + MDAT + MOOV,
    "c.mp4": FTYP + LARGE + MOOV,
    "d.png": png(),
    "e.JPG": JPEG,
    "f.webp": riff(b"WEBP"),
    "g.webm": WEBM,
    "h.mp3": b"ID3\x04\0\0\0\0\0\x05abcde" + INFO_FRAME + FRAME * 2,
    "i.ogg": OGG,
}


@pytest.mark.parametrize("name", WITH_AN_END)
def test_a_media_file_is_whole_only_with_its_last_byte(name: str) -> None:
    content = WITH_AN_END[name]
    assert judged(name, content) is COMPLETE
    assert {judged(name, content[:size]) for size in range(12, len(content))} <= {CUT, UNLIKELY, OPEN}
    assert judged(name, content[:-1]) is CUT


@pytest.mark.parametrize(
    "path",
    sorted(path for path in RESULTS.rglob("*") if path.suffix in (".mp4", ".m4a", ".mp3", ".png", ".ts")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_what_a_real_runner_makes_is_whole_and_half_of_it_is_cut(path: object) -> None:
    content = path.read_bytes()  # type: ignore[attr-defined] # a Path; pytest passes it as it is
    name = path.name  # type: ignore[attr-defined] # as above
    half = len(content) // 2
    assert judged(name, content) is COMPLETE
    assert judged(name, content[: half + (half % 188 == 0)]) is CUT


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.json", b'\xef\xbb\xbf{"a": 1}\n', COMPLETE),
        ("a.json", b'{"a": 1', UNLIKELY),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n", COMPLETE),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:2,\na.ts\n", UNLIKELY),
        ("a.VTT", b"WEBVTT\n\n00:00.000 --> 00:01.000\nOui\n", OPEN),
        ("a.vtt", b"WEBVTT\n\n00:00.000 --> 00:01.000\nOu", UNLIKELY),
        ("a.vtt", b"WEBVTT\n\n00:00.000 --> 00:01.000\n", UNLIKELY),
        ("encoding.log", b"one\ntw", OPEN),
        ("a.mp4", b"mp4mp4mp4mp4", UNLIKELY),
        ("a.png", b"<html>", UNLIKELY),
        ("a.mp4", FTYP + box(b"moov") + box(b"moof") + MDAT, OPEN),
        ("a.mp4", FTYP + box(b"moov") + box(b"moof") + MDAT + box(b"mfra"), COMPLETE),
        ("a.mp3", FRAME * 3, OPEN),
        ("a.mp3", FRAME * 3 + FRAME[:400], CUT),
        ("a.mp3", FRAME + b"TAG" + bytes(125), COMPLETE),
        ("a.wav", b"RIFF\xff\xff\xff\xffWAVE" + bytes(50), OPEN),
        ("a.webm", WEBM.replace(b"\x01\0\0\0\0\0\0\x40", b"\x01" + b"\xff" * 7), OPEN),
        ("a.avi", b"what a camera wrote", OPEN),
        ("a.mts", b"\0\0\0\0G" + bytes(187), OPEN),
        ("a.ts", b"tststs", UNLIKELY),
        ("a.txt", b"", OPEN),
    ],
)
def test_texts_placeholders_and_streams_are_told_apart(
    name: str, content: bytes, found: Completeness
) -> None:
    assert judged(name, content) is found


@pytest.mark.parametrize("film", sorted(RESULTS.glob("*/*.mp4")), ids=lambda path: path.name)
def test_a_film_that_breaks_off_in_its_index_or_its_media_is_cut(film: Path) -> None:
    content = film.read_bytes()
    begun = min(content.index(kind) for kind in (b"moov", b"mdat")) + len(b"moov")

    assert not cut_film(content)
    for length in range(begun, len(content), 97):
        assert cut_film(content[:length]), length


@pytest.mark.parametrize("media", [MEDIA_TO_THE_END, box(b"mdat", b"media")], ids=["to the end", "whole"])
def test_a_film_whose_index_found_no_room_on_the_disk_is_cut(media: bytes) -> None:
    """So ffmpeg 5.1 left it, with exit status 0, and it took the place of one that could be watched."""
    assert cut_film(box(b"ftyp", b"isom") + box(b"free") + media)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a placeholder of a film",
        box(b"ftyp", b"isom") + b"and no boxes at all",
        box(b"ftyp", b"isom") + box(b"moov") + MEDIA_TO_THE_END,
        box(b"ftyp", b"isom") + box(b"mdat", b"media") + b"\xff" * 9,
        box(b"ftyp", b"isom") + box(b"moov") + box(b"mdat", b"media") + b"\xff" * 9,
        box(b"ftyp", b"isom") + box(b"free") * 2000 + box(b"mdat", b"media")[:-1],
    ],
    ids=[
        "nothing",
        "no film",
        "no boxes",
        "without a length",
        "what may be an index",
        "something behind it",
        "very many boxes",
    ],
)
def test_what_does_not_end_as_films_do_is_not_taken_for_a_cut_one(content: bytes) -> None:
    assert not cut_film(content)


@pytest.mark.parametrize("sound", sorted(RESULTS.glob("*/*.mp3")), ids=lambda path: path.name)
def test_sound_that_has_fewer_bytes_than_it_says_is_cut(sound: Path) -> None:
    content = sound.read_bytes()

    assert not cut_sound(content)
    assert not cut_sound(content + b"TAG" + bytes(125))
    for length in range(200, len(content), 97):
        assert cut_sound(content[:length]), length


@pytest.mark.parametrize(
    "content", [b"", b"ID3\x04", b"a placeholder", FRAME * 3 + FRAME[:9], INFO_FRAME[:40]]
)
def test_sound_that_does_not_say_how_long_it_is_is_not_taken_for_cut(content: bytes) -> None:
    assert not cut_sound(content)


def cut_sound(content: bytes) -> bool:
    return is_cut_sound(len(content), lambda offset, size: content[offset : offset + size])


def cut_film(content: bytes) -> bool:
    return is_cut_film(len(content), lambda offset, size: content[offset : offset + size])


@given(
    st.sampled_from([*WITH_AN_END, "a.ts", "a.json", "a.m3u8", "a.vtt", "a.bin"]),
    st.sampled_from([content[:16] for content in WITH_AN_END.values()] + [b"", b"G", FRAME[:4]]),
    st.binary(max_size=300),
)
def test_no_content_is_too_odd_to_be_judged(name: str, start: bytes, rest: bytes) -> None:
    assert judged(name, start + rest) in Completeness


_LONG_JSON = json.dumps(
    {"segments": [{"text": 'a "quoted" [text] {of} \\', "at": [n, n + 1]} for n in range(1200)]}
).encode()


def test_long_json_is_whole_to_its_last_bracket() -> None:
    assert len(_LONG_JSON) > 2**16
    assert judged("a.json", _LONG_JSON) is COMPLETE
    assert judged("a.json", _LONG_JSON + b"\n ") is COMPLETE


# Every position of one of its like segments, and of both ends.
@pytest.mark.parametrize("cut", [*range(1, 60, 3), len(_LONG_JSON) // 2, len(_LONG_JSON) - 1])
def test_long_json_without_its_end_or_with_more_is_not_whole(cut: int) -> None:
    assert judged("a.json", b" " * 2**16 + _LONG_JSON[:-cut]) is UNLIKELY
    assert judged("a.json", _LONG_JSON + _LONG_JSON[-cut:]) is UNLIKELY


def test_what_takes_long_to_look_through_is_left_to_a_second_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's parser made objects of sixteen megabytes of brackets, and held up everything meanwhile."""
    monkeypatch.setattr(json_completeness, "_MOST_PARTS", 1000)
    assert judged("a.json", b"[" + b"[]," * 30_000 + b"[]]") is OPEN


@pytest.mark.parametrize(("end", "found"), [(b'"}', COMPLETE), (b"", UNLIKELY), (b"\\", UNLIKELY)])
def test_a_text_of_millions_of_escapes_takes_no_memory(end: bytes, found: Completeness) -> None:
    """One pattern over all of it remembered each of them: a gigabyte for sixteen megabytes."""
    content = b'{"text": "' + b'\\n\\"' * 2**19 + end
    tracemalloc.start()
    try:
        assert judged("a.json", content) is found
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * len(content)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"WEBVTT\n\n00:01.000 --> 00:02.000\na\n", OPEN),
        (b"WEBVTT\n\n00:01.000 --> 00:02.000\n\n\n", UNLIKELY),
        (b"WEBVTT\r00:01.000 --> 00:02.000\ra\r", OPEN),
        (b"WEBVTT\n" + b"a\n" * 200_000, OPEN),
        (b"WEBVTT\n" + b"a\n" * 200_000 + b"00:01.000 --> 00:02.000\n", UNLIKELY),
    ],
)
def test_captions_that_end_with_a_time_are_cut(content: bytes, found: Completeness) -> None:
    assert judged("a.vtt", content) is found

"""What a hostile result costs the daemon that looks at it."""

import tracemalloc
from pathlib import Path

import pytest

from poddispatchd.errors import ResultRefusedError
from poddispatchd.pod.imports.screening import screen
from poddispatchd.pod.media.tree import MediaTree

_CAPTION = b"1\n00:00:00,000 --> 00:00:01,000\na\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.m3u8", b"#EXTM3U\n" + b"ab\n" * 600_000), ("a.srt", _CAPTION + b"ab\n" * 600_000)],
)
def test_a_text_of_very_many_lines_is_left_out_in_little_memory(
    tmp_path: Path, name: str, content: bytes
) -> None:
    """One playlist of 16 MiB took 450 MiB, and held up the event loop for a second."""
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / name).write_bytes(content)

    tracemalloc.start()
    try:
        screened = screen(MediaTree(tmp_path).path("result"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert "has more than 500000 lines" in screened.left_out[name]
    assert screened.listing == {}
    assert peak < 10 * len(content)


def test_captions_of_very_many_lines_together_are_refused_before_all_are_read(tmp_path: Path) -> None:
    """Ten files of three megabytes took 110 s of a processor, nearly all that a step of an import has."""
    (tmp_path / "result").mkdir()
    for number in range(3):
        (tmp_path / "result" / f"{number}.vtt").write_bytes(b"WEBVTT\n\n" + b"\n" * 400_000)

    with pytest.raises(ResultRefusedError, match="more than 1000000 lines together"):
        screen(MediaTree(tmp_path).path("result"))


def test_the_captions_of_a_day_in_two_languages_are_read(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    for language in ("fr", "en"):
        lines = b"WEBVTT\n\n" + b"00:00:00.000 --> 00:00:01.000\na\n\n" + b"\n" * 350_000
        (tmp_path / "result" / f"{language}.vtt").write_bytes(lines)

    assert set(screen(MediaTree(tmp_path).path("result")).listing) == {"fr.vtt", "en.vtt"}

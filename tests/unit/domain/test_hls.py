"""Playlists are checked to their last byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain import hls
from poddispatchd.domain.hls import (
    Variant,
    address_findings,
    is_cut,
    master_playlist,
    parse_bitrate,
    playlist_findings,
)


def playlist(*ranges: str, end: bool = True) -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:6"]
    for entry in ranges:
        lines += ["#EXTINF:2.000000,", f"#EXT-X-BYTERANGE:{entry}", "a.ts"]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if end else []), ""])


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=20), st.booleans())
def test_ranges_that_fill_the_file_are_whole_and_one_byte_less_is_not(
    sizes: list[int], offsets: bool
) -> None:
    entries: list[str] = []
    position = 0
    for size in sizes:
        entries.append(f"{size}@{position}" if offsets or not entries else f"{size}")
        position += size
    text = playlist(*entries)
    assert playlist_findings("a.m3u8", text, position) == []
    (finding,) = playlist_findings("a.m3u8", text, position - 1)
    assert str(position) in finding


def test_a_playlist_without_its_end_is_cut_short() -> None:
    assert playlist_findings("a.m3u8", playlist("10@0", end=False), 10) == [
        "a.m3u8 is cut short: it has no end mark."
    ]


@pytest.mark.parametrize("entry", ["", "x", "10@", "@5", "-1@0", "1@2@3", "9" * 30])
def test_a_byte_range_that_cannot_be_read_is_told(entry: str) -> None:
    (finding,) = playlist_findings("a.m3u8", playlist(entry), 10)
    assert "byte range" in finding


@pytest.mark.parametrize("text", ["", "<html>error</html>", "\n#EXTM3U\n"])
def test_something_else_is_no_playlist(text: str) -> None:
    assert playlist_findings("a.m3u8", text, 10) == ["a.m3u8 is not a playlist."]


def test_a_playlist_may_start_with_a_byte_order_mark_and_end_its_lines_like_windows() -> None:
    text = "\ufeff" + playlist("10@0").replace("\n", "\r\n")
    assert playlist_findings("a.m3u8", text, 10) == []


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("750k", 750_000),
        ("2M", 2_000_000),
        ("2000", 2_000_000),
        ("2000000", 2_000_000),
        ("1.5m", 1_500_000),
        (" 750 K ", 750_000),
        ("about 750K max", 750_000),
        ("750kbps", 750_000),
        ("0k", None),
        ("", None),
        ("fast", None),
    ],
)
def test_a_bitrate_is_read_as_people_write_it(text: str, bits: int | None) -> None:
    assert parse_bitrate(text) == bits


@given(st.integers(1, 10**6), st.sampled_from([("k", 10**3), ("M", 10**6)]))
def test_a_bitrate_with_a_unit_is_exact(number: int, unit: tuple[str, int]) -> None:
    assert parse_bitrate(f"{number}{unit[0]}") == number * unit[1]


@given(st.text())
def test_no_text_breaks_the_bitrate_reader(text: str) -> None:
    bits = parse_bitrate(text)
    assert bits is None or bits > 0


def test_the_master_playlist_names_every_rendition_in_order() -> None:
    variants = [Variant(2_000_000, "1280x720", "720p.m3u8"), Variant(750_000, "640x360", "360p.m3u8")]
    assert master_playlist(variants) == (
        "#EXTM3U\n#EXT-X-VERSION:3\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720\n720p.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=750000,RESOLUTION=640x360\n360p.m3u8\n"
    )


def test_a_line_that_is_longer_than_any_name_or_tag_is_refused() -> None:
    """Two million addresses in one line took more than a minute to look at."""
    [finding] = address_findings("a.m3u8", "#EXTM3U\n#EXT-X-KEY:" + "URI=a," * 2_000_000)
    assert "has more than 8192 characters" in finding


def test_lines_that_come_again_are_looked_at_once_and_found_wherever_they_stand() -> None:
    lines = ["#EXTM3U", *["#EXTINF:2,", "a.ts"] * 100_000, "http://evil.test/a.ts", "#EXT-X-ENDLIST"]
    for end in ("\n", "\r", "\r\n"):
        [finding] = address_findings("a.m3u8", end.join(lines))
        assert "is not relative" in finding


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_playlist_of_lines_without_end_is_refused_however_they_end(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls, "_MOST_LINES", 3 * len(end))
    assert address_findings("a.m3u8", f"#EXTM3U{end * 3}") == []
    assert address_findings("a.m3u8", f"#EXTM3U{end * 4}") != []


def test_a_playlist_that_is_whole_is_not_cut() -> None:
    assert not is_cut("a.m3u8", "#EXTM3U\n#EXT-X-ENDLIST\n")

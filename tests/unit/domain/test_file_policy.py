"""Nothing that a browser or a web server would run comes into Pod's media tree."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.file_policy import (
    active_content,
    image_problem,
    is_cut_image,
    name_problem,
    uri_problem,
)
from poddispatchd.domain.hls import address_findings, is_cut

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n...", b"\xff\xd8\xff\xe0...", b"RIFF\x04\0\0\0WEBPVP8 "


@pytest.mark.parametrize(
    "name",
    [
        *("360p_a.ts", "360p_a.m3u8", "a.mp4", "audio_192k_a.mp3", "a.m4a", "overview.vtt", "a.srt"),
        *("Vignette été (1).PNG", "SUB.VTT", "a.JPeG", "a.webp", "presentation.webm", "presenter.MKV"),
        *("encoding.log", "info_video.json", "100%.txt", "日本.txt", "S.source-fr.webvtt.txt", "sub/a.ts"),
        *("html.mp4", "php.json"),
    ],
)
def test_what_results_hold_may_come_in(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *(
            "evil.html",
            "evil.HTM",
            "a.svg",
            "shell.php",
            "a.xml",
            "a.js",
            "a.bin",
            "a",
            "a.",
            "a.exe",
            "a.ini",
        ),
        *(".htaccess", "..double.txt", ".a.mp4", "sub/.a/b.ts", ".poddispatchd/x.mp4"),
        *(
            "a.mp4.poddispatchd",
            "shell.php.mp4",
            "shell.PhP5.txt",
            "page.html.txt",
            "a.cgi.json",
            "x.phtml/a.ts",
            "page.atom.gz.divx",
            "map.var.m3u8",
            "a.asis.txt",
            "evil.HTML ",
            "evil.txt.",
            "evil.txt ",
            "evil.\uff54xt",
            "evil.txt\u200b",
        ),
    ],
)
def test_what_no_result_needs_stays_out(name: str) -> None:
    assert name_problem(name) is not None


MARKUP = [
    *(
        "<!DOCTYPE html>",
        "<html>",
        "<HTML ",
        "<svg onload=x>",
        '<?xml version="1.0"?>',
        "<?php x",
        "<script>",
    ),
    *("<!-- a -->", "<b>", "#!/bin/sh", "%PDF-1.4", "%!PS-Adobe-", "<%@ page %>", "<?= 1 ?>"),
]
MARKS = [b"", codecs.BOM_UTF8, codecs.BOM_UTF8 + b" \n" + codecs.BOM_UTF8]


@pytest.mark.parametrize("markup", MARKUP)
@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("space", [b"", b" \t\r\n\x0c", b"\n" * 900])
def test_a_file_that_begins_as_markup_or_a_script_is_found_out(
    markup: str, mark: bytes, space: bytes
) -> None:
    assert active_content(mark + space + markup.encode()) is not None


@pytest.mark.parametrize("markup", MARKUP)
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_wide_characters_hide_nothing(markup: str, codec: str) -> None:
    assert active_content(f" \n{markup}".encode(codec)) is not None


def test_a_beginning_that_is_longer_than_what_is_looked_at_hides_nothing() -> None:
    assert active_content(b" " * 4096) is not None
    assert active_content(b" " * 100) is None


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"",
            b"mp4mp4mp4",
            b"tststs",
            b"ID3ID3",
            b"m4a",
            b"basebase",
            b'{"duration": 12}',
            b"[]",
            b"WEBVTT\n",
        ),
        *(b"\n--> get_info_video\nffprobe", b"\n\n===== STUDIO", b"#EXTM3U\n", b"# a comment", b"100%.txt"),
        *(b"\0\0\0 ftypisom", b"\x1aE\xdf\xa3webm", b"G@\x11\x10\0B", b"\xff\xfb\x90\0", PNG, JPEG, WEBP),
    ],
)
def test_what_results_begin_with_may_come_in(head: bytes) -> None:
    assert active_content(head) is None


def test_pictures_are_told_by_their_first_bytes_not_by_their_names() -> None:
    assert [image_problem(head) for head in (PNG, JPEG, WEBP)] == [None] * 3
    for head in (b"", b"png", b"GIF89a", b"RIFF\0\0\0\0WAVE", b"<svg", b"BM"):
        assert image_problem(head) == "is no PNG, JPEG or WebP picture"


@pytest.mark.parametrize(
    "uri", ["360p_a.ts", "a b é (2).ts", "sub/a.ts", "a.ts?b=c", "..a.ts", "a..ts", "100%.ts", "x,y.ts"]
)
def test_addresses_beside_a_playlist_are_fine(uri: str) -> None:
    assert uri_problem(uri) is None
    assert address_findings("a.m3u8", f"#EXTM3U\n#EXTINF:2,\n{uri}\n#EXT-X-ENDLIST\n") == []


OUTSIDE = [
    *("http://evil/a.ts", "HTTPS://evil", "//evil/a.ts", "/etc/passwd", "file:///etc/passwd", "data:,x"),
    *("javascript:x", "../a.ts", "a/../../b.ts", "..", "%2e%2e/a.ts", "%252e%252e/a.ts", "..\\a.ts"),
    *("\\\\evil\\a", "%2Fetc/passwd", "http%3A//evil", "{$base}a.ts", "ht\ttp://evil"),
]


@pytest.mark.parametrize("uri", OUTSIDE)
@pytest.mark.parametrize(
    "line", ["{}", '#EXT-X-KEY:METHOD=AES-128,URI="{}"', '#EXT-X-MAP:BYTERANGE="1@0",URI="{}"', "  {}  "]
)
def test_addresses_that_lead_elsewhere_are_told(uri: str, line: str) -> None:
    text = f"\ufeff#EXTM3U\n{line.format(uri)}\n#EXT-X-ENDLIST\n"
    (finding,) = address_findings("a.m3u8", text)
    assert finding.startswith("a.m3u8 names an address that ")


@pytest.mark.parametrize(
    "line",
    [
        # Line ends to Unicode, white space or nothing to a player: the attribute is one of the tag's.
        *(
            f'#EXT-X-KEY:METHOD=AES-128,{end}URI="http://evil/k"'
            for end in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
        ),
        "# a comment\u2028http://evil/a.ts",
        "a\x01.ts",
        '#EXT-X-KEY:METHOD=AES-128,URI="http://evil/k',
        "#EXT-X-KEY:METHOD=AES-128,URI='http://evil/k'",
        '#EXT-X-DATERANGE:ID="a",X-ASSET-LIST="https://evil/"',
        '#EXT-X-SESSION-DATA:DATA-ID="a",URI="a.json"',
        '#EXT-X-CONTENT-STEERING:SERVER-URI="a"',
        '#EXTINF:2,#EXT-X-DATERANGE:X-ASSET-LIST="https://evil/"',
        "a.ts\rhttp://evil/a.ts",
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="//evil/a.m3u8"',
    ],
)
def test_a_line_that_players_read_otherwise_than_we_do_hides_no_address(line: str) -> None:
    assert address_findings("a.m3u8", f"#EXTM3U\n#EXTINF:2,\n{line}\n#EXT-X-ENDLIST\n") != []


def test_a_playlist_with_every_tag_that_encoders_write_passes() -> None:
    text = (
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n# a comment\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Un: été",DEFAULT=YES,URI="a.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360\n360p.m3u8\n'
        '#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI="i.mp4"\n'
        "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\n#EXTINF:2.0,\n#EXT-X-BYTERANGE:10@0\na.ts\n"
        "#EXT-X-DISCONTINUITY\n#EXTINF:2.0,Un\ttitre\na.ts\n#EXT-X-ENDLIST\n"
    )
    assert address_findings("a.m3u8", text) == []


def test_a_playlist_of_millions_of_lines_is_not_gone_through() -> None:
    assert address_findings("a.m3u8", "#EXTM3U" + "\n" * 500_001) == ["a.m3u8 has more than 500000 lines."]


@pytest.mark.parametrize(
    "head",
    [b"\x1f\x8b\x08\0", b"(\xb5/\xfd", b"BZh9", b"\xfd7zXZ\0", b"PK\x03\x04", b"+ADwAcwBjAHI-", b"+/v8APA-"],
)
def test_what_is_packed_or_in_another_alphabet_cannot_be_looked_at_and_stays_out(head: bytes) -> None:
    assert active_content(head) is not None


def test_something_else_than_a_playlist_is_none() -> None:
    assert address_findings("a.m3u8", "WEBVTT\n") == ["a.m3u8 is not a playlist."]


@given(st.binary(max_size=200), st.text(max_size=40))
def test_nothing_is_too_odd_to_be_judged(head: bytes, text: str) -> None:
    active_content(head)
    image_problem(head)
    uri_problem(text)
    name_problem(text)
    if head.lstrip(b" \t\r\n\0").startswith(b"<"):
        assert active_content(head) is not None


# --- what breaks off is not taken for what is hostile ------------------------------------------------------

_GOOD = """#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-KEY:METHOD=AES-128,URI="key.txt",IV=0x1
#EXTINF:2.000000,
#EXT-X-BYTERANGE:10@0
a.ts
#EXT-X-ENDLIST
"""


@pytest.mark.parametrize("length", range(1, len(_GOOD)))
def test_a_playlist_that_breaks_off_anywhere_is_cut_or_has_nothing_else_wrong(length: int) -> None:
    beginning = _GOOD[:length]
    assert is_cut("a.m3u8", beginning) or not address_findings("a.m3u8", beginning)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:2,\nhttp://evil.test/a.ts",
        "#EXTM3U\n#EXT-X-SESSION-DATA:URI=a\n#EXT-X-TARGETDU",
        '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="http://evil.test/',
        "#EXTM3U\n#EXT-X-CONTENT-STEERING",
        "<html",
    ],
)
def test_a_hostile_playlist_is_not_merely_cut(text: str) -> None:
    assert not is_cut("a.m3u8", text)
    assert address_findings("a.m3u8", text)


def test_a_file_is_judged_by_its_own_name_and_not_by_its_directory() -> None:
    assert name_problem("a.txt/b") == "has an ending that no result needs"
    assert name_problem("a/b.txt") is None
    assert name_problem(".a/b.txt") == "begins with a dot"
    assert name_problem("php") == "has an ending that no result needs"
    assert name_problem("a.php/b.txt") == "has an ending that a web server may run or show as a page"


@pytest.mark.parametrize("image", [PNG, JPEG, WEBP])
def test_a_picture_that_breaks_off_early_is_cut(image: bytes) -> None:
    for length in range(1, 12):
        assert is_cut_image(image[:length]) or image_problem(image[:length]) is None


@pytest.mark.parametrize(
    "head", [b"GIF89a", b"RIFF\x04\0\0\0WAVE", b"RIFF\x04\0\0\0WAVEfmt ", b"<svg", b"no picture at all"]
)
def test_what_is_no_picture_is_not_merely_cut(head: bytes) -> None:
    assert not is_cut_image(head)

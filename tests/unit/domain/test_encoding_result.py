"""A result of an encoding is taken whole or not at all, and what is wrong is said in words."""

import json
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.encoding_check import LeftOut, check_files, reconciled
from poddispatchd.domain.encoding_log import log_text
from poddispatchd.domain.encoding_plan import (
    EncodingContent,
    PodChoices,
    Rendition,
    encoding_name,
    plan_content,
)
from poddispatchd.domain.encoding_result import Findings, is_safe_name, parse_info
from poddispatchd.domain.thumbnails import ThumbnailChoice
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError

CHOICES = ("audio", "360p", "480p", "720p", "1080p", "playlist")
RENDITIONS = {
    "640x360": Rendition(1, "640x360", "750k"),
    "1280x720": Rendition(2, "1280x720", "2M"),
    "1920x1080": Rendition(3, "1920x1080", "unlimited"),
}
PLAYLIST = "#EXTM3U\n#EXTINF:2,\n#EXT-X-BYTERANGE:100@0\n360p_a.ts\n#EXT-X-ENDLIST\n"

ENDED = "Mon Jan  5 10:00:00 2026"

Listing = dict[str, int]


def info(**changes: object) -> dict[str, object]:
    """A whole result; ``None`` removes a key."""
    document: dict[str, object] = {
        "codec": "h264",
        "duration": 8,
        "has_stream_video": True,
        "has_stream_audio": True,
        "has_stream_thumbnail": True,
        "encode_video": [
            {"encoding_format": "video/mp2t", "rendition": "640x360", "filename": "360p_a.m3u8"},
            {"encoding_format": "video/mp4", "rendition": "640x360", "filename": "360p_a.mp4"},
        ],
        "encode_audio": [{"encoding_format": "audio/mp3", "filename": "audio_192k_a.mp3"}],
        "encode_thumbnail": [{"filename": "a_0.png"}, {"filename": "a_1.png"}],
        "encode_overview": {"sprite_filename": "overview.png", "vtt_filename": "overview.vtt"},
        "encode_result": True,
    }
    document.update(changes)
    return {key: value for key, value in document.items() if value is not None}


def listing(**changes: int) -> Listing:
    files = {
        "360p_a.m3u8": 90,
        "360p_a.ts": 100,
        "360p_a.mp4": 50,
        "audio_192k_a.mp3": 20,
        "a_0.png": 5,
        "a_1.png": 5,
        "overview.png": 5,
        "overview.vtt": 5,
    }
    return files | changes


def without(name: str) -> Listing:
    return {key: size for key, size in listing().items() if key != name}


def imported(
    document: object,
    files: Listing | None = None,
    playlist: str = PLAYLIST,
    *,
    left_out: Mapping[str, str] = MappingProxyType({}),
    thumbnail: ThumbnailChoice = ThumbnailChoice.FIRST,
) -> EncodingContent:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    findings = Findings()
    parsed = parse_info(data, findings)
    if parsed is None:
        findings.raise_any()
    assert parsed is not None
    files = listing() if files is None else files
    parsed = reconciled(parsed, files, findings)
    check_files(parsed, files, LeftOut(left_out), lambda _: playlist, findings)
    content = plan_content(parsed, files, PodChoices(RENDITIONS, CHOICES, thumbnail), findings)
    findings.raise_any()
    return content


def _with_stem(stem: str) -> tuple[dict[str, object], Listing]:
    """A result with one rendition of this name."""
    stream = {"encoding_format": "video/mp2t", "filename": f"{stem}.mp4", "rendition": "640x360"}
    return info(encode_video=[stream]), {**listing(), f"{stem}.m3u8": 90, f"{stem}.ts": 1000}


@pytest.mark.parametrize(
    ("stem", "uri"),
    [
        ("360p_a#1", "360p_a%231.m3u8"),
        ("360p_100%25?", "360p_100%2525%3F.m3u8"),
        ("#EXT-X-KEY", "%23EXT-X-KEY.m3u8"),
        ("360p_é à", "360p_é à.m3u8"),
    ],
)
def test_the_master_playlist_leads_to_the_file_of_a_rendition_whatever_its_name(stem: str, uri: str) -> None:
    """Behind ``#`` and ``?`` players looked for another file, and a name could be a tag."""
    master = imported(*_with_stem(stem)).master
    assert master is not None
    assert master.split("\n")[-2:] == [uri, ""]


def test_a_name_that_leads_players_elsewhere_is_refused() -> None:
    with pytest.raises(ResultRefusedError, match=r"playlist\.m3u8 names an address that is not relative"):
        imported(*_with_stem("https:/elsewhere.example/a"))


def test_a_playlist_is_looked_through_once_however_many_renditions_name_it() -> None:
    """A thousand of them kept one of the largest busy for a quarter of an hour."""
    stream = {"encoding_format": "video/mp2t", "filename": "360p_a.mp4", "rendition": "640x360"}
    parsed = parse_info(json.dumps(info(encode_video=[stream] * 50)).encode(), Findings())
    assert parsed is not None
    read: list[str] = []

    def text_of(name: str) -> str:
        read.append(name)
        return PLAYLIST.replace("#EXT-X-ENDLIST", "")

    findings = Findings()
    check_files(parsed, listing(), LeftOut({}), text_of, findings)
    assert read == ["360p_a.m3u8"]
    assert findings.incomplete == ["360p_a.m3u8 is cut short: it has no end mark."]


def test_a_whole_result_becomes_its_rows() -> None:
    content = imported(info())
    assert [(row.name, row.encoding_format, row.filename, row.rendition_id) for row in content.videos] == [
        ("360p", "video/mp2t", "360p_a.ts", 1),
        ("360p", "video/mp4", "360p_a.mp4", 1),
    ]
    assert [(row.name, row.encoding_format, row.filename) for row in content.playlists] == [
        ("360p", "application/x-mpegURL", "360p_a.m3u8"),
        ("playlist", "application/x-mpegURL", "playlist.m3u8"),
    ]
    assert [(row.name, row.encoding_format, row.filename) for row in content.audios] == [
        ("audio", "audio/mp3", "audio_192k_a.mp3")
    ]
    assert (content.duration, content.is_video, content.has_audio) == (8, True, True)
    assert (content.thumbnail, content.overview, content.warnings) == ("a_0.png", "overview.vtt", ())
    assert content.words == "2 encodings, 1 audio file, 2 playlists, 8 s"
    assert content.master is not None
    assert "BANDWIDTH=750000,RESOLUTION=640x360\n360p_a.m3u8" in content.master


def test_a_byte_order_mark_is_tolerated() -> None:
    assert imported(b"\xef\xbb\xbf" + json.dumps(info()).encode()).duration == 8


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'"x"', b"\xff\xfe", b"[" * 40_000])
def test_something_else_than_an_object_is_worth_a_new_attempt(data: bytes) -> None:
    with pytest.raises(ResultIncompleteError, match=r"info_video\.json"):
        imported(data)


@pytest.mark.parametrize(
    ("value", "seconds"), [(8, 8), (8.9, 8), ("12", 12), (True, 1), (-1, -1), (0, 0), (2**31 - 1, 2**31 - 1)]
)
def test_a_duration_is_whole_seconds(value: object, seconds: int) -> None:
    assert imported(info(duration=value)).duration == seconds


@pytest.mark.parametrize("value", ["12.5", "", "x", [], {}, 2**31, float("inf"), float("nan"), 10**400])
def test_a_duration_that_is_no_number_of_seconds_is_refused(value: object) -> None:
    with pytest.raises(ResultRefusedError, match="duration"):
        imported(info(duration=value))


def test_a_missing_duration_is_worth_a_new_attempt() -> None:
    with pytest.raises(ResultIncompleteError, match="no duration"):
        imported(info(duration=None))


def test_a_runner_that_says_it_failed_is_believed() -> None:
    with pytest.raises(ResultRefusedError, match="failed: no space"):
        imported(info(encode_result=False, error="no space"))


def test_a_runner_that_died_before_its_end_left_no_result() -> None:
    with pytest.raises(ResultIncompleteError, match="encode_result"):
        imported(info(encode_result=None))


def test_other_encoders_never_said_that_they_ended() -> None:
    assert imported(info(encode_result=None, codec=None)).duration == 8


@pytest.mark.parametrize(
    "name", ["360p_a.m3u8", "360p_a.ts", "360p_a.mp4", "audio_192k_a.mp3", "overview.png", "overview.vtt"]
)
def test_a_file_that_is_missing_or_empty_makes_the_result_incomplete(name: str) -> None:
    with pytest.raises(ResultIncompleteError, match=f"{name} .* is missing"):
        imported(info(), without(name))
    with pytest.raises(ResultIncompleteError, match=f"{name} .* is empty"):
        imported(info(), listing() | {name: 0})


def test_a_stream_that_is_too_short_for_its_playlist_makes_the_result_incomplete() -> None:
    with pytest.raises(ResultIncompleteError, match="needs 100 bytes"):
        imported(info(), listing() | {"360p_a.ts": 99})


def test_a_playlist_without_its_end_makes_the_result_incomplete() -> None:
    with pytest.raises(ResultIncompleteError, match="no end mark"):
        imported(info(), playlist=PLAYLIST.replace("#EXT-X-ENDLIST\n", ""))


def test_every_finding_is_told_at_once_and_a_refusal_wins() -> None:
    document = info(
        encode_video=[
            {"encoding_format": "video/mp4", "rendition": "1x1", "filename": "360p_a.mp4"},
            {"encoding_format": "video/mp2t", "rendition": "1920x1080", "filename": "1080p_a.m3u8"},
            {"encoding_format": "video/mp4", "rendition": "640x360", "filename": "../b.mp4"},
        ]
    )
    with pytest.raises(ResultRefusedError) as caught:
        imported(document, without("audio_192k_a.mp3"))
    words = str(caught.value)
    for expected in ("1x1", "bitrate", "../b.mp4", "1080p_a.ts", "audio_192k_a.mp3"):
        assert expected in words
    assert len(caught.value.findings) == len(set(caught.value.findings)) >= 6


@pytest.mark.parametrize("key", ["encode_video", "encode_audio", "encode_thumbnail"])
def test_a_name_that_leaves_the_result_is_refused(key: str) -> None:
    entry = {"encoding_format": "video/mp4", "rendition": "640x360", "filename": "a/../../b.mp4"}
    with pytest.raises(ResultRefusedError, match="not acceptable"):
        imported(info(**{key: [entry]}))


@pytest.mark.parametrize("name", ["..double.txt", "a/b.png", "a b é (1).png", ".hidden", "100%.txt"])
def test_harmless_names_are_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "..",
        "a/..",
        "./a",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "\ud800",
        "a" * 256,
        None,
        3,
        ["a"],
    ],
)
def test_names_that_leave_the_directory_or_break_a_log_are_not_safe(name: object) -> None:
    assert not is_safe_name(name)


def test_a_document_that_lists_more_than_a_result_ever_holds_is_refused_in_one_sentence() -> None:
    with pytest.raises(ResultRefusedError) as refused:
        imported(info(encode_video=[1] * 1001))
    assert "encode_video of info_video.json has 1001 entries." in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("flag", [False, None])
def test_renditions_and_sound_that_are_there_are_imported_whatever_the_flags_say(flag: bool | None) -> None:
    """The flags once made an import delete what could be watched, and tell the owner that all was ready."""
    content = imported(info(has_stream_video=flag, has_stream_audio=flag))
    whole = imported(info())
    assert (content.videos, content.audios, content.playlists) == (
        whole.videos,
        whole.audios,
        whole.playlists,
    )
    assert (content.is_video, content.has_audio) == (True, True)
    assert [warning.partition(":")[0] for warning in content.warnings] == [
        "info_video.json contradicts itself",
        "info_video.json contradicts itself",
    ]


def test_of_what_a_flag_denies_only_what_is_there_counts() -> None:
    without_mp4 = imported(info(has_stream_video=False), without("360p_a.mp4"))
    assert [row.filename for row in without_mp4.videos] == ["360p_a.ts"]
    without_sound = imported(info(has_stream_audio=False), without("audio_192k_a.mp3"))
    assert (without_sound.audios, without_sound.has_audio, without_sound.warnings) == ((), False, ())


def test_a_result_that_brings_nothing_to_watch_or_hear_never_replaces_anything() -> None:
    nothing = info(has_stream_video=False, has_stream_audio=False, encode_video=None, encode_audio=None)
    with pytest.raises(ResultIncompleteError, match="nothing that can be watched or listened to"):
        imported(nothing)


@pytest.mark.parametrize("key", ["has_stream_video", "has_stream_audio"])
def test_a_stream_that_nobody_speaks_of_and_nothing_is_named_of_is_not_there(key: str) -> None:
    content = imported(info(**{key: None, f"encode_{key.rpartition('_')[2]}": None}))
    assert key in content.warnings[0]
    assert content.is_video == (key != "has_stream_video")
    assert content.has_audio == (key != "has_stream_audio")


@pytest.mark.parametrize("flag", [False, None])
def test_a_thumbnail_whose_flag_is_not_true_stays_away(flag: bool | None) -> None:
    assert imported(info(has_stream_thumbnail=flag)).thumbnail is None


def test_a_file_that_was_left_out_and_is_needed_is_refused_with_the_reason() -> None:
    with pytest.raises(ResultRefusedError, match=r"360p_a\.mp4 \(the video in 640x360\) begins as a page"):
        imported(info(), without("360p_a.mp4"), left_out={"360p_a.mp4": "begins as a page or a script does"})
    overview = {"sprite_filename": "overview.svg", "vtt_filename": "overview.vtt"}
    with pytest.raises(ResultRefusedError, match="has an ending that a web server may"):
        imported(info(encode_overview=overview))


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("a_2.png", "a_0.png", "a_1.png"), "a_1.png"),
        (("a_9.png", "a_10.png", "a_11.png"), "a_10.png"),
        (("a_1.png", "a_0.png"), "a_1.png"),
        (("a_0.png",), "a_0.png"),
        (("b.png", "a.png", "c.png"), "a.png"),
        (("b1.png", "a3.png", "c2.png"), "a3.png"),
        (("cover.png", "a_0.png", "a_1.png"), "a_1.png"),
        (("cover.png", "a_0.png"), "cover.png"),
    ],
)
def test_a_newer_pod_takes_the_thumbnail_in_the_middle_and_an_older_one_the_first(
    names: tuple[str, ...], taken: str
) -> None:
    document = info(encode_thumbnail=[{"filename": name} for name in names])
    files = listing() | dict.fromkeys(names, 5)
    assert imported(document, files, thumbnail=ThumbnailChoice.MIDDLE).thumbnail == taken
    assert imported(document, files).thumbnail == names[0]


@pytest.mark.parametrize(
    ("there", "by_newer", "by_older"),
    [
        ({"a_0.png": 5, "a_2.png": 5}, "a_0.png", "a_0.png"),
        ({"a_0.png": 5, "a_1.png": 0, "a_2.png": 5}, "a_0.png", "a_0.png"),
        ({"a_0.png": 0, "a_2.png": 5}, "a_2.png", "a_2.png"),
        ({"a_0.png": 0, "a_1.png": 5}, "a_1.png", "a_1.png"),
    ],
)
def test_where_the_wanted_thumbnail_is_not_there_another_one_is_taken(
    there: Listing, by_newer: str, by_older: str
) -> None:
    document = info(encode_thumbnail=[{"filename": f"a_{number}.png"} for number in range(3)])
    files = {name: size for name, size in listing().items() if not name.startswith("a_")} | there
    for choice, taken in ((ThumbnailChoice.MIDDLE, by_newer), (ThumbnailChoice.FIRST, by_older)):
        content = imported(document, files, thumbnail=choice)
        assert (content.thumbnail, content.warnings) == (taken, ())


@pytest.mark.parametrize(
    ("version", "choice"),
    [
        ("4.3.0", ThumbnailChoice.FIRST),
        ("4.3", ThumbnailChoice.FIRST),
        ("3.9.9", ThumbnailChoice.FIRST),
        ("", ThumbnailChoice.FIRST),
        ("4.4", ThumbnailChoice.MIDDLE),
        ("4.4.0-beta", ThumbnailChoice.MIDDLE),
        ("v4.10.1", ThumbnailChoice.MIDDLE),
        ("5.0", ThumbnailChoice.MIDDLE),
    ],
)
def test_the_version_of_pod_tells_which_thumbnail_it_takes(version: str, choice: ThumbnailChoice) -> None:
    assert ThumbnailChoice.by_version(version) is choice


def test_a_thumbnail_that_is_no_picture_is_one_warning() -> None:
    content = imported(info(encode_thumbnail={"filename": "page.txt"}), listing() | {"page.txt": 5})
    assert (content.thumbnail, content.warnings) == (
        None,
        ("The thumbnail page.txt is no picture: the video has no new thumbnail.",),
    )


def test_a_video_without_renditions_is_incomplete() -> None:
    with pytest.raises(ResultIncompleteError, match="no rendition"):
        imported(info(encode_video=[]))


def test_sound_that_was_promised_but_not_brought_is_a_warning() -> None:
    content = imported(info(encode_audio=None))
    assert content.audios == ()
    assert "no audio track" in content.warnings[0]


@pytest.mark.parametrize("entry", [{"filename": None}, [{"filename": ""}], [{}], [None], {}])
def test_a_thumbnail_without_a_name_is_one_warning(entry: object) -> None:
    content = imported(info(encode_thumbnail=entry))
    assert (content.thumbnail, content.warnings) == (None, ("The result names no thumbnail.",))


@pytest.mark.parametrize(
    "overview", [{}, {"sprite_filename": None, "vtt_filename": None}, {"vtt_filename": ""}, {"other": 1}]
)
def test_an_overview_without_names_promises_none(overview: dict[str, object]) -> None:
    assert imported(info(encode_overview=overview)).overview == "overview.vtt"


def test_an_empty_audio_object_is_one_warning_as_an_empty_list_is() -> None:
    content = imported(info(encode_audio={}))
    assert content == imported(info(encode_audio=[]))
    assert (len(content.audios), len(content.warnings)) == (0, 1)


@pytest.mark.parametrize("encoding_format", ["VIDEO/MP4", "video/webm", None])
def test_renditions_of_unknown_formats_alone_are_no_result_for_a_video(encoding_format: str | None) -> None:
    """Such a result was imported for its sound: the video lost every rendition that it had."""
    entry = {"encoding_format": encoding_format, "rendition": "640x360", "filename": "360p_a.mp4"}
    with pytest.raises(ResultIncompleteError, match="the result names no rendition"):
        imported(info(encode_video=[entry]))


def test_a_missing_thumbnail_is_one_warning() -> None:
    files = {name: size for name, size in listing().items() if not name.startswith("a_")}
    content = imported(info(), files)
    assert content.thumbnail is None
    assert content.warnings == ("The thumbnail a_0.png is missing: the video has no new thumbnail.",)


@pytest.mark.parametrize("key", ["encode_audio", "encode_thumbnail"])
def test_one_object_is_as_good_as_a_list_of_one(key: str) -> None:
    document = info()
    entries = document[key]
    assert isinstance(entries, list)
    assert imported(document | {key: entries[0]}) == imported(document | {key: entries[:1]})


def test_sound_alone_is_no_video_and_may_have_two_tracks() -> None:
    audio = [
        {"encoding_format": "video/mp4", "filename": "audio_192k_a.m4a"},
        {"encoding_format": "audio/mp3", "filename": "audio_192k_a.mp3"},
    ]
    document = info(has_stream_video=False, has_stream_thumbnail=False, encode_video=None, encode_audio=audio)
    document.pop("encode_overview")
    content = imported(document, listing() | {"audio_192k_a.m4a": 3})
    assert [row.filename for row in content.audios] == ["audio_192k_a.m4a", "audio_192k_a.mp3"]
    assert (content.is_video, content.videos, content.master, content.overview) == (False, (), None, None)


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("720p_a.mp4", "720p"),
        ("720P_A.mp4", "720p"),
        ("1080p_a.mp4", "1080p"),
        ("playlist_a.mp4", "playlist"),
        ("a.mp4", "360p"),
        ("", "360p"),
        ("sub/480p.mp4", "480p"),
        ("Playa.mp4", "360p"),
        ("AUDIO.mp4", "360p"),
    ],
)
def test_an_encoding_is_named_by_the_beginning_of_its_file(filename: str, name: str) -> None:
    assert encoding_name(filename, CHOICES) == name


def test_of_names_of_encodings_that_begin_alike_the_last_one_is_given() -> None:
    assert encoding_name("1080p_a.mp4", ("audio", "1080p", "1080p60", "playlist")) == "1080p60"


def test_the_log_keeps_what_it_held_and_says_what_was_attached() -> None:
    log = log_text(
        "Start at : …", imported(info()), "/media/v/0001", ENDED, pod_version="4.3.0", thumbnail_id=7
    )
    assert log.startswith("Start at : …\n\nattach existing overview: /media/v/0001/overview.vtt\n\n\n- ")
    assert log.count("/media/v/0001/a_0.png") == 1
    assert log.endswith(f"audio_192k_a.mp3\n\nEnd : {ENDED}")


def test_the_log_of_a_newer_pod_tells_the_id_of_the_thumbnail() -> None:
    log = log_text(None, imported(info()), "/media/v/0001", ENDED, pod_version="4.4.1", thumbnail_id=7)
    assert log.endswith(f"audio_192k_a.mp3\n- persisted_thumbnail_id:\n7\n\nEnd: {ENDED}")
    assert "\n- encode_video_mp3:\n/media/v/0001/audio_192k_a.mp3" in log
    assert " :" not in log


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(info())), JSON_VALUES))
def test_no_document_breaks_the_reader(changes: dict[str, object]) -> None:
    with suppress(ResultIncompleteError, ResultRefusedError):
        imported(info() | changes)


@pytest.mark.parametrize("values", [b"[]," * 30_000, b'{"a":1},' * 30_000, b"[" * 60_000])
def test_millions_of_values_are_not_even_parsed(values: bytes) -> None:
    """Two megabytes of them kept everything else waiting for a second, and took a hundred in memory."""
    findings = Findings()
    assert parse_info(b'{"encode_result": true, "x": [' + values + b"1]}", findings) is None
    assert findings.refused == ["info_video.json holds more than 50000 values."]

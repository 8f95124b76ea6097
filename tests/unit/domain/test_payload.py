import json
from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from poddispatchd.domain.media import output_directory
from poddispatchd.domain.payload import Payload, PayloadSettings, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.source import (
    Credits,
    Cut,
    Dressing,
    EncodingSource,
    Recording,
    StudioSource,
    TranscriptionSource,
    Video,
    VideoRendition,
)
from poddispatchd.domain.task import RecordingId, SiteId, VideoId
from poddispatchd.errors import UnsubmittableError

_SITE = Site(SiteId(1), "pod.example.org")
_SETTINGS = PayloadSettings(
    version="4.3.0", media_root="/srv/media", title_site="Tube", title_etb="Université"
)
_VIDEO = Video(
    id=VideoId(12),
    file="videos/abc/film.mp4",
    slug="0012-film",
    title="Plain",
    titles={"fr": "Été", "en": "Summer"},
    main_lang="fr",
    duration=61,
)
_SMALL = VideoRendition("640x360", "750k", "96k", encode_mp4=True)
_LARGE = VideoRendition("1920x1080", "3000k", "192k", encode_mp4=False)
_ENCODING = EncodingSource(_VIDEO, renditions=(_LARGE, _SMALL))


def _parameters(payload: Payload) -> dict[str, object]:
    return dict(payload.parameters)


def _nested(payload: Payload, name: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(str(_parameters(payload)[name]))
    return document


def test_an_encoding_is_written_byte_for_byte_as_pod_writes_it() -> None:
    assert build_payload(_ENCODING, _SITE, _SETTINGS).to_bytes() == (
        b'{"etab_name": "Universit\\u00e9 / Tube", "app_name": "Esup-Pod", "app_version": "4.3.0", '
        b'"task_type": "encoding", "source_url": "https://pod.example.org/media/videos/abc/film.mp4", '
        b'"notify_url": "https://pod.example.org/runner/notify_task_end/", "parameters": {"rendition": '
        b'"{\\"360\\": {\\"resolution\\": \\"640x360\\", \\"video_bitrate\\": \\"750k\\", '
        b'\\"audio_bitrate\\": \\"96k\\", \\"encode_mp4\\": true}, '
        b'\\"1080\\": {\\"resolution\\": \\"1920x1080\\", \\"video_bitrate\\": \\"3000k\\", '
        b'\\"audio_bitrate\\": \\"192k\\", \\"encode_mp4\\": false}}", '
        b'"video_id": 12, "video_slug": "0012-film", "video_title": "\\u00c9t\\u00e9"}}'
    )


def test_a_transcription_is_made_from_the_mp3_when_there_is_one() -> None:
    source = TranscriptionSource(_VIDEO, mp3="videos/abc/0012/é 1.mp3")
    payload = build_payload(source, _SITE, _SETTINGS)
    assert payload.source_url == "https://pod.example.org/media/videos/abc/0012/%C3%A9%201.mp3"
    assert list(_parameters(payload).items()) == [
        ("language", "fr"),
        ("source_language", "fr"),
        ("duration", 61.0),
        ("normalize", False),
        ("video_id", 12),
        ("video_slug", "0012-film"),
        ("video_title", "Été"),
    ]
    assert build_payload(TranscriptionSource(_VIDEO), _SITE, _SETTINGS).source_url.endswith("/film.mp4")


def test_the_kind_of_model_is_sent_only_when_pod_sets_one() -> None:
    """Else the manager cannot see that our request and Pod's own are the same."""
    source = TranscriptionSource(_VIDEO)
    assert "model_type" not in _parameters(build_payload(source, _SITE, _SETTINGS))
    with_type = replace(_SETTINGS, transcription_type="VOSK")
    assert list(_parameters(build_payload(source, _SITE, with_type)).items())[-1] == ("model_type", "VOSK")


@pytest.mark.parametrize(
    ("transcript", "tracks", "main_lang", "expected"),
    [
        ("de", ("it",), "fr", ("de", "fr")),
        ("", ("it", "es"), "fr", ("it", "fr")),
        ("", (), "fr", ("fr", "fr")),
        ("1", (), "fr", ("fr", "fr")),
        ("de", (), "  ", ("de", "auto")),
    ],
)
def test_the_language_asked_for_comes_before_that_of_a_track_and_the_spoken_one(
    transcript: str, tracks: tuple[str, ...], main_lang: str, expected: tuple[str, str]
) -> None:
    source = TranscriptionSource(
        replace(_VIDEO, transcript=transcript, main_lang=main_lang), track_languages=tracks
    )
    parameters = _parameters(build_payload(source, _SITE, _SETTINGS))
    assert (parameters["language"], parameters["source_language"]) == expected


def test_a_studio_task_sends_renditions_only() -> None:
    source = StudioSource(Recording(RecordingId(3), "/srv/media/opencast/../opencast/x y.xml"), (_SMALL,))
    payload = build_payload(source, _SITE, _SETTINGS)
    assert payload.source_url == "https://pod.example.org/media/opencast/x y.xml"
    assert list(_parameters(payload)) == ["rendition"]


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        ({"fr": "", "en": "Summer"}, "Summer"),
        ({"en": "Summer", "fr": "Été"}, "Été"),
        ({"zh_hans": "夏"}, "夏"),
        ({}, "Plain"),
    ],
)
def test_the_title_is_that_of_the_first_language_that_has_one(titles: dict[str, str], expected: str) -> None:
    payload = build_payload(replace(_ENCODING, video=replace(_VIDEO, titles=titles)), _SITE, _SETTINGS)
    assert _parameters(payload)["video_title"] == expected


@pytest.mark.parametrize(
    ("language", "titles", "expected"),
    [
        ("en-us", {"fr": "Été", "en": "Summer"}, "Summer"),
        ("zh-hans", {"zh_hans": "夏", "zh": "夏天"}, "夏"),
        ("de-ch", {"fr": "Été", "en": "Summer"}, "Été"),
    ],
)
def test_the_title_in_a_language_of_a_region_is_that_of_the_language(
    language: str, titles: dict[str, str], expected: str
) -> None:
    settings = replace(_SETTINGS, language=language, languages=("fr", "en"))
    payload = build_payload(replace(_ENCODING, video=replace(_VIDEO, titles=titles)), _SITE, settings)
    assert _parameters(payload)["video_title"] == expected


def test_a_video_without_any_title_is_sent_without_one() -> None:
    video = replace(_VIDEO, titles={}, title="")
    assert "video_title" not in _parameters(build_payload(EncodingSource(video), _SITE, _SETTINGS))


def test_only_what_would_point_elsewhere_is_percent_encoded() -> None:
    video = replace(_VIDEO, file="videos/abc/100% #1?été (final).mp4")
    payload = build_payload(EncodingSource(video), _SITE, _SETTINGS)
    assert payload.source_url.endswith("/media/videos/abc/100%25 %231%3Fété (final).mp4")


def test_an_absolute_media_url_stands_for_itself() -> None:
    settings = replace(_SETTINGS, media_url="https://cdn.example.org/m/")
    payload = build_payload(_ENCODING, _SITE, settings)
    assert payload.source_url == "https://cdn.example.org/m/videos/abc/film.mp4"
    assert payload.notify_url.startswith("https://pod.example.org/")


def test_a_malformed_rendition_is_left_out_and_reported() -> None:
    odd = VideoRendition("720p", "1k", "1k", encode_mp4=True)
    payload = build_payload(replace(_ENCODING, renditions=(odd, _SMALL)), _SITE, _SETTINGS)
    assert list(_nested(payload, "rendition")) == ["360"]
    assert any("'720p'" in warning for warning in payload.warnings)


def test_of_two_renditions_of_one_height_the_newer_is_sent_and_the_other_reported() -> None:
    other = VideoRendition("480x360", "1k", "1k", encode_mp4=True)
    payload = build_payload(replace(_ENCODING, renditions=(_SMALL, other)), _SITE, _SETTINGS)
    assert '"480x360"' in str(_parameters(payload)["rendition"])
    assert len(payload.warnings) == 1


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (Cut(time(0, 0, 5), time(0, 1, 30), "0:02:00"), ("00:00:05", "00:01:30", "0:02:00")),
        (
            Cut(time(0, 0, 1, 500000), time(0, 0, 10, 250000), "0:00:20.5"),
            ("00:00:01", "00:00:10", "0:00:20"),
        ),
        (Cut(time(0, 0, 1, 200000), time(0, 0, 1, 800000), "x"), ("00:00:01", "00:00:02", "x")),
    ],
)
def test_a_cut_is_sent_in_whole_seconds(cut: Cut, expected: tuple[str, str, str]) -> None:
    payload = build_payload(replace(_ENCODING, cuts=(cut,)), _SITE, _SETTINGS)
    assert tuple(_nested(payload, "cut").values()) == expected
    assert payload.warnings == ()


def test_of_two_cuts_and_two_dressings_the_newest_are_applied_and_people_are_told() -> None:
    newest = Cut(time(0, 0, 3), time(0, 0, 4), "b")
    dressing = Dressing("New", "top_right", None, watermark="files/logo.png")
    source = replace(
        _ENCODING,
        cuts=(newest, Cut(time(0, 0, 1), time(0, 0, 2), "a")),
        dressings=(dressing, replace(dressing, title="Old", watermark="files/old.png")),
    )
    payload = build_payload(source, _SITE, _SETTINGS)
    assert _nested(payload, "cut")["start"] == "00:00:03"
    # An opacity that is not set is left out: runners do not know the word "None".
    assert _nested(payload, "dressing") == {
        "watermark": "https://pod.example.org/media/files/logo.png",
        "watermark_position": "top_right",
    }
    assert len(payload.warnings) == 2


def test_credits_and_watermarks_without_a_file_are_left_out_and_reported() -> None:
    ending = Credits("0006-end", "videos/abc/end.mp4", 9)
    dressing = Dressing("D", None, 50, watermark="", opening=Credits("0005-start", "", 7), ending=ending)
    payload = build_payload(replace(_ENCODING, dressings=(dressing,)), _SITE, _SETTINGS)
    assert _nested(payload, "dressing") == {
        "ending_credits": "0006-end",
        "ending_credits_video": "https://pod.example.org/media/videos/abc/end.mp4",
        "ending_credits_video_duration": "9",
    }
    assert len(payload.warnings) == 2


@pytest.mark.parametrize(
    "source",
    [
        EncodingSource(replace(_VIDEO, file="")),
        EncodingSource(replace(_VIDEO, file="../outside.mp4")),
        EncodingSource(replace(_VIDEO, file="/srv/media/videos/film.mp4")),
        TranscriptionSource(_VIDEO, mp3=""),
        TranscriptionSource(_VIDEO, mp3="videos/../../x.mp3"),
        StudioSource(Recording(RecordingId(3), "/data/x.xml")),
        StudioSource(Recording(RecordingId(3), "/srv/media")),
        StudioSource(Recording(RecordingId(3), " ")),
    ],
)
def test_what_no_runner_can_fetch_is_refused_in_words(
    source: EncodingSource | TranscriptionSource | StudioSource,
) -> None:
    with pytest.raises(UnsubmittableError, match=r"(?i)(video 12|recording 3)"):
        build_payload(source, _SITE, _SETTINGS)


def test_a_second_attempt_is_another_request_and_a_first_one_is_not() -> None:
    payload = build_payload(_ENCODING, _SITE, _SETTINGS)
    assert payload.with_attempt(1) == payload
    second = payload.with_attempt(2)
    assert second.notify_url == "https://pod.example.org/runner/notify_task_end/?attempt=2"
    assert second.with_attempt(3).notify_url.endswith("/?attempt=3")
    assert second.with_attempt(1).to_bytes() == payload.to_bytes()


def test_empty_titles_of_the_site_fall_back_to_those_of_a_new_pod() -> None:
    settings = replace(_SETTINGS, title_site="", title_etb="", https=False)
    payload = build_payload(_ENCODING, _SITE, settings)
    assert payload.etab_name == "University name / Pod"
    assert payload.source_url.startswith("http://pod.example.org/")


def test_encodings_lie_beside_the_video_file() -> None:
    assert output_directory(_VIDEO.file, _VIDEO.id) == "videos/abc/0012"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_title_gives_the_same_ascii_bytes_each_time(title: str) -> None:
    source = replace(_ENCODING, video=replace(_VIDEO, titles={"fr": title}))
    payload = build_payload(source, _SITE, _SETTINGS)
    assert payload.to_bytes().isascii()
    assert payload.to_bytes() == build_payload(source, _SITE, _SETTINGS).to_bytes()
    assert json.loads(payload.to_bytes())["parameters"]["video_title"] == (title or "Plain")

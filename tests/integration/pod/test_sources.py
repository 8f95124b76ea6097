from datetime import time
from pathlib import Path

import pytest

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection
from poddispatchd.domain.media import source_file
from poddispatchd.domain.payload import PayloadSettings, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.source import EncodingSource, StudioSource, TranscriptionSource, Video
from poddispatchd.domain.task import SiteId, Task, TaskPk, VideoId
from poddispatchd.errors import UnsubmittableError
from poddispatchd.pod.sources import load_source, load_sources, output_directory, payload_settings
from poddispatchd.pod.tasks import get_task
from tests.integration.pod.rows import insert, pod, recording, task, video
from tests.plugins.postgres import PodDatabase

_MEDIA = Path("/srv/media")


async def _read(connection: Connection, pk: TaskPk) -> Task:
    found = await get_task(connection, pk)
    assert found is not None
    return found


async def test_an_encoding_is_loaded_with_all_that_shapes_it(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (_, capabilities, connection):
        film = await video(
            connection, title="Plain", title_en="Summer", video="videos/abc/film.mp4", duration=61
        )
        opening = await video(connection, slug="0099-start", video="videos/abc/start.mp4", duration=7)
        for second in (1, 3):
            await insert(
                connection,
                "cut_cutvideo",
                video_id=film,
                start=time(0, 0, second),
                end=time(0, 0, second + 1),
                duration="0:01:00",
            )
        for title, shown in (("Old", None), ("New", opening)):
            dressing = await insert(
                connection, "dressing_dressing", title=title, opacity=50, opening_credits_id=shown
            )
            await insert(connection, "dressing_dressing_videos", dressing_id=dressing, video_id=film)
        await connection.execute("DELETE FROM video_encode_transcript_videorendition")
        await insert(
            connection,
            "video_encode_transcript_videorendition",
            resolution="640x360",
            video_bitrate="750k",
            audio_bitrate="96k",
            encode_mp4=True,
        )
        source = await load_source(
            connection, capabilities, await _read(connection, await task(connection, video_id=film))
        )

    assert isinstance(source, EncodingSource)
    assert (source.video.title, source.video.titles, source.video.duration) == ("Plain", {"en": "Summer"}, 61)
    assert [cut.start.second for cut in source.cuts] == [3, 1]
    assert [(dressing.title, dressing.watermark) for dressing in source.dressings] == [
        ("New", None),
        ("Old", None),
    ]
    opening_credits = source.dressings[0].opening
    assert opening_credits is not None
    assert (opening_credits.slug, opening_credits.duration) == ("0099-start", 7)
    assert [rendition.resolution for rendition in source.renditions] == ["640x360"]
    assert source_file(str(_MEDIA), source) == "videos/abc/film.mp4"
    assert output_directory(_MEDIA, source) == f"{_MEDIA}/videos/abc/{film:04d}"


async def test_a_transcription_is_loaded_with_its_first_mp3_and_track(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (_, capabilities, connection):
        film = await video(connection, main_lang="fr", transcript="de")
        for format_, name, file in (
            ("video/mp4", "audio", "a.m4a"),
            ("audio/mp3", "360p", "named-otherwise.mp3"),
            ("audio/mp3", "audio", "a.mp3"),
            ("audio/mp3", "audio", "b.mp3"),
        ):
            await insert(
                connection,
                "video_encode_transcript_encodingaudio",
                video_id=film,
                encoding_format=format_,
                name=name,
                source_file=file,
            )
        for lang in ("it", "es"):
            await insert(connection, "completion_track", video_id=film, lang=lang)
        pk = await task(connection, "transcription", video_id=film)
        source = await load_source(connection, capabilities, await _read(connection, pk))

    assert isinstance(source, TranscriptionSource)
    assert (source.mp3, source.track_languages, source.language) == ("a.mp3", ("it", "es"), "de")
    assert source_file(str(_MEDIA), source) == "a.mp3"


async def test_a_studio_source_is_found_below_media_root(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (_, capabilities, connection):
        room = await recording(connection, "/srv/media/opencast/x/../x.xml")
        pk = await task(connection, "studio", recording_id=room)
        source = await load_source(connection, capabilities, await _read(connection, pk))
    assert isinstance(source, StudioSource)
    assert source_file(str(_MEDIA), source) == "opencast/x.xml"
    with pytest.raises(UnsubmittableError, match="outside MEDIA_ROOT"):
        source_file("/elsewhere", source)


@pytest.mark.parametrize("type_", ["encoding", "transcription", "studio"])
async def test_a_task_without_a_source_is_refused_in_words(pod_database: PodDatabase, type_: str) -> None:
    async with pod(pod_database) as (_, capabilities, connection):
        read = await _read(connection, await task(connection, type_, video_id=None, recording_id=None))
        with pytest.raises(UnsubmittableError, match=f"Task {read.pk} has no (video|recording)"):
            await load_source(connection, capabilities, read)


async def test_a_video_whose_file_is_null_has_no_file_and_is_there(pod_database: PodDatabase) -> None:
    """Under WEBTV_MODE Pod allows it, also for videos that are shown before or after others."""
    async with pod(pod_database) as (_, capabilities, connection):
        await connection.execute("ALTER TABLE video_video ALTER COLUMN video DROP NOT NULL")
        empty = await video(connection, video=None)
        film = await video(connection, video="videos/abc/film.mp4")
        dressing = await insert(connection, "dressing_dressing", title="Logo", opening_credits_id=empty)
        await insert(connection, "dressing_dressing_videos", dressing_id=dressing, video_id=film)
        tasks = [await _read(connection, await task(connection, video_id=each)) for each in (empty, film)]
        without, dressed = await load_sources(connection, capabilities, tasks)

    assert isinstance(without, EncodingSource)
    with pytest.raises(UnsubmittableError, match=f"Video {empty} has no file"):
        source_file(str(_MEDIA), without)
    assert isinstance(dressed, EncodingSource)
    payload = build_payload(
        dressed, Site(SiteId(1), "pod.example.org"), PayloadSettings(version="4.3.0", media_root=str(_MEDIA))
    )
    assert [warning for warning in payload.warnings if "has no file" in warning] != []


def test_a_video_without_a_file_has_no_output_directory() -> None:
    source = EncodingSource(Video(VideoId(7), "", "0007-x", "X"))
    assert output_directory(_MEDIA, source) == ""
    with pytest.raises(UnsubmittableError, match="Video 7 has no file"):
        source_file(str(_MEDIA), source)


def test_pods_settings_become_those_of_payloads() -> None:
    settings = payload_settings(PodSettings(title_site="Tube", media_root=_MEDIA, transcription_type=None))
    assert (settings.title_site, settings.media_root, settings.transcription_type) == (
        "Tube",
        "/srv/media",
        None,
    )


async def test_a_cut_at_a_time_that_no_clock_shows_keeps_its_own_task_only(pod_database: PodDatabase) -> None:
    """PostgreSQL knows 24:00:00; Python does not, and no task of the same look could be submitted."""
    async with pod(pod_database) as (_, capabilities, connection):
        odd, plain = [await video(connection, video=f"videos/abc/{name}.mp4") for name in ("odd", "plain")]
        await connection.execute(
            'INSERT INTO cut_cutvideo (start, "end", duration, video_id)'
            " VALUES ('00:00:00', '24:00:00', '24:00:00', $1)",
            odd,
        )
        tasks = [await _read(connection, await task(connection, video_id=film)) for film in (odd, plain)]
        refused, source = await load_sources(connection, capabilities, tasks)

    assert isinstance(source, EncodingSource)
    assert isinstance(refused, UnsubmittableError)
    assert str(refused) == f"The cut of video {odd} has no time of day: correct it in Pod."

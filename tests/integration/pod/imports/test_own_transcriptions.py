"""Subtitles reach the right track of the right video, and nothing else changes."""

import asyncio

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.errors import ResultIncompleteError, ResultRefusedError
from poddispatchd.pod.imports import transcription
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import World
from tests.integration.pod.imports.own import SUBTITLES, column, importing, stage, tree_of, value
from tests.plugins.postgres import PodDatabase

both_variants = pytest.mark.parametrize("variant", list(SchemaVariant))

RESULT = {"a.vtt": SUBTITLES, "info_video.json": b"{}", "a.mp3": b"mp3"}


async def add_track(pod: PodDatabase, video_id: int, kind: str, language: str) -> int:
    track = await value(
        pod,
        "INSERT INTO completion_track (kind, lang, enrich_ready, src_id, video_id)"
        " VALUES ($1, $2, FALSE, NULL, $3) RETURNING id",
        kind,
        language,
        video_id,
    )
    assert isinstance(track, int)
    return track


async def stored_file(pod: PodDatabase, track: int) -> str:
    table = pod.variant.custom_file
    return str(
        await value(
            pod,
            f"SELECT file FROM {table} WHERE id = (SELECT src_id FROM completion_track WHERE id = $1)",
            track,
        )
    )


@both_variants
async def test_subtitles_become_a_track_of_the_video(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["encoded"]
    async with importing(pod_database, world, TaskType.TRANSCRIPTION, RESULT, video=video) as task:
        outcome = await task.transcription()
    (track,) = await column(pod_database, "SELECT id FROM completion_track WHERE video_id = $1", video.id)
    assert isinstance(track, int)
    path = await stored_file(pod_database, track)
    assert path.endswith("/subtitle_fr_20260706-003015.vtt")
    assert (world.media_root / path).read_text().endswith("00:00:00.000 --> 00:00:02.000\nBonjour\n")
    assert (outcome.video_id, outcome.obsolete_files, outcome.chained_transcription) == (video.id, (), None)
    assert not await value(
        pod_database, "SELECT encoding_in_progress FROM video_video WHERE id = $1", video.id
    )


@both_variants
async def test_subtitles_lie_where_this_pod_keeps_its_files(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["encoded"]
    async with importing(
        pod_database, world, TaskType.TRANSCRIPTION, RESULT, video=video, files_dir="documents"
    ) as task:
        await task.transcription()
    (track,) = await column(pod_database, "SELECT id FROM completion_track WHERE video_id = $1", video.id)
    assert isinstance(track, int)
    path = await stored_file(pod_database, track)
    assert path.startswith("documents/")
    assert (world.media_root / path).is_file()


@both_variants
async def test_the_subtitles_of_two_videos_are_two_files(pod_database: PodDatabase, world: World) -> None:
    paths = []
    for name in ("encoded", "plain"):
        video = world.videos[name]
        track = await add_track(pod_database, video.id, "subtitles", "fr")
        async with importing(pod_database, world, TaskType.TRANSCRIPTION, RESULT, video=video) as task:
            await task.transcription()
        paths.append(await stored_file(pod_database, track))
    assert len(set(paths)) == 2


async def test_the_files_of_the_encoding_stay_untouched(pod_database: PodDatabase, world: World) -> None:
    video = world.videos["encoded"]
    folder = world.media_root / video.output_directory
    stage(folder, {"info_video.json": b"of the encoding"})
    before = tree_of(folder)
    async with importing(pod_database, world, TaskType.TRANSCRIPTION, RESULT, video=video) as task:
        await task.transcription()
    assert tree_of(folder) == before


async def test_of_two_tracks_of_the_language_the_subtitles_are_updated(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["encoded"]
    captions = await add_track(pod_database, video.id, "captions", "fr")
    subtitles = await add_track(pod_database, video.id, "subtitles", "fr")
    async with importing(pod_database, world, TaskType.TRANSCRIPTION, RESULT, video=video) as task:
        await task.transcription()
    assert await value(pod_database, "SELECT src_id FROM completion_track WHERE id = $1", captions) is None
    assert await value(pod_database, "SELECT src_id FROM completion_track WHERE id = $1", subtitles)


@pytest.mark.parametrize(
    ("transcript", "track", "language"),
    [
        ("de", "en", "de"),
        ("", "en", "en"),
        ("", None, "fr"),
        ("1", "en", "en"),
        ("1", None, "fr"),
        ("0", None, "fr"),
    ],
)
async def test_the_language_is_the_one_asked_for_or_of_the_first_track_or_of_the_video(
    pod_database: PodDatabase, world: World, transcript: str, track: str | None, language: str
) -> None:
    video = world.videos["plain"]
    await value(pod_database, "UPDATE video_video SET transcript = $1 WHERE id = $2", transcript, video.id)
    if track is not None:
        await add_track(pod_database, video.id, "subtitles", track)
    async with importing(pod_database, world, TaskType.TRANSCRIPTION, RESULT, video=video) as task:
        plan = await transcription.prepare(task.staged())
    assert plan.language == language


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"info_video.json": b"{}"}, ResultIncompleteError),
        ({"a.vtt": b"WEBVTT\n"}, ResultRefusedError),
        ({"a.vtt": b"\x00\xff"}, ResultRefusedError),
    ],
)
async def test_a_result_without_subtitles_fails_in_words(
    pod_database: PodDatabase,
    world: World,
    files: dict[str, bytes],
    error: type[ResultIncompleteError | ResultRefusedError],
) -> None:
    video = world.videos["encoded"]
    async with importing(pod_database, world, TaskType.TRANSCRIPTION, files, video=video) as task:
        with pytest.raises(error, match="subtitles"):
            await task.transcription()
    assert await column(pod_database, "SELECT id FROM completion_track") == []


async def test_long_captions_are_cut_for_reading_unless_whisper_made_them(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["encoded"]
    files = {"a.vtt": f"WEBVTT\n\n00:00.000 --> 00:10.000\n{'mot ' * 60}\n".encode()}
    captions = {}
    for kind, strict in ((None, False), ("WHISPER", False), ("VOSK", False), ("VOSK", True)):
        async with importing(
            pod_database,
            world,
            TaskType.TRANSCRIPTION,
            files,
            video=video,
            transcription_type=kind,
            captions_strict_accessibility=strict,
        ) as task:
            captions[kind, strict] = (await transcription.prepare(task.staged())).captions
    assert captions == {(None, False): 1, ("WHISPER", False): 1, ("VOSK", False): 3, ("VOSK", True): 3}


async def test_an_import_that_died_after_its_file_is_redone_without_a_trace(
    pod_database: PodDatabase, world: World
) -> None:
    video = world.videos["encoded"]
    async with importing(pod_database, world, TaskType.TRANSCRIPTION, RESULT, video=video) as task:
        plan = await transcription.prepare(task.staged())
        await asyncio.to_thread(plan.apply_files)
        files = set(tree_of(world.media_root))
        again = await transcription.prepare(task.staged())
        await asyncio.to_thread(again.apply_files)
        assert set(tree_of(world.media_root)) == files
        async with task.database.transaction() as connection:
            await again.write_rows(connection)
    assert await value(pod_database, "SELECT count(*) FROM completion_track") == 1

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from poddispatchd.database.pool import Connection
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.task import Task, TaskPk, TaskType
from poddispatchd.pod.progress import show_failed
from poddispatchd.pod.tasks import get_task
from poddispatchd.tasks.accepted_runs import shown_when_accepted, start_line
from tests.integration.pod.rows import all_rows, insert, recording, task, video
from tests.integration.pod.shown import show_accepted
from tests.plugins.postgres import PodDatabase

_NOW = datetime(2026, 3, 1, 9, 5, 7, tzinfo=ZoneInfo("Europe/Paris"))
_START = "Start at : Sun Mar  1 09:05:07 2026"
_URL = "https://rm.example.org/task/execute"
_PAYLOAD = Payload(
    etab_name="U / Pod",
    app_version="4.3.0",
    task_type=TaskType.ENCODING,
    source_url="https://pod.example.org/media/film.mp4",
    notify_url="https://pod.example.org/runner/notify_task_end/",
    parameters=(("rendition", "{}"), ("video_id", 1)),
)
_REQUEST = f"process manager remote encode : {_URL} with data {_PAYLOAD.document()}"


async def _accept(connection: Connection, pk: TaskPk) -> Task:
    read = await get_task(connection, pk)
    assert read is not None
    shown = shown_when_accepted(
        read,
        body=_PAYLOAD.document(),
        url=_URL,
        output_directory="/srv/media/videos/abc/0001",
        start=start_line(_NOW),
    )
    await show_accepted(connection, shown)
    return read


async def _step(connection: Connection) -> tuple[int, str]:
    [row] = await all_rows(connection, "video_encode_transcript_encodingstep")
    return row["num_step"], row["desc_step"]


async def test_an_accepted_encoding_starts_a_new_log(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        film = await video(connection)
        await insert(
            connection, "video_encode_transcript_encodinglog", video_id=film, log="old", logfile="kept.log"
        )
        await _accept(connection, await task(connection, video_id=film))
        [log] = await all_rows(connection, "video_encode_transcript_encodinglog")
        assert log["log"] == (
            f"{_START}\n\nremove old data : \nVideo: Nothing to delete\nAudio: Nothing to delete\n"
            f"Playlist: Nothing to delete\n\noutput_dir : /srv/media/videos/abc/0001\n\n{_REQUEST}"
        )
        assert log["logfile"] == "kept.log"
        assert await _step(connection) == (3, "process manager remote encode")
        [row] = await all_rows(connection, "video_video")
        assert row["encoding_in_progress"]


async def test_what_viewers_watch_stays_and_the_log_says_so(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        film = await video(connection, overview="videos/abc/0001/overview.vtt")
        await insert(
            connection, "video_encode_transcript_encodingaudio", video_id=film, source_file="videos/a.mp3"
        )
        await _accept(connection, await task(connection, video_id=film))
        [log] = await all_rows(connection, "video_encode_transcript_encodinglog")
        assert "Audio: Kept until the new files are there\n" in log["log"]
        assert len(await all_rows(connection, "video_encode_transcript_encodingaudio")) == 1
        [row] = await all_rows(connection, "video_video")
        assert row["overview"] == "videos/abc/0001/overview.vtt"


async def test_an_accepted_transcription_is_step_five_and_leaves_the_log_alone(
    pod_database: PodDatabase,
) -> None:
    async with pod_database.connection() as connection:
        await _accept(connection, await task(connection, "transcription"))
        assert await _step(connection) == (5, "transcripting audio")
        assert await all_rows(connection, "video_encode_transcript_encodinglog") == []


async def test_an_accepted_studio_task_is_told_in_the_recordings_comment(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        room = await recording(connection, comment="earlier")
        await _accept(connection, await task(connection, "studio", recording_id=room))
        [row] = await all_rows(connection, "recorder_recording")
        assert row["comment"] == f"earlier\n{_START}\n{_REQUEST}"


@pytest.mark.parametrize("type_", ["encoding", "transcription"])
async def test_a_failed_video_is_at_step_minus_one_and_no_longer_in_progress(
    pod_database: PodDatabase, type_: str
) -> None:
    async with pod_database.connection() as connection:
        read = await _accept(connection, await task(connection, type_))
        logs = await all_rows(connection, "video_encode_transcript_encodinglog")
        await show_failed(connection, read, "é\0" * 300)
        assert await _step(connection) == (-1, "é" * 255)
        [row] = await all_rows(connection, "video_video")
        assert not row["encoding_in_progress"]
        assert logs == await all_rows(connection, "video_encode_transcript_encodinglog")


async def test_a_transcription_that_fails_while_an_encoding_is_brought_in_leaves_nothing_in_progress(
    pod_database: PodDatabase,
) -> None:
    """Whoever brings it in still sees the transcription on its way, and commits a moment later."""
    async with pod_database.connection() as connection, pod_database.connection() as importing:
        read = await get_task(connection, await task(connection, "transcription"))
        assert read is not None
        async with importing.transaction():
            await importing.execute("UPDATE video_video SET encoding_in_progress = true")
            failing = asyncio.create_task(show_failed(connection, read, "No sound."))
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)"
            pid = connection.get_server_pid()
            while not (failing.done() or await importing.fetchval(waits, pid)):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
        await failing
        [row] = await all_rows(connection, "video_video")
        assert not row["encoding_in_progress"]


async def test_a_failure_that_we_found_is_added_to_the_log(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        read = await get_task(connection, await task(connection))
        assert read is not None
        for message in ("The file is missing.", "It still is."):
            await show_failed(connection, read, message, log=True)
        [log] = await all_rows(connection, "video_encode_transcript_encodinglog")
        assert log["log"] == "The file is missing.\nIt still is."


async def test_a_failed_studio_task_is_told_in_the_recordings_comment(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        read = await get_task(connection, await task(connection, "studio"))
        assert read is not None
        await show_failed(connection, read, "No room.")
        [row] = await all_rows(connection, "recorder_recording")
        assert row["comment"] == "\nNo room."
        assert await all_rows(connection, "video_encode_transcript_encodingstep") == []


async def test_a_task_without_a_source_has_nobody_to_show_anything_to(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        for type_ in ("encoding", "studio"):
            read = await _accept(connection, await task(connection, type_, video_id=None, recording_id=None))
            await show_failed(connection, read, "No source.")
        assert await all_rows(connection, "video_encode_transcript_encodingstep") == []

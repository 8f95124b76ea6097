"""What people change of a video, or of a task, in Pod while a runner works on it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def _submitted(here: Bench, task: TaskPk, **body: object) -> None:
    """It was this daemon that asked for it."""
    await here.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state,"
        " task_id, settled_at, date_added)"
        " SELECT id, type, runner_manager_id, 1, $2, 'accepted', task_id, now(), date_added"
        " FROM runner_manager_task WHERE id = $1",
        *(task, json.dumps(body).encode()),
    )


async def test_subtitles_are_stored_under_the_language_that_was_asked_for(here: Bench) -> None:
    """The owner chose another language meanwhile: French captions took the place of the English ones."""
    video = await here.video(transcript="fr")
    task = await here.ready(TaskType.TRANSCRIPTION, video=video)
    await _submitted(here, task, parameters={"language": "fr"})
    await here.execute("UPDATE video_video SET transcript = 'en' WHERE id = $1", video.id)

    await here.import_due()

    assert await here.status(task) == "completed"
    stored = await here.value(
        "SELECT array_agg(lang::text) FROM completion_track WHERE video_id = $1", video.id
    )
    assert stored == ["fr"]


async def test_a_recording_that_a_task_was_given_instead_does_not_get_the_video_of_the_other_one(
    here: Bench,
) -> None:
    """Somebody's recording was published as that of another user."""
    recording, other = await here.recording(), await here.recording()
    task = await here.ready(TaskType.STUDIO, recording=recording)
    url = f"http://pod.example.org/media/{recording.source_file.relative_to(here.world.media_root)}"
    await _submitted(here, task, source_url=url)
    await here.execute("UPDATE runner_manager_task SET recording_id = $2 WHERE id = $1", task, other.id)

    await here.import_due()

    assert await here.status(task) == "pending"
    [(state, _, words)] = await here.imports_of(task)
    assert (state, words) == (
        "failed",
        f"The file of recording {other.id} was replaced while it was worked on.",
    )
    assert await here.value("SELECT count(*) FROM video_video") == 0

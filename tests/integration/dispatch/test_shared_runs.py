"""Two rows with one id: Pod asked twice for the same, and the manager recognised the request."""

from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.sandbox.fake_runner_manager import Behaviour, RunOutcome
from poddispatchd.sandbox.pod.world import SampleRecording, SampleVideo, add_task
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


async def _pair(here: Bench, kind: TaskType) -> tuple[TaskPk, TaskPk]:
    """A task that runs, and another one of the same source with the same id."""
    video: SampleVideo | None = None
    recording: SampleRecording | None = None
    if kind is TaskType.STUDIO:
        recording = await here.recording()
    else:
        video = await here.video()
    first = await here.running(kind, video=video, recording=recording)
    async with here.pod.connection() as connection:
        second = await add_task(
            connection,
            kind,
            video=video,
            recording=recording,
            status=TaskStatus.RUNNING,
            task_id=await here.of(first, "task_id"),
            runner_manager=here.world.managers[0].id,
        )
    return first, second


@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.STUDIO])
async def test_the_result_is_imported_once_and_completes_both(
    pod_database: PodDatabase, media_root: Path, kind: TaskType
) -> None:
    async with bench(pod_database, media_root) as here:
        pair = await _pair(here, kind)
        videos = await here.value("SELECT count(*) FROM video_video")
        await here.end(pair[0])
        await features.reconciler(here.parts).step()
        await here.import_due()
        assert [await here.status(pk) for pk in pair] == ["completed", "completed"]
        assert [len(await here.imports_of(pk)) for pk in pair] == [1, 0]
        made = await here.value("SELECT count(*) FROM video_video") - videos
        assert made == (1 if kind is TaskType.STUDIO else 0)


async def test_a_failure_ends_both(pod_database: PodDatabase, media_root: Path) -> None:
    async with bench(pod_database, media_root) as here:
        pair = await _pair(here, TaskType.ENCODING)
        await here.end(pair[0], Behaviour(outcome=RunOutcome.FAILED, error="no such codec"))
        await features.reconciler(here.parts).step()
        assert [await here.status(pk) for pk in pair] == ["failed", "failed"]
        assert "no such codec" in await here.words(pair[1])


async def test_a_result_that_cannot_be_imported_for_one_is_tried_for_the_other(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with bench(pod_database, media_root) as here:
        first, second = await _pair(here, TaskType.ENCODING)
        await here.end(first)
        await here.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", first)
        await features.reconciler(here.parts).step()
        await here.import_due()
        assert await here.status(second) == "completed"

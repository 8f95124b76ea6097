"""Thousands of tasks for one video: whoever asked for them, the others must not wait for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.domain.duplicates import EndedDuplicate
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.pod import duplicates, queue_order
from poddispatchd.pod.queue_order import PendingTask
from poddispatchd.sandbox.pod.world import add_task, add_video
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_MANY = 1_000


async def _one_video_asked_for_often(pod: Scene, times: int = _MANY) -> list[TaskPk]:
    """So many tasks for one video, older than every other task."""
    video = await add_video(pod.connection, pod.world)
    rows = await pod.connection.fetch(
        "INSERT INTO runner_manager_task (type, status, date_added, video_id)"
        " SELECT 'encoding', 'pending', now() - interval '1 hour' + n * interval '1 ms', $1"
        "   FROM generate_series(1, $2::int) AS n RETURNING id",
        video.id,
        times,
    )
    return sorted(TaskPk(row["id"]) for row in rows)


async def _one_behind(pod: Scene) -> TaskPk:
    """A task for another video."""
    video = await add_video(pod.connection, pod.world)
    moment = datetime.now(UTC) - timedelta(minutes=1)
    return await add_task(pod.connection, TaskType.ENCODING, video=video, date_added=moment)


async def _look(daemon: Daemon) -> None:
    """One look at the queue, and what comes of it."""
    await daemon.dispatcher.step()
    await daemon.dispatcher.drain()


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows of the queue the dispatcher has looked at so far."""
    read, pending_tasks = list[PendingTask](), queue_order.pending_tasks

    async def counted(*arguments: object, **named: object) -> list[PendingTask]:
        page = await pending_tasks(*arguments, **named)  # type: ignore[arg-type]  # passed on
        read.extend(page)
        return page

    monkeypatch.setattr(queue_order, "pending_tasks", counted)
    return lambda: len(read)


async def test_a_task_behind_a_thousand_for_one_video_is_submitted_without_reading_all_of_them(
    pod_database: PodDatabase, media_root: Path, rows_read: Callable[[], int]
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=3)) as pod:
        first, second, *_ = await _one_video_asked_for_often(pod)
        other = await _one_behind(pod)
        daemon = await pod.daemon()
        await daemon.settle()
        assert [await pod.status(pk) for pk in (first, second, other)] == ["running", "pending", "running"]
        assert rows_read() < _MANY / 5


@pytest.mark.parametrize("end", [TaskStatus.COMPLETED, TaskStatus.FAILED])
async def test_a_thousand_that_waited_end_at_one_look_and_the_next_task_runs_at_the_next(
    pod_database: PodDatabase, media_root: Path, end: TaskStatus
) -> None:
    # Each took a look of its own, before every other task: 10,000 of them a quarter of an hour.
    async with scene(pod_database, media_root, Spec("first", runners=1)) as pod:
        first, *_ = await _one_video_asked_for_often(pod, 1_100)
        other = await _one_behind(pod)
        daemon = await pod.daemon()
        await daemon.settle()
        [task_id] = pod.fakes["first"].tasks
        await pod.fakes["first"].finish(task_id)
        await pod.end(first, end)
        daemon.clock.advance(600)
        await _look(daemon)
        assert await pod.statuses() == {end: 1_100, "pending": 1}
        await _look(daemon)
        assert await pod.status(other) == "running"


async def test_those_that_pod_may_be_submitting_itself_do_not_end_with_the_others(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        first, *others, young = await _one_video_asked_for_often(pod, 4)
        now = datetime.now(UTC)
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = $2 WHERE id = $1", young, now + timedelta(seconds=20)
        )
        daemon = await pod.daemon(dispatch={"grace": "30s"})
        await daemon.settle()
        await pod.end(first)
        await _look(daemon)
        assert [await pod.status(pk) for pk in others] == ["completed", "completed"]
        assert await pod.status(young) == "pending"


async def test_one_that_was_restarted_meanwhile_does_not_end_with_the_others(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        pks = await _one_video_asked_for_often(pod, 3)
        waiting = {pk: (await pod.row(pk))["date_added"] for pk in pks[1:]}
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = now() WHERE id = $1", pks[2]
        )
        duplicate = EndedDuplicate(pks[0], TaskStatus.COMPLETED, datetime.now(UTC), None)
        assert await duplicates.follow(pod.connection, waiting, duplicate, "words", video=None, grace=0) == 1
        assert [await pod.status(pk) for pk in pks] == ["pending", "completed", "pending"]

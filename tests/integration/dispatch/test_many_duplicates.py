"""Thousands of tasks for one video: whoever asked for them, the others must not wait for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.pod import queue
from poddispatchd.pod.queue import PendingTask
from poddispatchd.sandbox.pod.world import add_task, add_video
from tests.integration.dispatch.scene import Scene, Spec, scene
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


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows of the queue the dispatcher has looked at so far."""
    read, pending_tasks = list[PendingTask](), queue.pending_tasks

    async def counted(*arguments: object, **named: object) -> list[PendingTask]:
        page = await pending_tasks(*arguments, **named)  # type: ignore[arg-type]  # passed on
        read.extend(page)
        return page

    monkeypatch.setattr(queue, "pending_tasks", counted)
    return lambda: len(read)


async def test_a_task_behind_a_thousand_for_one_video_is_submitted_without_reading_all_of_them(
    pod_database: PodDatabase, media_root: Path, rows_read: Callable[[], int]
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=3)) as pod:
        first, second, *_ = await _one_video_asked_for_often(pod)
        other = await add_task(
            pod.connection,
            TaskType.ENCODING,
            video=await add_video(pod.connection, pod.world),
            date_added=datetime.now(UTC) - timedelta(minutes=1),
        )
        daemon = await pod.daemon()
        await daemon.settle()
        assert [await pod.status(pk) for pk in (first, second, other)] == ["running", "pending", "running"]
        assert rows_read() < _MANY / 5

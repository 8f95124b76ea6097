"""Tasks that go back into the queue wait there: what spoilt their run may pass with time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.domain.lifecycle import Retries
from poddispatchd.domain.task import TaskPk
from poddispatchd.observability.events import Event
from poddispatchd.pod.tasks import get_task
from poddispatchd.tasks.administration import restart_tasks
from poddispatchd.tasks.transitions import requeue_task
from tests.integration.dispatch.scene import Daemon, Scene, scene
from tests.integration.journal.aging import age_journal
from tests.plugins.postgres import PodDatabase

_LONGEST = Retries(max_attempts=3, first_wait=20.0, random=lambda: 1.0)
"""No luck: twenty seconds after the first submission, forty after the second."""


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root) as made:
        yield made


async def _put_back(daemon: Daemon, pk: TaskPk) -> None:
    """A runner was busy, say."""
    async with daemon.parts.database.transaction() as connection:
        task = await get_task(connection, pk)
        assert task is not None
        assert await requeue_task(connection, task, "Runner is busy", retries=_LONGEST)


async def _spoilt(pod: Scene, daemon: Daemon) -> TaskPk:
    """A task that was submitted, and whose run was spoilt."""
    [pk] = await pod.encodings(1)
    await daemon.settle()
    await _put_back(daemon, pk)
    daemon.parts.wakeups.dispatcher.ring()
    return pk


async def _later(pod: Scene, daemon: Daemon, seconds: float) -> None:
    daemon.clock.advance(seconds)
    await age_journal(pod.connection, seconds)


async def test_one_waits_its_time_and_the_dispatcher_looks_again_then(pod: Scene) -> None:
    """All its attempts were used up within a moment."""
    daemon = await pod.daemon(dispatch={"grace": 0, "poll_interval": "1h"})
    pk = await _spoilt(pod, daemon)
    await daemon.settle()
    assert (await pod.status(pk), pod.posts("first")) == ("pending", 1)
    # The look that found nothing to do was not told to read again which tasks wait.
    assert 15 < await daemon.dispatcher.step() <= 20

    await _later(pod, daemon, 10)
    await daemon.settle()
    assert pod.posts("first") == 1

    await _later(pod, daemon, 10)
    await daemon.settle()
    assert (await pod.status(pk), pod.posts("first")) == ("running", 2)


async def test_each_wait_may_be_twice_as_long_as_the_one_before(pod: Scene) -> None:
    daemon = await pod.daemon()
    with capture_logs() as logs:
        pk = await _spoilt(pod, daemon)
        await _later(pod, daemon, 20)
        await daemon.settle()
        await _put_back(daemon, pk)
    told = [line["in_seconds"] for line in logs if line["event"] == Event.TASK_REQUEUED]
    assert told == [20.0, 40.0]


async def test_one_waits_on_under_another_daemon(pod: Scene) -> None:
    pk = await _spoilt(pod, await pod.daemon())
    successor = await pod.successor()
    await successor.settle()
    assert await pod.status(pk) == "pending"

    await _later(pod, successor, 20)
    await successor.settle()
    assert await pod.status(pk) == "running"


async def test_one_that_another_daemon_put_back_waits_as_well(pod: Scene) -> None:
    """The one that schedules is told nothing, and reads only now and then which tasks wait."""
    scheduler = await pod.daemon()
    other = await pod.daemon()
    [pk] = await pod.encodings(1)
    await scheduler.settle()
    await scheduler.dispatcher.step()
    await _put_back(other, pk)

    await scheduler.settle()
    assert (await pod.status(pk), pod.posts("first")) == ("pending", 1)

    await _later(pod, scheduler, 20)
    await scheduler.settle()
    assert await pod.status(pk) == "running"


async def test_others_are_submitted_meanwhile(pod: Scene) -> None:
    daemon = await pod.daemon()
    pk = await _spoilt(pod, daemon)
    [other] = await pod.encodings(1)
    await daemon.settle()
    assert [await pod.status(task) for task in (pk, other)] == ["pending", "running"]


async def test_no_duplicate_overtakes_one_that_waits(pod: Scene) -> None:
    """The same source would be worked on twice."""
    daemon = await pod.daemon()
    pk = await _spoilt(pod, daemon)
    await pod.connection.execute(
        "INSERT INTO runner_manager_task (type, status, date_added, video_id)"
        " SELECT type, 'pending', now(), video_id FROM runner_manager_task WHERE id = $1",
        pk,
    )
    await daemon.settle()
    assert (await pod.statuses(), pod.posts("first")) == ({"pending": 2}, 1)


@pytest.mark.parametrize("pods_own", [False, True], ids=["here", "in Pod's administration"])
async def test_a_person_who_restarts_it_is_not_kept_waiting(pod: Scene, pods_own: bool) -> None:
    daemon = await pod.daemon()
    pk = await _spoilt(pod, daemon)
    await daemon.settle()
    assert await pod.status(pk) == "pending"

    if pods_own:
        await pod.connection.execute(
            "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL,"
            " rank = NULL, script_output = NULL, date_added = now() WHERE id = $1",
            pk,
        )
    else:
        await restart_tasks(daemon.parts.database, daemon.parts.client, [pk], by="somebody")
    await daemon.settle()
    assert await pod.status(pk) == "running"


async def test_nobody_waits_where_no_wait_is_wanted(pod: Scene) -> None:
    daemon = await pod.daemon(reconcile={"retry_wait": "0s"})
    [pk] = await pod.encodings(1)
    await daemon.settle()
    async with daemon.parts.database.transaction() as connection:
        task = await get_task(connection, pk)
        assert task is not None
        assert await requeue_task(connection, task, "Runner is busy", retries=daemon.parts.retries)
    await daemon.settle()
    assert (await pod.status(pk), pod.posts("first")) == ("running", 2)

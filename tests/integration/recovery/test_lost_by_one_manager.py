"""A manager that loses whatever it takes does not get all the runs that a task may have."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.situation import Reason
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.tasks import get_task
from poddispatchd.runtime.jobs import Progress
from poddispatchd.tasks.administration import restart_tasks
from poddispatchd.tasks.transitions import requeue_task
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_AT_ONCE = {"retry_wait": "0s"}
_AN_HOUR = 3600.0


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    """Pod's administrator prefers the one that forgets its tasks; the other one has one runner."""
    forgetful, sound = Spec("forgetful", priority=1, runners=9), Spec("sound", priority=2, runners=1)
    async with scene(pod_database, media_root, forgetful, sound) as made:
        yield made


async def _lost(daemon: Daemon, pk: TaskPk) -> None:
    """Its manager does not know it any more."""
    async with daemon.parts.database.transaction() as connection:
        task = await get_task(connection, pk)
        assert task is not None
        assert await requeue_task(connection, task, "It is not known.", retries=daemon.parts.retries)
    daemon.parts.wakeups.dispatcher.ring()
    await daemon.settle()


async def _why_it_waits(daemon: Daemon, pk: TaskPk) -> Reason:
    """As the status page tells it."""
    figures = features.figures(daemon.parts, features.maintenance(daemon.parts).counter.look)
    await figures.refresh(with_tasks=True)
    told = features.status(daemon.parts, figures).state(Progress()).waiting
    return next(item.why.reason for item in told if item.task == pk)


async def _occupied(pod: Scene) -> TaskPk:
    """A task that the only runner of the other manager works on."""
    await pod.connection.execute("UPDATE runner_manager SET is_active = name <> 'forgetful'")
    daemon = await pod.daemon()
    [pk] = await pod.encodings(1)
    await daemon.settle()
    assert await pod.holders([pk]) == ["sound"]
    await pod.connection.execute("UPDATE runner_manager SET is_active = true")
    return pk


async def test_a_task_that_one_manager_lost_is_given_to_another_one(pod: Scene) -> None:
    daemon = await pod.daemon(reconcile=_AT_ONCE)
    [pk] = await pod.encodings(1)
    await daemon.settle()
    assert await pod.holders([pk]) == ["forgetful"]

    await _lost(daemon, pk)

    assert await pod.holders([pk]) == ["sound"]


async def test_a_run_that_is_not_the_last_goes_to_the_same_manager_while_the_others_are_full(
    pod: Scene,
) -> None:
    """Most managers that forgot their tasks were only started anew: theirs do not wait for a smaller one."""
    await _occupied(pod)
    daemon = await pod.successor(reconcile=_AT_ONCE)
    [pk] = await pod.encodings(1)
    await daemon.settle()

    await _lost(daemon, pk)

    assert await pod.holders([pk]) == ["forgetful"]


async def test_the_last_run_is_kept_for_a_manager_that_has_not_lost_it(pod: Scene) -> None:
    """All runs of all tasks went to the one that has room at once, and failed for good beside another one."""
    other = await _occupied(pod)
    daemon = await pod.successor(reconcile=_AT_ONCE)
    [pk] = await pod.encodings(1)
    await daemon.settle()
    for _ in range(2):
        await _lost(daemon, pk)
    assert await pod.status(pk) == "pending"
    assert await _why_it_waits(daemon, pk) is Reason.KEPT_FOR_OTHERS

    await pod.fakes["sound"].finish((await pod.row(other))["task_id"])
    await pod.end(other)
    daemon.clock.advance(600)
    await daemon.settle()

    assert await pod.holders([pk]) == ["sound"]


async def test_it_is_kept_for_an_hour(pod: Scene) -> None:
    """Who is full for ever may have no runner for it."""
    await _occupied(pod)
    daemon = await pod.successor(reconcile=_AT_ONCE)
    [pk] = await pod.encodings(1)
    await daemon.settle()
    for _ in range(2):
        await _lost(daemon, pk)
    assert await pod.status(pk) == "pending"

    daemon.clock.advance(_AN_HOUR)
    await daemon.settle()

    assert await pod.holders([pk]) == ["forgetful"]


async def test_it_is_kept_for_nobody_who_does_not_work(pod: Scene) -> None:
    await pod.connection.execute("UPDATE runner_manager SET is_active = name = 'forgetful'")
    daemon = await pod.daemon(reconcile=_AT_ONCE)
    [pk] = await pod.encodings(1)
    await daemon.settle()
    for _ in range(2):
        await _lost(daemon, pk)

    assert await pod.holders([pk]) == ["forgetful"]


async def test_another_daemon_knows_who_lost_it(pod: Scene) -> None:
    daemon = await pod.daemon(reconcile={"retry_wait": "10m"})
    [pk] = await pod.encodings(1)
    await daemon.settle()
    await _lost(daemon, pk)
    await pod.connection.execute("UPDATE poddispatchd.own_task SET not_before = now()")

    await (await pod.successor()).settle()

    assert await pod.holders([pk]) == ["sound"]


async def test_a_restart_begins_anew(pod: Scene) -> None:
    daemon = await pod.daemon(reconcile={"retry_wait": "10m"})
    [pk] = await pod.encodings(1)
    await daemon.settle()
    await _lost(daemon, pk)

    await restart_tasks(daemon.parts.database, daemon.parts.client, [pk], by="somebody")
    await daemon.settle()

    assert await pod.holders([pk]) == ["forgetful"]


async def _all_but_the_last_run_lost(pod: Scene, pks: Sequence[TaskPk], *, waited: str = "0") -> None:
    """They were put back into the queue, and have waited for so long since they might be submitted again."""
    await pod.connection.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, date_added)"
        " SELECT id, type, $2, attempt, '', 'lost', date_added"
        " FROM runner_manager_task, generate_series(1, 2) AS attempt WHERE id = ANY($1)",
        list(pks),
        pod.ids["forgetful"],
    )
    await pod.connection.execute(
        "INSERT INTO poddispatchd.own_task (task_pk, date_added, not_before)"
        " SELECT id, date_added, now() - $2::text::interval FROM runner_manager_task WHERE id = ANY($1)",
        list(pks),
        waited,
    )


async def test_many_that_are_kept_hide_nobody_behind_them(pod: Scene) -> None:
    """More than are read at once: the manager that lost them had nothing to do for an hour."""
    await _occupied(pod)
    kept = await pod.encodings(250)
    await _all_but_the_last_run_lost(pod, kept)
    behind = await pod.encodings(2)

    await (await pod.successor()).settle()

    assert await pod.holders(behind) == ["forgetful", "forgetful"]
    assert {await pod.status(pk) for pk in kept} == {"pending"}


async def test_an_hour_is_one_however_often_daemons_are_started(pod: Scene) -> None:
    await _occupied(pod)
    [pk] = await pod.encodings(1)
    await _all_but_the_last_run_lost(pod, [pk], waited="59 minutes")
    await (await pod.successor()).settle()
    assert await pod.status(pk) == "pending"

    daemon = await pod.successor()
    await pod.connection.execute(
        "UPDATE poddispatchd.own_task SET not_before = not_before - interval '1 minute'"
    )
    await daemon.settle()

    assert await pod.holders([pk]) == ["forgetful"]

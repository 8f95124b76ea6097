"""A runner manager that is slow, silent or endless holds up the questions to no other one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from poddispatchd.app import features
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId, TaskPk
from poddispatchd.reconcile import polling
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import RunnerTask
from poddispatchd.sandbox.fake_runner_manager import Mode
from tests.integration.imports.bench import Bench, bench, schedule, until
from tests.plugins.postgres import PodDatabase

INTERVAL = 60.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _on_another_manager(here: Bench, task: TaskPk, name: str) -> int:
    """Let a task run on a second manager, which is the first one's double at the same address."""
    manager = await here.value(
        "INSERT INTO runner_manager (name, priority, is_active, url, token, site_id)"
        " SELECT $1, priority, is_active, url || '/', token, site_id FROM runner_manager ORDER BY id LIMIT 1"
        " RETURNING id",
        name,
    )
    await here.execute("UPDATE runner_manager_task SET runner_manager_id = $2 WHERE id = $1", task, manager)
    await here.parts.managers.refresh(within=0)
    return int(manager)


class Slow:
    """Answers about the tasks of one manager wait until they are let go."""

    def __init__(self, manager: int) -> None:
        self.manager, self.go, self.asked = manager, asyncio.Event(), list[str]()
        self._status = RunnerClient.status

    def in_place_of_status(self) -> Callable[..., Awaitable[RunnerTask]]:
        """A function, so that a client is its first argument."""

        async def status(*arguments: Any) -> RunnerTask:  # noqa: ANN401 - whatever a method gets
            return await self.status(*arguments)

        return status

    async def status(self, client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        self.asked.append(manager.name)
        if manager.id == self.manager:
            await self.go.wait()
        return await self._status(client, manager, task_id)


async def _until_quiet(here: Bench, watcher: Reconciler) -> None:
    """The first manager, which answers at once, is asked nothing at this moment."""
    first = here.world.managers[0].id

    async def is_quiet() -> bool:
        return not watcher._polling.is_busy(first)

    await until(is_quiet)


async def test_the_others_are_asked_again_while_one_manager_keeps_us_waiting(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them waited for the slowest: two hundred questions of thirty seconds each."""
    held, quick = await here.running(), await here.running()
    slow = Slow(await _on_another_manager(here, held, "slow"))
    monkeypatch.setattr(RunnerClient, "status", slow.in_place_of_status())
    monkeypatch.setattr("poddispatchd.reconcile.reconciler._ANSWERED_WITHIN", 0.05)
    watcher = features.reconciler(here.parts)
    try:
        await watcher.step()
        await _until_quiet(here, watcher)
        await here.end(quick)
        here.clock.ahead += INTERVAL
        await watcher.step()
        await _until_quiet(here, watcher)
        assert [state for state, *_ in await here.imports_of(quick)] == ["open"]
        # It is not asked a second time while it has not answered the first.
        assert slow.asked.count("slow") == 1
        await here.end(held)
        slow.go.set()
        await watcher.until_idle()
        assert [state for state, *_ in await here.imports_of(held)] == ["open"]
    finally:
        await watcher.stop()


async def test_a_manager_is_asked_for_half_a_minute_in_one_go_and_goes_on_at_the_next(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [await here.running() for _ in range(5)]
    for task in tasks:
        await here.end(task)
    status = RunnerClient.status
    asked: list[str] = []

    async def tardy(client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        asked.append(task_id)
        here.clock.ahead += polling.LONGEST * 0.6
        return await status(client, manager, task_id)

    monkeypatch.setattr(RunnerClient, "status", tardy)
    watcher = features.reconciler(here.parts)
    for expected in (2, 4, 5):
        assert await watcher.step() <= INTERVAL
        assert len(asked) == expected
    assert len(set(asked)) == 5


async def test_questions_that_go_on_are_broken_off_at_a_stop(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await here.running()
    slow = Slow(await _on_another_manager(here, held, "slow"))
    monkeypatch.setattr(RunnerClient, "status", slow.in_place_of_status())
    monkeypatch.setattr("poddispatchd.reconcile.reconciler._ANSWERED_WITHIN", 0.05)
    watcher = features.reconciler(here.parts)
    await watcher.step()
    await watcher.stop()
    await watcher.until_idle()
    assert await here.status(held) == "running"
    slow.go.set()
    here.clock.ahead += INTERVAL
    await watcher.step()
    assert slow.asked == ["slow", "slow"]


async def test_a_task_that_ended_while_its_manager_kept_us_waiting_is_left_as_it_is(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await here.running()
    slow = Slow(await _on_another_manager(here, held, "slow"))
    monkeypatch.setattr(RunnerClient, "status", slow.in_place_of_status())
    monkeypatch.setattr("poddispatchd.reconcile.reconciler._ANSWERED_WITHIN", 0.05)
    watcher = features.reconciler(here.parts)
    await watcher.step()
    await here.end(held)
    await here.execute(
        "UPDATE runner_manager_task SET status = 'pending', task_id = NULL WHERE id = $1", held
    )
    await watcher.step()
    slow.go.set()
    await watcher.until_idle()
    assert (await here.status(held), await here.imports_of(held)) == ("pending", [])


async def test_nothing_more_is_asked_once_another_daemon_schedules(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, next_one = await here.running(), await here.running()
    slow = Slow(await _on_another_manager(here, held, "slow"))
    await here.execute(
        "UPDATE runner_manager_task SET runner_manager_id = $2 WHERE id = $1", next_one, slow.manager
    )
    monkeypatch.setattr(RunnerClient, "status", slow.in_place_of_status())
    monkeypatch.setattr("poddispatchd.reconcile.reconciler._ANSWERED_WITHIN", 0.05)
    watcher = features.reconciler(here.parts)
    await watcher.step()
    schedule(here.parts, None)
    slow.go.set()
    await watcher.until_idle()
    assert slow.asked == ["slow"]


async def test_somebody_who_holds_very_many_rows_holds_up_no_other_answer(
    here: Bench, pod_database: PodDatabase
) -> None:
    """A second went by for each of them, at each pass, before anybody else of that manager was asked."""
    tasks: list[TaskPk] = []
    for _ in range(20):
        tasks.append(await here.running())
        await here.end(tasks[-1])
    *held, free = tasks
    watcher = features.reconciler(here.parts)
    try:
        async with pod_database.connection() as other, other.transaction():
            await other.execute("SELECT FROM runner_manager_task WHERE id = ANY ($1) FOR UPDATE", held)
            async with asyncio.timeout(10):
                await watcher.step()
                await watcher.until_idle()
            assert [state for state, *_ in await here.imports_of(free)] == ["open"]
            assert here.parts.locked_rows.tasks == {*held}
        while here.parts.locked_rows.tasks:
            await here.parts.locked_rows.step()
        here.clock.ahead += INTERVAL
        await watcher.step()
        await watcher.until_idle()
        for task in held:
            assert [state for state, *_ in await here.imports_of(task)] == ["open"]
    finally:
        await watcher.stop()

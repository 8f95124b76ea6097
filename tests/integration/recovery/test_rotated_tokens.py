"""The token of a runner manager is changed in Pod while its runs are in flight."""

import asyncio
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.pod import managers as pod_managers
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import RunnerTask
from poddispatchd.sandbox.fake_runner_manager import Mode
from tests.integration.imports.bench import bench
from tests.plugins.postgres import PodDatabase

NEW = "token-since-today"


async def test_runs_in_flight_are_found_by_asking_with_the_new_token(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Their manager calls with the token that it was given them with, and is refused."""
    async with bench(pod_database, media_root, mode=Mode.SHARED) as here:
        task = await here.running()
        watcher = features.reconciler(here.parts)
        await watcher.step()
        await here.end(task)
        here.fake.take_only(NEW)
        here.clock.ahead += 60
        await watcher.step()
        # Between the two changes neither token is right: nothing is lost, nothing fails.
        assert await here.status(task) == "running"
        await here.execute("UPDATE runner_manager SET token = $1", NEW)
        here.clock.ahead += 120
        await here.parts.managers.refresh()
        await watcher.step()
        await here.import_due()
        assert await here.status(task) == "completed"


async def test_a_refusal_of_the_old_token_that_comes_late_does_not_shut_the_manager(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had put the right token into Pod saw "misconfigured" all the same, and no task went there for a
    minute."""
    status = RunnerClient.status
    async with bench(pod_database, media_root, mode=Mode.SHARED) as here:
        await here.running()

        async def changed_meanwhile(
            client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId
        ) -> RunnerTask:
            here.fake.take_only(NEW)
            await here.execute("UPDATE runner_manager SET token = $1", NEW)
            await here.parts.managers.refresh(within=0)
            return await status(client, manager, task_id)

        monkeypatch.setattr(RunnerClient, "status", changed_meanwhile)
        await features.reconciler(here.parts).step()
        assert not here.parts.registry.is_down(here.world.managers[0].id)


async def test_rows_that_were_read_before_the_change_do_not_take_it_back(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs read them side by side, and the one that saw the old token was the last to hear of it."""
    read, has_read, goes_on = pod_managers.runner_managers, asyncio.Event(), asyncio.Event()

    async def slowly(database: Database) -> list[RunnerManager]:
        found = await read(database)
        has_read.set()
        await goes_on.wait()
        return found

    async with bench(pod_database, media_root, mode=Mode.SHARED) as here:
        managers = here.parts.managers
        with monkeypatch.context() as slow:
            slow.setattr(pod_managers, "runner_managers", slowly)
            late = asyncio.create_task(managers.refresh(within=0))
            await has_read.wait()
        await here.execute("UPDATE runner_manager SET token = $1", NEW)
        await managers.refresh(within=0)
        goes_on.set()
        await late
        [manager] = managers.registry.all()
        assert manager.token.get_secret_value() == NEW


async def test_that_the_rows_are_old_is_not_forgotten_while_they_are_read(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pod_managers.runner_managers
    async with bench(pod_database, media_root, mode=Mode.SHARED) as here:
        managers = here.parts.managers

        async def then_changed(database: Database) -> list[RunnerManager]:
            found = await read(database)
            await here.execute("UPDATE runner_manager SET token = $1", NEW)
            managers.expire()
            return found

        with monkeypatch.context() as changing:
            changing.setattr(pod_managers, "runner_managers", then_changed)
            await managers.refresh(within=0)
        await managers.refresh()
        [manager] = managers.registry.all()
        assert manager.token.get_secret_value() == NEW

"""The token of a runner manager is changed in Pod while its runs are in flight."""

from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId
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

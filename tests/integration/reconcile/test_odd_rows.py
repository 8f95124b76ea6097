"""A running row that nothing can be written to keeps no other one from being asked about (I12)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.sandbox.fake_runner_manager import Mode
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

INTERVAL = 60.0
RUNNING_AFTER = 300.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _refuse_writes_to(here: Bench, task: TaskPk) -> None:
    """As a site's own trigger does."""
    await here.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$"
    )
    await here.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON runner_manager_task"
        f" FOR EACH ROW WHEN (OLD.id = {int(task)}) EXECUTE FUNCTION refuse()"
    )


async def _look(here: Bench, watcher: Reconciler, *, after: float = 0.0) -> None:
    here.clock.ahead += after
    await watcher.step()
    await watcher.until_idle()


async def test_a_row_that_runs_nowhere_and_cannot_be_written_holds_up_nobody(here: Bench) -> None:
    nowhere, other = await here.running(), await here.running()
    await here.execute("UPDATE runner_manager_task SET runner_manager_id = NULL WHERE id = $1", nowhere)
    await _refuse_writes_to(here, nowhere)
    watcher = features.reconciler(here.parts)
    await _look(here, watcher)
    await here.end(other)
    await _look(here, watcher, after=INTERVAL)
    assert [state for state, *_ in await here.imports_of(other)] == ["open"]
    [incident] = here.parts.incidents.active
    assert f"task {nowhere}" in incident.words


async def test_a_row_whose_runner_is_gone_and_cannot_be_written_holds_up_nobody(here: Bench) -> None:
    """They are asked about one after the other, and all of them run on the runner that vanished."""
    tasks = [await here.running() for _ in range(3)]
    await _refuse_writes_to(here, tasks[0])
    watcher = features.reconciler(here.parts)
    await _look(here, watcher)
    here.fake.runners.clear()
    for _ in range(3):
        await _look(here, watcher, after=RUNNING_AFTER + INTERVAL)
    assert [await here.status(task) for task in tasks] == ["running", "pending", "pending"]
    [incident] = here.parts.incidents.active
    assert f"task {tasks[0]}" in incident.words

"""How tasks ended lately: those that never ran too, each once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.journal import ends
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def _fail(here: Bench, task: TaskPk, *, of_run: bool) -> None:
    await here.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", task)
    if of_run:
        run = str(await here.of(task, "task_id"))
        await here.execute(
            "INSERT INTO poddispatchd.failure (task_pk, runner_manager_id, task_id)"
            " SELECT id, runner_manager_id, task_id FROM runner_manager_task WHERE task_id = $1",
            run,
        )


async def test_a_task_that_failed_before_it_ran_is_among_the_ends_the_failures_and_the_hours(
    here: Bench,
) -> None:
    """The page was silent of tasks whose source was missing."""
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    ran, never_ran = await here.running(), await here.running(status=TaskStatus.PENDING)
    await maintenance.counter.look()
    await _fail(here, ran, of_run=True)
    await _fail(here, never_ran, of_run=False)
    await maintenance.counter.look()

    async with here.parts.database.connection() as connection:
        recent = await ends.recent(connection, limit=20)
        failed = await ends.failed(connection, hours=24, limit=20)
        hours = await ends.by_hour(connection)
    assert sorted(item.pk for item in recent) == [ran, never_ran]
    assert sorted(item.pk for item in failed) == [ran, never_ran]
    assert not any(item.is_completed for item in recent)
    assert sum(hour.failed for hour in hours) == 2


async def test_a_task_that_failed_again_later_without_a_run_ended_then(here: Bench) -> None:
    maintenance = features.maintenance(here.parts)
    await maintenance.counter.look()
    task = await here.running()
    await maintenance.counter.look()
    await _fail(here, task, of_run=True)
    await here.execute("UPDATE poddispatchd.failure SET failed_at = now() - interval '2 hours'")
    await maintenance.counter.look()

    async with here.parts.database.connection() as connection:
        [end] = await ends.recent(connection, limit=20)
        [failure] = await ends.failed(connection, hours=24, limit=20)
    assert here.parts.clock.now() - end.at < timedelta(hours=1)
    assert failure.pk == task

"""A task that failed, and that its manager completed later without anybody hearing of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.domain.task import RunnerTaskId, TaskPk
from poddispatchd.sandbox.fake_runner_manager import Behaviour, Mode, Outcome
from poddispatchd.services.reconciler import Reconciler
from tests.integration.importing.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_RARELY = 600.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _failed(here: Bench, watcher: Reconciler, *, submitted: str = "1 hour") -> TaskPk:
    task = await here.running()
    await here.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
        " SELECT id, type, runner_manager_id, 1, '{}', 'accepted', task_id, now() - $2::text::interval"
        " FROM runner_manager_task WHERE id = $1 AND NOT EXISTS"
        " (SELECT FROM poddispatchd.submission WHERE task_pk = $1)",
        task,
        submitted,
    )
    await here.execute(
        "UPDATE poddispatchd.submission SET settled_at = now() - $2::text::interval WHERE task_pk = $1",
        task,
        submitted,
    )
    await here.end(task, Behaviour(outcome=Outcome.FAILED, error="Bad medium"))
    await watcher.step()
    assert await here.status(task) == "failed"
    return task


async def _mended(here: Bench, task: TaskPk) -> None:
    here.fake.rerun(str(await here.of(task, "task_id")), Behaviour(seconds=1e6))
    await here.end(task)


async def test_a_failure_that_was_mended_in_silence_is_found_and_imported(here: Bench) -> None:
    watcher = Reconciler(here.parts)
    task = await _failed(here, watcher)
    await _mended(here, task)
    here.clock.ahead += _RARELY
    await watcher.step()
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_a_mended_failure_is_mended_for_every_row_that_shares_its_run(here: Bench) -> None:
    watcher = Reconciler(here.parts)
    task = await _failed(here, watcher)
    await here.execute(
        "INSERT INTO runner_manager_task"
        " (type, status, task_id, date_added, video_id, runner_manager_id, script_output)"
        " SELECT type, status, task_id, date_added, video_id, runner_manager_id, 'It failed alike.'"
        " FROM runner_manager_task WHERE id = $1",
        task,
    )
    await _mended(here, task)
    here.clock.ahead += _RARELY
    await watcher.step()
    await here.import_due()
    async with here.pod.connection() as connection:
        statuses = await connection.fetch("SELECT DISTINCT status FROM runner_manager_task")
        done = await connection.fetch("SELECT task_pk FROM poddispatchd.import WHERE state = 'done'")
    assert [row["status"] for row in statuses] == ["completed"]
    assert [row["task_pk"] for row in done] == [task]


async def test_a_failure_that_stays_one_is_left_as_it_is_and_asked_about_rarely(here: Bench) -> None:
    watcher = Reconciler(here.parts)
    task = await _failed(here, watcher)
    words = await here.words(task)
    here.fake.requests.clear()
    for _ in range(5):
        here.clock.ahead += _RARELY / 5
        await watcher.step()
    assert [request.path.split("/")[2] for request in here.fake.requests].count("status") == 1
    assert (await here.status(task), await here.words(task)) == ("failed", words)


async def test_a_result_that_was_given_up_is_not_asked_for_again(here: Bench) -> None:
    watcher = Reconciler(here.parts)
    task = await _failed(here, watcher)
    await here.open_import(task)
    await here.execute("UPDATE poddispatchd.import SET state = 'failed', finished_at = now()")
    await _mended(here, task)
    here.clock.ahead += _RARELY
    await watcher.step()
    assert await here.status(task) == "failed"


async def test_a_failure_of_days_ago_is_left_alone(here: Bench) -> None:
    watcher = Reconciler(here.parts)
    task = await _failed(here, watcher, submitted="25 hours")
    await _mended(here, task)
    here.clock.ahead += _RARELY
    await watcher.step()
    assert await here.status(task) == "failed"
    assert RunnerTaskId(str(await here.of(task, "task_id"))) in here.fake.tasks

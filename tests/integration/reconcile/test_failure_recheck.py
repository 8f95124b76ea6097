"""A task that failed, and that its manager completed later without anybody hearing of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace

from poddispatchd.app import features
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.journal import failures
from poddispatchd.pod import tasks
from poddispatchd.reconcile import failure_recheck, reconciler
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import RunnerTask
from poddispatchd.sandbox.fake_runner_manager import (
    AnswerFault,
    Behaviour,
    Endpoint,
    FaultKind,
    Mode,
    RunOutcome,
)
from poddispatchd.tasks.run_report import ReportOrigin, RunReport
from poddispatchd.tasks.transitions import apply_report
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_RARELY = 600.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _failed(here: Bench, watcher: Reconciler) -> TaskPk:
    """One that Pod submitted by itself: the journal knows of its end only."""
    task = await here.running()
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error="Bad medium"))
    await watcher.step()
    assert await here.status(task) == "failed"
    return task


async def _mended(here: Bench, task: TaskPk) -> None:
    here.fake.rerun(str(await here.of(task, "task_id")), Behaviour(seconds=1e6))
    await here.end(task)


async def test_a_failure_that_was_mended_in_silence_is_found_and_imported(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
    task = await _failed(here, watcher)
    await _mended(here, task)
    here.clock.ahead += _RARELY
    await watcher.step()
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_a_look_for_failures_that_fails_is_made_again_with_the_next_step(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refused statement put it off for ten intervals."""
    watcher = features.reconciler(here.parts)
    task = await _failed(here, watcher)
    await _mended(here, task)
    here.clock.ahead += _RARELY

    async def refused(*_: object, **__: object) -> NoReturn:
        raise DatabaseUnavailableError

    with monkeypatch.context() as broken, suppress(DatabaseUnavailableError):
        broken.setattr(failures, "recent_failures", refused)
        await watcher.step()
    await watcher.step()
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_a_mended_failure_is_mended_for_every_row_that_shares_its_run(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
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
    watcher = features.reconciler(here.parts)
    task = await _failed(here, watcher)
    words = await here.words(task)
    here.fake.requests.clear()
    for _ in range(5):
        here.clock.ahead += _RARELY / 5
        await watcher.step()
    assert [request.path.split("/")[2] for request in here.fake.requests].count("status") == 1
    assert (await here.status(task), await here.words(task)) == ("failed", words)


async def test_a_failure_by_callback_that_was_mended_in_silence_is_found_too(here: Bench) -> None:
    task = await here.running()
    async with here.parts.database.transaction() as connection:
        row = await tasks.get_task(connection, task)
        assert row is not None
        report = RunReport(RunnerStatus.TIMEOUT, "It took too long", origin=ReportOrigin.CALLBACK)
        assert await apply_report(connection, row, report, retries=here.parts.retries) is Decision.TIME_OUT
    await here.end(task)
    await features.reconciler(here.parts).step()
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_a_run_given_up_with_its_runner_is_imported_when_that_comes_back_with_the_result(
    here: Bench,
) -> None:
    task = await here.running()
    async with here.parts.database.connection() as connection:
        [item] = await tasks.unsettled_tasks(connection, after=TaskPk(0), limit=1)
    settings = here.parts.settings
    fails = replace(settings.reconcile, lost="fail")
    here.parts.settings = replace(settings, reconcile=fails)
    await features.applied_outcomes(here.parts).lost(item, "Its runner is gone.")
    here.parts.settings = settings
    assert await here.status(task) == "failed"
    await here.end(task)
    await features.reconciler(here.parts).step()
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_a_failure_that_somebody_restarted_or_ended_by_hand_is_left_to_them(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
    restarted, by_hand = await _failed(here, watcher), await here.running()
    await _mended(here, restarted)
    await here.end(by_hand)
    await here.execute("UPDATE runner_manager_task SET task_id = 'another run' WHERE id = $1", restarted)
    await here.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", by_hand)
    here.clock.ahead += _RARELY
    await watcher.step()
    assert [await here.status(task) for task in (restarted, by_hand)] == ["failed", "failed"]


async def test_every_failure_is_asked_about_in_its_turn_however_many_there_are(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_recheck, "_MOST", 2)
    failed = [await _failed(here, features.reconciler(here.parts)) for _ in range(5)]
    watcher = features.reconciler(here.parts)
    here.fake.requests.clear()
    for _ in range(3):
        here.clock.ahead += _RARELY
        await watcher.step()
    asked = {request.path.split("/")[3] for request in here.fake.requests}
    assert asked >= {str(await here.of(task, "task_id")) for task in failed}
    assert len(here.fake.requests) == 6


async def test_a_manager_that_is_still_being_asked_about_its_tasks_is_asked_about_its_failures_next(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow one, always under way with its tasks when its failures were due, was never asked about them."""
    watcher, status = features.reconciler(here.parts), RunnerClient.status
    failed = await _failed(here, watcher)
    await here.running()
    await watcher.step()
    await _mended(here, failed)
    goes_on = asyncio.Event()

    async def slowly(client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        await goes_on.wait()
        return await status(client, manager, task_id)

    monkeypatch.setattr(RunnerClient, "status", slowly)
    monkeypatch.setattr(reconciler, "_ANSWERED_WITHIN", 0.0)
    here.clock.ahead += _RARELY / 2
    await watcher.step()
    here.clock.ahead += _RARELY / 2
    await watcher.step()
    goes_on.set()
    await watcher.until_idle()
    here.clock.ahead += 60
    await watcher.step()
    await watcher.until_idle()
    await here.import_due()
    assert await here.status(failed) == "completed"


async def test_failures_that_a_manager_has_forgotten_keep_none_of_the_others_from_its_turn(
    here: Bench,
) -> None:
    """After three of them it was asked about no other one: with 200, for hours."""
    failed = [await _failed(here, features.reconciler(here.parts)) for _ in range(5)]
    await here.execute("UPDATE poddispatchd.failure SET asked_at = NULL")
    forgotten = await here.value(
        "SELECT array_agg(task_pk) FROM (SELECT task_pk FROM poddispatchd.failure"
        " ORDER BY failed_at DESC LIMIT 4) AS asked_first"
    )
    [mended] = {*failed} - {*forgotten}
    for task in forgotten:
        del here.fake.tasks[RunnerTaskId(str(await here.of(task, "task_id")))]
    await _mended(here, mended)
    here.clock.ahead += _RARELY
    await features.reconciler(here.parts).step()
    await here.import_due()
    assert await here.status(mended) == "completed"
    assert {await here.status(task) for task in forgotten} == {"failed"}


async def test_a_manager_that_is_silent_is_asked_about_one_failure_and_the_others_later(here: Bench) -> None:
    failed = [await _failed(here, features.reconciler(here.parts)) for _ in range(3)]
    watcher = features.reconciler(here.parts)
    here.fake.requests.clear()
    here.fake.faults.inject(Endpoint.STATUS, AnswerFault(kind=FaultKind.STATUS, status=503), times=2)
    # The second question is about none: whether it is the record that cannot be had, or any.
    for asked in (2, 5):
        here.clock.ahead += _RARELY
        await watcher.step()
        assert len(here.fake.requests) == asked
    assert [await here.status(task) for task in failed] == ["failed"] * 3


async def test_a_manager_that_is_slow_is_asked_a_few_at_a_time_until_each_had_its_turn(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [await _failed(here, features.reconciler(here.parts)) for _ in range(5)]
    await here.execute("UPDATE poddispatchd.failure SET asked_at = NULL")
    watcher, status = features.reconciler(here.parts), RunnerClient.status
    asked: list[str] = []

    async def slow(client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        asked.append(task_id)
        here.clock.ahead += 20
        return await status(client, manager, task_id)

    monkeypatch.setattr(RunnerClient, "status", slow)
    for looks in (2, 4, 6):
        here.clock.ahead += _RARELY
        await watcher.step()
        assert len(asked) == looks
    assert set(asked) == {str(await here.of(task, "task_id")) for task in failed}


async def test_a_result_that_was_given_up_is_not_asked_for_again(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
    task = await _failed(here, watcher)
    await _mended(here, task)
    here.clock.ahead += _RARELY
    await watcher.step()
    await here.execute("UPDATE poddispatchd.import SET state = 'failed', finished_at = now()")
    await here.execute("UPDATE runner_manager_task SET status = 'failed'")
    here.clock.ahead += _RARELY
    await watcher.step()
    assert await here.status(task) == "failed"


async def test_a_failure_of_days_ago_is_left_alone(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
    task = await _failed(here, watcher)
    await here.execute("UPDATE poddispatchd.failure SET failed_at = now() - interval '25 hours'")
    await _mended(here, task)
    here.clock.ahead += _RARELY
    await watcher.step()
    assert await here.status(task) == "failed"
    assert RunnerTaskId(str(await here.of(task, "task_id"))) in here.fake.tasks

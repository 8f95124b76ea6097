"""Tasks of a type that poddispatchd does not know: Pod's column holds any text, and none may run for ever."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import RunnerStatus, TaskPk, TaskStatus, TaskType
from poddispatchd.pod import queue_order, queue_stats, tasks
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER
from poddispatchd.sandbox.fake_runner_manager import Behaviour, Mode, RunOutcome
from poddispatchd.tasks.run_report import ReportOrigin, RunReport
from poddispatchd.tasks.transitions import apply_report
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _unknown(here: Bench, *, without_video: bool = False) -> TaskPk:
    task = await here.running()
    await here.execute("UPDATE runner_manager_task SET type = 'chapters' WHERE id = $1", task)
    if without_video:
        await here.execute("UPDATE runner_manager_task SET video_id = NULL WHERE id = $1", task)
    return task


async def test_a_result_for_a_video_is_imported_as_an_encoding(here: Bench) -> None:
    """The real Pod does so with whatever is no studio task and no transcription."""
    task = await _unknown(here)
    await here.end(task)
    await features.reconciler(here.parts).step()
    await here.import_due()
    assert await here.status(task) == "completed"
    assert await here.value("SELECT count(*) FROM video_encode_transcript_encodingvideo") > 0
    assert await here.of(task, "type") == "chapters"


async def test_a_result_for_nothing_ends_failed_in_words(here: Bench) -> None:
    task = await _unknown(here, without_video=True)
    await here.end(task)
    await features.reconciler(here.parts).step()
    assert await here.status(task) == "failed"
    assert "Its type 'chapters' is not known, and it has no video" in await here.words(task)
    await features.reconciler(here.parts).step()
    assert (await here.imports_of(task), await here.status(task)) == ([], "failed")
    assert await here.value("SELECT count(*) FROM poddispatchd.notice") == 1


@pytest.mark.parametrize("without_video", [True, False])
async def test_a_failure_applies(here: Bench, *, without_video: bool) -> None:
    task = await _unknown(here, without_video=without_video)
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error="Bad chapters", script_output="the log"))
    await features.reconciler(here.parts).step()
    assert await here.status(task) == "failed"
    assert "Bad chapters" in await here.words(task)


async def test_a_callback_finds_it(here: Bench) -> None:
    task = await _unknown(here)
    manager = here.world.managers[0].id
    async with here.parts.database.transaction() as connection:
        [found] = await tasks.find_tasks(connection, [manager], await here.of(task, "task_id"))
        report = RunReport(RunnerStatus.FAILED, "Bad chapters", origin=ReportOrigin.CALLBACK)
        decision = await apply_report(connection, found, report, retries=here.parts.retries)
    assert (found.pk, found.type, found.type_name, decision) == (
        task,
        TaskType.OTHER,
        "chapters",
        Decision.FAIL,
    )


async def test_listings_and_counts_see_it(here: Bench) -> None:
    """It was in none, so that nobody knew why a video stayed in progress."""
    task, known = await _unknown(here), await here.running()
    second = await _unknown(here)
    await here.execute("UPDATE runner_manager_task SET type = 'slides' WHERE id = $1", second)
    async with here.parts.database.connection() as connection:
        found = await tasks.get_task(connection, task)
        listed = [(item.pk, item.type) for item in await tasks.list_tasks(connection)]
    stats = await queue_stats.queue_stats(here.parts.database)
    assert found is not None
    assert listed == [(second, TaskType.OTHER), (known, TaskType.ENCODING), (task, TaskType.OTHER)]
    assert stats.count(TaskType.OTHER, TaskStatus.RUNNING) == 2


async def test_one_that_waits_is_never_submitted_and_a_restart_says_why_not(here: Bench) -> None:
    task = await _unknown(here)
    await here.execute("UPDATE runner_manager_task SET status = 'pending', task_id = NULL")
    assert (
        await queue_order.pending_tasks(
            here.parts.database, here.parts.catalogue.capabilities, queue_order.CandidateQuery(limit=10)
        )
        == []
    )
    async with here.parts.database.transaction() as connection:
        restarted = await tasks.restart(connection, [task])
    assert restarted.refused == {task: "Its type 'chapters' is none that poddispatchd can submit."}


@pytest.mark.parametrize("error", ["Runner is busy", ""])
async def test_a_failure_that_a_new_submission_would_cure_ends_it_all_the_same(
    here: Bench, error: str
) -> None:
    """Nobody can submit it again: it would wait for ever."""
    task = await _unknown(here)
    async with here.parts.database.transaction() as connection:
        row = await tasks.get_task(connection, task)
        assert row is not None
        report = RunReport(RunnerStatus.FAILED, error)
        decision = await apply_report(connection, row, report, retries=here.parts.retries)
    assert (decision, await here.status(task)) == (Decision.FAIL, "failed")


async def test_one_that_its_manager_has_forgotten_fails(here: Bench) -> None:
    task = await _unknown(here)
    here.fake.forget(await here.of(task, "task_id"))
    watcher = features.reconciler(here.parts)
    await watcher.step()
    here.clock.ahead += ASK_AGAIN_AFTER
    await watcher.step()
    assert await here.status(task) == "failed"


async def test_one_whose_result_is_not_whole_fails(here: Bench) -> None:
    task = await _unknown(here)
    await here.end(task, Behaviour(manifest=["encoding.log"]))
    await features.reconciler(here.parts).step()
    await here.import_due()
    assert await here.status(task) == "failed"

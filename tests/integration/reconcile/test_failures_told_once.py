"""One failure of one run is applied, written and mailed once, however often and with whatever it is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import RunnerStatus, TaskPk
from poddispatchd.pod import tasks
from poddispatchd.sandbox.fake_runner_manager import Mode
from poddispatchd.tasks.run_report import ReportOrigin, RunReport
from poddispatchd.tasks.transitions import apply_report
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

WARNING = "\n\nNotify callback warning: Notify URL callback http://pod.example.org/ failed: 503 - busy"


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _call(
    here: Bench,
    task: TaskPk,
    error: str,
    output: str = "",
    *,
    origin: ReportOrigin = ReportOrigin.CALLBACK,
    status: RunnerStatus = RunnerStatus.FAILED,
) -> Decision:
    async with here.parts.database.transaction() as connection:
        row = await tasks.get_task(connection, task)
        assert row is not None
        report = RunReport(status, error, output, origin=origin)
        return await apply_report(connection, row, report, retries=here.parts.retries)


async def _mails(here: Bench) -> int:
    return int(await here.value("SELECT count(*) FROM poddispatchd.notice"))


async def test_a_restarted_runner_that_runs_an_old_failure_again_is_heard_once(here: Bench) -> None:
    """Its output is another one each time, and so are the moments in its words: sixteen mails were sent."""
    task = await here.running()
    assert await _call(here, task, "Script failed after 12.5 s", "run 1\n") is Decision.FAIL
    words = await here.words(task)
    for run in range(2, 17):
        assert await _call(here, task, f"Script failed after {run} s", f"run {run}\n") is Decision.IGNORE
    assert (await here.words(task), await _mails(here)) == (words, 1)


@pytest.mark.parametrize("first", [ReportOrigin.CALLBACK, ReportOrigin.STATUS])
async def test_a_failure_with_a_warning_about_its_callback_is_the_same_failure(
    here: Bench, first: ReportOrigin
) -> None:
    """The manager could not call us, so its record says so; its next call does not."""
    task = await here.running()
    second = ReportOrigin.STATUS if first is ReportOrigin.CALLBACK else ReportOrigin.CALLBACK
    before, after = ("", WARNING) if first is ReportOrigin.CALLBACK else (WARNING, "")
    assert await _call(here, task, "Bad medium" + before, "log", origin=first) is Decision.FAIL
    assert await _call(here, task, "Bad medium" + after, "log", origin=second) is Decision.IGNORE
    assert (await here.words(task), await _mails(here)) == ("Bad medium\n---\nlog", 1)


async def test_a_failure_that_pods_own_webhook_has_stored_is_not_told_again(here: Bench) -> None:
    task = await here.running()
    await here.execute(
        "UPDATE runner_manager_task SET status = 'failed', script_output = E'Bad medium\\n---\\nlog of then'"
    )
    assert await _call(here, task, "Bad medium" + WARNING, "log of now") is Decision.IGNORE
    assert await _mails(here) == 0


async def test_another_failure_of_the_same_run_is_told(here: Bench) -> None:
    task = await here.running()
    await _call(here, task, "Bad medium", "log")
    assert await _call(here, task, "No space left on device", "log 2") is Decision.FAIL
    assert await _call(here, task, "Script timeout", status=RunnerStatus.TIMEOUT) is Decision.TIME_OUT
    assert await _mails(here) == 3
    assert "No space left on device" in await here.words(task)


async def test_the_same_failure_of_another_run_is_told(here: Bench) -> None:
    task = await here.running()
    await _call(here, task, "Bad medium", "log")
    await here.execute("UPDATE runner_manager_task SET status = 'running', task_id = 'another run'")
    assert await _call(here, task, "Bad medium", "log") is Decision.FAIL
    assert await _mails(here) == 2


async def test_an_order_that_never_reached_its_runner_is_submitted_again_though_no_call_arrived(
    here: Bench,
) -> None:
    """Its error is empty but for the warning, which was taken for words of a runner: it failed for good."""
    task = await here.running()
    assert await _call(here, task, WARNING, origin=ReportOrigin.STATUS) is Decision.RETRY
    assert await here.status(task) == "pending"


async def test_what_can_be_done_stands_behind_a_failure_and_is_told_once_too(here: Bench) -> None:
    task = await here.running()
    error = "Invalid parameters for task type: encoding (invalid fields: dressing)"
    assert await _call(here, task, error, "log") is Decision.FAIL
    assert await _call(here, task, error, "log") is Decision.IGNORE
    words = "This runner is too old to know dressing"
    assert (await here.words(task)).count(words) == 1
    assert words in (await here.step_of(await here.of(task, "video_id")))[1]
    assert await _mails(here) == 1

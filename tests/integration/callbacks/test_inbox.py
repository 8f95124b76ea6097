"""The inbox survives crashes, and several daemons empty it side by side."""

import asyncio
from random import random

import pytest

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks import receiver as receiver_module
from poddispatchd.callbacks import worker as inbox_module
from poddispatchd.domain.lifecycle import Decision, Retries
from poddispatchd.domain.task import RunnerStatus
from poddispatchd.pod import tasks
from poddispatchd.pod.task_list import TaskFilter, listed_tasks
from poddispatchd.runtime.queue_tables import CALLBACKS
from poddispatchd.tasks.run_report import ReportOrigin, RunReport
from poddispatchd.tasks.transitions import apply_report, fail_task
from tests.integration.callbacks.bench import bench, open_imports
from tests.integration.callbacks.conftest import TOKEN, Pod
from tests.integration.pod import rows


async def _later(pod: Pod) -> None:
    """Let every lease and every wait be over."""
    await pod.connection.execute(
        "UPDATE poddispatchd.callback SET next_attempt_at = now(), lease_expires_at = NULL"
    )


class Killed(BaseException):
    """The process ends here."""


async def test_what_a_daemon_was_at_when_it_died_is_applied_once_by_the_next(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await pod.running()
    async with bench(pod.database) as first, bench(pod.database, instance="next:2:2") as second:
        await first.call(TOKEN, task_id="t-1", status="running", script_output="line\n")
        for dies_in in ("settle", "claim"):
            with monkeypatch.context() as patch:
                if dies_in == "settle":

                    async def die(*_: object) -> bool:
                        raise Killed

                    patch.setattr(inbox, "close_callbacks", die)
                    with pytest.raises(Killed):
                        await first.inbox.step()
                else:
                    await _later(pod)
                    assert len(await CALLBACKS.claim(pod.connection, "dies", 10)) == 1
            assert (await pod.row(task))["script_output"] is None
            # The claim keeps others off for a minute; a daemon that starts does not wait for it.
            assert 30 < await second.inbox.step() <= 60
        await CALLBACKS.release_dead(pod.connection, lambda _: True)
        await second.settle()
        await first.settle()
        assert (await pod.row(task))["script_output"] == "line\n"
        assert await pod.callbacks() == [("t-1", "applied", "wait")]


async def test_several_daemons_apply_everything_once_and_in_order(pod: Pod) -> None:
    pairs = [(await pod.running(f"t-{number}"), f"t-{number}") for number in range(6)]
    async with bench(pod.database) as one, bench(pod.database, instance="b:2:2") as two:
        for line in range(8):
            for _, task_id in pairs:
                answer = await one.call(TOKEN, task_id=task_id, status="running", script_output=f"{line}\n")
                assert answer.status == 200
        for _ in range(200):
            await asyncio.gather(one.inbox.step(), two.inbox.step())
            if {state for _, state, _ in await pod.callbacks()} == {"applied"}:
                break
            await pod.connection.execute(
                "UPDATE poddispatchd.callback SET next_attempt_at = now() WHERE state = 'open'"
            )
        for task, _ in pairs:
            assert (await pod.row(task))["script_output"] == "".join(f"{line}\n" for line in range(8))


async def test_an_earlier_callback_about_a_task_goes_first(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database) as webhook:
        await webhook.call(TOKEN, task_id="t-1", status="failed", error_message="first try")
        [claimed] = await CALLBACKS.claim(pod.connection, "other", 10)
        await webhook.call(TOKEN, task_id="t-1", status="completed")
        # Another daemon is at the failure: the success waits for it.
        assert await webhook.inbox.step() <= 0.1
        assert (await pod.row(task))["status"] == "running"
        assert await open_imports(pod.connection) == set()
        await CALLBACKS.postpone(pod.connection, claimed.lease, 0)
        await _later(pod)
        await webhook.settle()
        assert (await pod.row(task))["status"] == "running"
        assert await open_imports(pod.connection) == {(task, pod.manager, "t-1")}


async def test_the_next_look_is_when_something_is_due(pod: Pod) -> None:
    await pod.running()
    async with bench(pod.database) as webhook:
        assert await webhook.inbox.step() > 60
        await webhook.call(TOKEN, task_id="t-1", status="running")
        await CALLBACKS.claim(pod.connection, "other", 1)
        assert 50 < await webhook.inbox.step() <= 60


async def test_a_full_batch_is_followed_by_the_next_at_once(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_BATCH", 2)
    await pod.running()
    async with bench(pod.database) as webhook:
        for number in range(3):
            await webhook.call(TOKEN, task_id="t-1", status="running", script_output=str(number))
        assert await webhook.inbox.step() == 0.0
        assert await webhook.inbox.step() > 60


async def test_of_long_texts_some_are_applied_together_and_the_rest_follows_at_once(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_MOST_BYTES", 10)
    await pod.running()
    async with bench(pod.database) as webhook:
        for number in range(3):
            await webhook.call(TOKEN, task_id="t-1", status="running", script_output=f"é {number}\n")
        assert await webhook.inbox.step() == 0.0
        assert [state for _, state, _ in await pod.callbacks()] == ["applied", "applied", "open"]
        assert await webhook.inbox.step() > 60


async def test_the_end_of_a_task_is_looked_at_at_once_and_its_progress_with_others(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "_GATHERED", 60.0)
    await pod.running()
    rings: list[int] = []
    async with bench(pod.database) as webhook:
        for status in ("running", "running", "running", "completed"):
            await webhook.call(TOKEN, task_id="t-1", status=status, script_output=f"{len(rings)}\n")
            rings.append(webhook.parts.wakeups.inbox.rings)
    assert rings == [1, 1, 1, 2]


# --- what reports do, whichever way they come ------------------------------------------------------------


async def _report(pod: Pod, pk: int, report: RunReport, max_attempts: int = 3) -> Decision:
    async with pod.connection.transaction():
        task = await tasks.get_task(pod.connection, pk)  # type: ignore[arg-type] # a test's number
        assert task is not None
        return await apply_report(pod.connection, task, report, retries=Retries(max_attempts, 0.0, random))


@pytest.mark.parametrize("callback_first", [True, False])
@pytest.mark.parametrize("error", [None, ""])
async def test_a_success_told_twice_by_two_ways_is_written_once(
    pod: Pod, callback_first: bool, error: str | None
) -> None:
    task = await pod.running()
    by_callback = RunReport(RunnerStatus.COMPLETED, error, "the output", ReportOrigin.CALLBACK)
    # The manager waited in vain for our answer, and says so in its record.
    by_status = RunReport(RunnerStatus.WARNING, "Notify URL callback failed: 503", "the output")
    both = [by_callback, by_status] if callback_first else [by_status, by_callback]
    async with bench(pod.database):
        decisions = [await _report(pod, task, report) for report in both]
        assert decisions == [Decision.IMPORT, Decision.IGNORE]
        assert str((await pod.row(task))["script_output"]).endswith("the output")
        assert str((await pod.row(task))["script_output"]).count("the output") == 1
        assert await open_imports(pod.connection) == {(task, pod.manager, "t-1")}


async def test_a_failure_told_by_status_is_the_truth_even_while_an_import_is_open(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database):
        await _report(pod, task, RunReport(RunnerStatus.COMPLETED))
        failure = RunReport(RunnerStatus.FAILED, "boom", "out")
        assert await _report(pod, task, failure) is Decision.FAIL
        assert await open_imports(pod.connection) == set()
        assert (await pod.row(task))["status"] == "failed"


async def test_an_order_that_never_reached_its_runner_is_given_again(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database):
        assert await _report(pod, task, RunReport(RunnerStatus.FAILED, "", None)) is Decision.RETRY
        assert (await pod.row(task))["status"] == "pending"


async def test_a_silent_failure_that_the_runner_reported_itself_is_final(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database):
        report = RunReport(RunnerStatus.FAILED, None, None, ReportOrigin.CALLBACK)
        assert await _report(pod, task, report) is Decision.FAIL


@pytest.mark.parametrize("status", ["warning", "pending"])
async def test_odd_rows_of_pod_are_brought_to_their_end(pod: Pod, status: str) -> None:
    task = await pod.running(status=status)
    async with bench(pod.database):
        assert await _report(pod, task, RunReport(RunnerStatus.COMPLETED)) is Decision.IMPORT
        assert (await pod.row(task))["status"] == "running"


async def test_of_several_failures_with_one_id_the_first_is_mended_for_all(pod: Pod) -> None:
    """Whoever asks about failures asks about that one too: the result is imported once."""
    first, second = await pod.running("t-1"), await pod.running("t-1")
    async with bench(pod.database) as daemon:
        await daemon.call(TOKEN, task_id="t-1", status="failed", error_message="Bad medium")
        await daemon.settle()
        assert [(await pod.row(pk))["status"] for pk in (first, second)] == ["failed", "failed"]
        await daemon.call(TOKEN, task_id="t-1", status="completed")
        await daemon.settle()
        assert {pk for pk, _, _ in await open_imports(pod.connection)} == {first}


async def test_a_row_that_carries_another_id_by_now_is_left_alone(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database):
        read = await tasks.get_task(pod.connection, task)
        assert read is not None
        await pod.connection.execute("UPDATE runner_manager_task SET task_id = 't-2'")
        async with pod.connection.transaction():
            report = RunReport(RunnerStatus.FAILED, "boom", None)
            retries = Retries(3, 0.0, random)
            assert await apply_report(pod.connection, read, report, retries=retries) is Decision.IGNORE
        assert (await pod.row(task))["status"] == "running"


async def test_words_of_our_own_stand_on_a_line_of_their_own(pod: Pod) -> None:
    task = await rows.task(pod.connection, status="running", script_output="half a line")
    async with bench(pod.database), pod.connection.transaction():
        read = await tasks.get_task(pod.connection, task)
        assert read is not None
        assert await fail_task(pod.connection, read, "It is lost.")
        assert (await pod.row(task))["script_output"] == "half a line\nIt is lost."


async def test_words_of_our_own_are_the_reason_of_a_failure_whatever_earlier_runs_have_left(pod: Pod) -> None:
    """Lists took for it why the task had been submitted again before."""
    earlier = "It was lost, so that it is submitted again: It is not known.\n---\nan output"
    task = await rows.task(pod.connection, status="running", script_output=earlier)
    async with bench(pod.database) as daemon:
        async with pod.connection.transaction():
            read = await tasks.get_task(pod.connection, task)
            assert read is not None
            assert await fail_task(pod.connection, read, "Its source is gone.")
        assert (await pod.row(task))["script_output"] == f"{earlier}\nIts source is gone.\n---\n"
        [listed] = await listed_tasks(daemon.parts.database, TaskFilter(tasks=[task]), limit=9)
        assert listed.failure == "Its source is gone."


async def test_the_token_that_a_runner_writes_into_its_words_is_not_stored_for_people(pod: Pod) -> None:
    """Its debugging is on, or it tells the headers of a request that failed."""
    task = await pod.running()
    error, output = f"401 for Bearer {TOKEN}", f"headers: {TOKEN}\n"
    async with bench(pod.database) as daemon:
        for _ in range(2):
            await daemon.call(
                TOKEN, task_id="t-1", status="failed", error_message=error, script_output=output
            )
            await daemon.settle()
            await _later(pod)
    row = await pod.row(task)
    assert (row["status"], row["script_output"]) == ("failed", "401 for Bearer ***\n---\nheaders: ***\n")
    told = await pod.connection.fetch(
        "SELECT words FROM poddispatchd.notice"
        " UNION ALL SELECT desc_step FROM video_encode_transcript_encodingstep"
    )
    assert told
    assert all("401 for Bearer ***" in text and TOKEN not in text for (text,) in told)

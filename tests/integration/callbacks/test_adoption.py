"""Callbacks about tasks whose id no row carries (yet)."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from poddispatchd.callbacks import adoption
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, RunnerTaskId, TaskPk
from poddispatchd.errors import (
    DatabaseUnavailableError,
    RunnerTaskUnknownError,
)
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission, SubmissionState
from poddispatchd.pod import tasks
from poddispatchd.runner.records import RunnerTask
from tests.integration.callbacks.bench import Bench, ShiftedClock, bench, open_imports
from tests.integration.callbacks.conftest import TOKEN, Pod, Records
from tests.integration.journal.writing import add_intent
from tests.integration.pod import rows


def _body(**changes: object) -> dict[str, Any]:
    return {
        "etab_name": "University / Pod",
        "app_name": "Esup-Pod",
        "app_version": "4.3.0",
        "task_type": "encoding",
        "source_url": "https://pod.example.org/media/videos/1.mp4",
        "notify_url": "https://pod.example.org/runner/notify_task_end/",
        "parameters": {"rendition": "{}", "video_id": 1},
        **changes,
    }


def _record(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "status": "completed", "error": None, "script_output": "out"}


async def _intent(pod: Pod, task: TaskPk, body: dict[str, Any]) -> Submission:
    row = await tasks.get_task(pod.connection, task)
    assert row is not None
    return await add_intent(pod.connection, row, pod.manager, body=json.dumps(body).encode())


async def _completed(webhook: Bench, task_id: str = "t-new") -> int:
    return (await webhook.call(TOKEN, task_id=task_id, status="completed", script_output="out")).status


async def test_a_callback_that_beats_the_answer_to_the_submission_finds_its_task(
    pod: Pod, records: Records
) -> None:
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        await _intent(pod, task, _body())
        records.known["t-new"] = _record(_body())
        assert await _completed(webhook) == 200
        await webhook.settle()
        row = await pod.row(task)
        assert (row["status"], row["task_id"], row["script_output"]) == ("running", "t-new", "out")
        assert await open_imports(pod.connection) == {(task, pod.manager, "t-new")}
        [submission] = await submissions.of_task(pod.connection, task)
        assert (submission.state, submission.task_id) == (SubmissionState.ACCEPTED, "t-new")
        # People see what they would have seen had the answer come first.
        log = await pod.connection.fetchval("SELECT log FROM video_encode_transcript_encodinglog")
        assert log.startswith("Start at : ")
        assert "process manager remote encode" in log
        assert TOKEN not in log


async def test_a_submission_whose_answer_was_lost_long_ago_is_found(pod: Pod, records: Records) -> None:
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        intent = await _intent(pod, task, _body())
        await submissions.close_intent(pod.connection, intent, SubmissionState.LOST, reason="no answer")
        records.known["t-new"] = _record(_body())
        assert await _completed(webhook) == 200
        await webhook.settle()
        assert (await pod.row(task))["task_id"] == "t-new"


async def test_a_manager_that_was_added_a_moment_ago_is_asked(pod: Pod, records: Records) -> None:
    """Its callback was taken for one that concerns nobody, and its task was submitted once more."""
    await pod.connection.execute("UPDATE runner_manager SET id = -id WHERE id = $1", pod.manager)
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        await webhook.parts.managers.refresh(within=0)
        await pod.connection.execute("UPDATE runner_manager SET id = -id WHERE id < 0")
        await _intent(pod, task, _body())
        records.known["t-new"] = _record(_body())
        assert await _completed(webhook) == 200
        await webhook.settle()
        assert (await pod.row(task))["task_id"] == "t-new"


async def test_a_run_that_was_lost_before_the_task_was_restarted_is_not_that_of_the_new_request(
    pod: Pod, records: Records
) -> None:
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        intent = await _intent(pod, task, _body())
        await submissions.close_intent(pod.connection, intent, SubmissionState.LOST, reason="no answer")
        await pod.connection.execute(
            "UPDATE runner_manager_task SET date_added = date_added + interval '1 hour' WHERE id = $1", task
        )
        records.known["t-new"] = _record(_body())
        assert await _completed(webhook) == 200
        await webhook.settle()
        row = await pod.row(task)
        assert (row["status"], row["task_id"]) == ("pending", None)


async def test_of_several_submissions_the_one_with_the_same_content_is_meant(
    pod: Pod, records: Records
) -> None:
    async with bench(pod.database) as webhook:
        found = {}
        for number in (1, 2, 3):
            found[number] = await rows.task(pod.connection)
            await _intent(pod, found[number], _body(parameters={"video_id": number}))
        # The version of Pod is not what a manager recognises a request by.
        records.known["t-new"] = _record(_body(parameters={"video_id": 2}, app_version="other"))
        assert await _completed(webhook) == 200
        await webhook.settle()
        ids = {number: (await pod.row(task))["task_id"] for number, task in found.items()}
        assert ids == {1: None, 2: "t-new", 3: None}


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (None, "no manager with this token knows it"),
        (_body(source_url="https://elsewhere/x.mp4"), "the manager's record matches no submission of ours"),
    ],
)
async def test_a_task_that_is_not_ours_is_forgotten(
    pod: Pod, records: Records, known: dict[str, Any] | None, why: str
) -> None:
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        await _intent(pod, task, _body())
        if known is not None:
            records.known["t-new"] = _record(known)
        assert await _completed(webhook) == 200
        await webhook.settle()
        assert await pod.callbacks() == [("t-new", "orphaned", why)]
        assert (await pod.row(task))["status"] == "pending"


async def test_an_id_that_cannot_be_ours_is_unknown_at_once(pod: Pod, records: Records) -> None:
    async with bench(pod.database) as webhook:
        assert await _completed(webhook) == 404
        assert records.asked == []


async def test_a_row_that_went_another_way_keeps_it(pod: Pod, records: Records) -> None:
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        await _intent(pod, task, _body())
        records.known["t-new"] = _record(_body())
        await pod.connection.execute(
            "UPDATE runner_manager_task SET status = 'running', task_id = 'pods', runner_manager_id = $1",
            pod.other,
        )
        assert await _completed(webhook) == 200
        await webhook.settle()
        assert (await pod.row(task))["task_id"] == "pods"
        assert await pod.callbacks() == [("t-new", "orphaned", f"task {task} is not pending any more")]


async def test_while_the_manager_cannot_tell_the_callback_waits_and_others_do_not(
    pod: Pod, records: Records
) -> None:
    task, known = await rows.task(pod.connection), await pod.running()
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        await _intent(pod, task, _body())
        records.broken = True
        assert await _completed(webhook) == 200
        assert await _completed(webhook, "t-1") == 200
        await webhook.settle()
        assert await open_imports(pod.connection) == {(known, pod.manager, "t-1")}
        assert [state for _, state, _ in await pod.callbacks()] == ["open", "applied"]
        records.broken = False
        records.known["t-new"] = _record(_body())
        await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
        await webhook.settle()
        assert (await pod.row(task))["task_id"] == "t-new"


async def test_a_manager_that_is_silent_for_days_is_not_asked_for_ever(pod: Pod, records: Records) -> None:
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        await _intent(pod, task, _body())
        records.broken = True
        assert await _completed(webhook) == 200
        await webhook.settle()
        assert [state for _, state, _ in await pod.callbacks()] == ["open"]
        await pod.connection.execute(
            "UPDATE poddispatchd.callback SET unanswered_since = unanswered_since - interval '3 days',"
            " next_attempt_at = now()"
        )
        await webhook.settle()
        assert await pod.callbacks() == [("t-new", "orphaned", "its manager told nothing about it for days")]


async def test_a_manager_is_asked_for_days_however_long_nobody_asked(pod: Pod, records: Records) -> None:
    """After a long weekend without power callbacks of before it were thrown away at the first look: their
    managers came up a little after the daemon. So they were when the server's clock was put forward."""
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        await _intent(pod, task, _body())
        records.broken = True
        assert await _completed(webhook) == 200
        await webhook.settle()
        await pod.connection.execute(
            "UPDATE poddispatchd.callback SET received_at = now() - interval '63 hours',"
            " unanswered_since = now() - interval '63 hours', next_attempt_at = now() - interval '62 hours'"
        )
        await webhook.settle()
        assert [state for _, state, _ in await pod.callbacks()] == ["open"]
        records.broken = False
        records.known["t-new"] = _record(_body())
        await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
        await webhook.settle()
        assert (await pod.row(task))["task_id"] == "t-new"


async def test_a_clock_of_ours_that_is_days_ahead_gives_up_no_callback(pod: Pod, records: Records) -> None:
    """A machine that starts with a wrong clock closed each of them at its first look, and lost the runs."""
    task = await rows.task(pod.connection)
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        await _intent(pod, task, _body())
        records.broken = True
        clock.shift += timedelta(days=3).total_seconds()
        assert await _completed(webhook) == 200
        await webhook.settle()
        assert [state for _, state, _ in await pod.callbacks()] == ["open"]
        records.broken = False
        records.known["t-new"] = _record(_body())
        await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
        await webhook.settle()
        assert (await pod.row(task))["task_id"] == "t-new"


async def test_the_answer_that_comes_while_its_callback_is_looked_up_is_no_trouble(
    pod: Pod, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        intent = await _intent(pod, task, _body())
        records.known["t-new"] = _record(_body())
        ask = webhook.parts.client.status

        async def answered_meanwhile(*arguments: object) -> object:
            record = await ask(*arguments)  # type: ignore[arg-type] # what it is called with
            await pod.connection.execute(
                "UPDATE runner_manager_task SET status = 'running', runner_manager_id = $2, task_id = 't-new'"
                " WHERE id = $1",
                task,
                pod.manager,
            )
            await submissions.close_intent(
                pod.connection, intent, SubmissionState.ACCEPTED, task_id=RunnerTaskId("t-new")
            )
            return record

        monkeypatch.setattr(webhook.parts.client, "status", answered_meanwhile)
        assert await _completed(webhook) == 200
        await webhook.settle()
        # Whatever was found out about the row, the callback is not lost.
        await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
        await webhook.settle()
        assert await open_imports(pod.connection) == {(task, pod.manager, "t-new")}


async def test_a_silent_manager_holds_nobody_up(
    pod: Pod, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(pod.database) as webhook:
        for number in range(3):
            task = await rows.task(pod.connection)
            await _intent(pod, task, _body(parameters={"video_id": number}))
            assert await _completed(webhook, f"t-{number}") == 200
        together = asyncio.Barrier(3)

        async def silent(*_: object) -> None:
            # All three are asked about side by side, or this never ends.
            await together.wait()
            raise RunnerTaskUnknownError

        monkeypatch.setattr(webhook.parts.client, "status", silent)
        async with asyncio.timeout(4):
            await webhook.settle()
        assert {state for _, state, _ in await pod.callbacks()} == {"orphaned"}


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses connections", "is silent"])
async def test_a_manager_that_is_gone_does_not_hide_the_record_of_another_one_with_the_same_token(
    pod: Pod, records: Records, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    """The one that knew the task was not asked before the other one answered: after two days it was lost."""
    gone, site = pod.manager, await rows.site(pod.connection, "two.example.org")
    knows = ManagerId(await rows.manager(pod.connection, site, token=TOKEN, url=records.url))
    await pod.connection.execute("UPDATE runner_manager SET url = 'http://127.0.0.1:9/' WHERE id = $1", gone)
    task = await rows.task(pod.connection)
    monkeypatch.setattr(adoption, "_ANSWERED_WITHIN", 0.5)
    async with bench(pod.database) as webhook:
        await _intent(replace(pod, manager=knows), task, _body())
        records.known["t-new"] = _record(_body())
        status = webhook.parts.client.status

        async def told(manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
            if is_silent and manager.id == gone:
                await asyncio.Event().wait()
            return await status(manager, task_id)

        monkeypatch.setattr(webhook.parts.client, "status", told)
        assert await _completed(webhook) == 200
        await webhook.inbox.step()
        await webhook.inbox.drain()
        row = await pod.row(task)
        assert (row["task_id"], row["runner_manager_id"]) == ("t-new", knows)


async def test_while_one_of_two_managers_with_a_token_is_silent_an_unknown_callback_waits(
    pod: Pod, records: Records
) -> None:
    site = await rows.site(pod.connection, "two.example.org")
    await rows.manager(pod.connection, site, token=TOKEN, url="http://127.0.0.1:9/")
    await _intent(pod, await rows.task(pod.connection), _body())
    async with bench(pod.database) as webhook:
        assert await _completed(webhook) == 200
        await webhook.settle()
        assert [state for _, state, _ in await pod.callbacks()] == ["open"]


async def test_a_record_that_cannot_be_had_is_no_failure_of_its_manager(pod: Pod, records: Records) -> None:
    """One odd callback, and the manager got no task for a minute; it came again, and so on for two days."""
    task = await rows.task(pod.connection)
    async with bench(pod.database) as webhook:
        await _intent(pod, task, _body())
        records.known["t-new"] = {**_record(_body()), "task_id": "another"}
        for _ in range(3):
            await _completed(webhook)
            await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
            await webhook.settle()
        assert not webhook.parts.registry.is_down(pod.manager)
        assert [state for _, state, _ in await pod.callbacks()] == ["open"]
        records.broken = True
        for _ in range(2):
            await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
            await webhook.settle()
        assert webhook.parts.registry.is_down(pod.manager)


async def test_the_lease_of_a_callback_is_given_back_when_the_database_is_lost_while_it_is_put_off(
    pod: Pod, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody held it any more, and nobody gave it back: it waited until its lease ran out, a minute later."""

    async def lost(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError

    async with bench(pod.database) as webhook:
        for number in range(3):
            await _intent(pod, await rows.task(pod.connection), _body(parameters={"video_id": number}))
            records.known[f"t-{number}"] = _record(_body(parameters={"video_id": number}))
            assert await _completed(webhook, f"t-{number}") == 200
        with monkeypatch.context() as patched:
            patched.setattr("poddispatchd.callbacks.worker._UNKNOWN_AT_ONCE", 0)
            patched.setattr("poddispatchd.runtime.lease_queue.LeaseQueue.postpone", lost)
            with pytest.raises(DatabaseUnavailableError):
                await webhook.inbox.step()
        await webhook.settle()
        assert sorted(records.asked) == ["t-0", "t-1", "t-2"]

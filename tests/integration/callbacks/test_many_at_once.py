"""Callbacks that wait together are applied together, and come to the same as one by one."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from poddispatchd.callbacks import applied, inbox
from poddispatchd.callbacks import worker as worker_module
from poddispatchd.database.pool import Connection
from poddispatchd.errors import ValuesRefusedError
from poddispatchd.observability.events import Event
from tests.integration.callbacks.bench import Bench, bench, open_imports
from tests.integration.callbacks.conftest import OTHER_TOKEN, TOKEN, Pod

Said = dict[str, str]

_RUNNING: Said = {"status": "running", "script_output": "line\n"}
_SILENT: Said = {"status": "running"}
_DONE: Said = {"status": "completed", "script_output": "all\n"}
_WARNED: Said = {"status": "warning", "error_message": "Notify URL callback failed"}
_FAILED: Said = {"status": "failed", "error_message": "Encoding failed", "script_output": "no\n"}
_LATE: Said = {"status": "timeout"}
_LONG: Said = {"status": "running", "script_output": "x" * (applied.LONGEST + 1)}

_STORIES: dict[str, list[Said]] = {
    "it goes on": [_RUNNING, {**_RUNNING, "script_output": "another\n"}, _SILENT],
    "it ends": [_RUNNING, _DONE],
    "it ends twice": [_DONE, _WARNED],
    "it says more when it has ended": [_DONE, _RUNNING],
    "it fails": [_RUNNING, _FAILED, {**_RUNNING, "script_output": "after\n"}],
    "it fails and succeeds": [_FAILED, _DONE],
    "it takes too long": [_RUNNING, _LATE, _DONE],
    "it says too much": [_LONG, _RUNNING, _DONE],
}


async def _call(webhook: Bench, task_id: str, said: Said, token: str = TOKEN) -> None:
    answer = await webhook.call(token, json.dumps({"task_id": task_id, **said}).encode())
    assert answer.status == 200


async def _tell(pod: Pod, *, together: bool, status: str, type_: str) -> list[object]:
    """All stories at once, each about a task of its own; what becomes of the tasks and of the callbacks."""
    begun = len(await pod.callbacks())
    run = f"{together}-{status}-{type_}"
    pks = {story: await pod.running(f"{story} {run}", type_, status=status) for story in _STORIES}
    async with bench(pod.database) as webhook:
        for place in range(3):
            for story, said in _STORIES.items():
                if place < len(said):
                    await _call(webhook, f"{story} {run}", said[place])
        await webhook.settle()
    imported = {pk for pk, _, _ in await open_imports(pod.connection)}
    rows = [await pod.row(pk) for pk in pks.values()]
    return [
        *((row["status"], row["script_output"], row["id"] in imported) for row in rows),
        sorted((name.removesuffix(run), *end) for name, *end in (await pod.callbacks())[begun:]),
    ]


@pytest.mark.parametrize("type_", ["encoding", "transcription", "studio"])
@pytest.mark.parametrize("status", ["running", "failed", "completed", "warning"])
async def test_what_is_applied_together_comes_to_the_same_as_one_by_one(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, status: str, type_: str
) -> None:
    together = await _tell(pod, together=True, status=status, type_=type_)
    with monkeypatch.context() as patch:

        async def nothing(*_: object, **__: object) -> list[object]:
            return []

        patch.setattr(worker_module, "apply_plain", nothing)
        one_by_one = await _tell(pod, together=False, status=status, type_=type_)
    assert together == one_by_one


async def test_twenty_plain_callbacks_are_one_transaction(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    pks = [await pod.running(f"t-{number}") for number in range(10)]
    async with bench(pod.database) as webhook:
        for said in (_RUNNING, _DONE):
            for number in range(10):
                await _call(webhook, f"t-{number}", said)
        applied = []

        async def close(connection: Connection, ends: list[inbox.CallbackEnd]) -> None:
            applied.append(len(ends))
            await close_callbacks(connection, ends)

        close_callbacks = inbox.close_callbacks
        monkeypatch.setattr(inbox, "close_callbacks", close)
        await webhook.inbox.step()
    assert applied == [20]
    assert {(await pod.row(pk))["script_output"] for pk in pks} == {"line\nall\n"}
    assert {pk for pk, _, _ in await open_imports(pod.connection)} == set(pks)


async def test_what_spoils_a_transaction_spoils_it_for_no_other_callback(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    pks = [await pod.running(f"t-{number}") for number in range(3)]
    close_callbacks = inbox.close_callbacks

    async def refuse(connection: Connection, ends: list[inbox.CallbackEnd]) -> None:
        if any(end.callback.callback.task_id == "t-1" for end in ends):
            raise ValuesRefusedError("refused")
        await close_callbacks(connection, ends)

    async with bench(pod.database) as webhook:
        for number in range(3):
            await _call(webhook, f"t-{number}", _RUNNING)
        monkeypatch.setattr(inbox, "close_callbacks", refuse)
        await webhook.inbox.step()
    assert [(await pod.row(pk))["script_output"] for pk in pks] == ["line\n", None, "line\n"]
    assert [state for _, state, _ in await pod.callbacks()] == ["applied", "open", "applied"]


async def test_a_bug_of_ours_in_it_is_told_once_and_each_is_applied_alone(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    pks = [await pod.running(f"t-{number}") for number in range(3)]

    async def broken(*_: object, **__: object) -> None:
        raise KeyError("nobody foresaw it")

    monkeypatch.setattr(worker_module, "apply_plain", broken)
    async with bench(pod.database) as webhook:
        with capture_logs() as logs:
            for number in range(3):
                await _call(webhook, f"t-{number}", _RUNNING)
                await webhook.inbox.step()
    assert [(await pod.row(pk))["script_output"] for pk in pks] == ["line\n"] * 3
    assert [entry["event"] for entry in logs].count(Event.SERVICE_CRASHED) == 1


async def test_a_row_that_somebody_holds_keeps_its_own_callbacks_waiting_only(pod: Pod) -> None:
    held, free = await pod.running("t-1"), await pod.running("t-2")
    async with bench(pod.database) as webhook, pod.database.connection() as other:
        for task_id in ("t-1", "t-2"):
            await _call(webhook, task_id, _RUNNING)
        async with other.transaction():
            await other.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", held)
            await webhook.inbox.step()
            assert (await pod.row(free))["script_output"] == "line\n"
            assert (await pod.row(held))["script_output"] is None
        await webhook.parts.locked_rows.step()
        await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
        await webhook.settle()
    assert (await pod.row(held))["script_output"] == "line\n"


async def test_two_rows_with_one_id_are_both_served(pod: Pod) -> None:
    pks = [await pod.running("t-1"), await pod.running("t-1")]
    async with bench(pod.database) as webhook:
        await _call(webhook, "t-1", _RUNNING)
        await webhook.settle()
    assert [(await pod.row(pk))["script_output"] for pk in pks] == ["line\n", "line\n"]


async def test_the_same_id_under_two_managers_is_two_runs(pod: Pod) -> None:
    mine = await pod.running("t-1")
    theirs = await pod.running("t-1", runner_manager_id=pod.other)
    async with bench(pod.database) as webhook:
        await asyncio.gather(
            _call(webhook, "t-1", _RUNNING),
            _call(webhook, "t-1", _SILENT, OTHER_TOKEN),
        )
        await webhook.settle()
    assert (await pod.row(mine))["script_output"] == "line\n"
    assert (await pod.row(theirs))["script_output"] == ""


async def test_somebody_who_holds_very_many_rows_holds_up_no_other_callback(pod: Pod) -> None:
    """Each of them was waited for, a second long: a change of many tasks in Pod's administration, left open,
    held up whoever called behind them."""
    held = [await pod.running(f"held-{number}") for number in range(25)]
    free = await pod.running("free")
    async with bench(pod.database) as webhook, pod.database.connection() as other:
        async with other.transaction():
            await other.execute("SELECT FROM runner_manager_task WHERE id = ANY ($1) FOR UPDATE", held)
            for task_id in (*(f"held-{number}" for number in range(25)), "free"):
                await _call(webhook, task_id, _RUNNING)
            async with asyncio.timeout(10):
                while (await pod.row(free))["script_output"] is None:
                    await webhook.inbox.step()
            assert len(webhook.parts.locked_rows.tasks) > 1
        while webhook.parts.locked_rows.tasks:
            await webhook.parts.locked_rows.step()
        await pod.connection.execute("UPDATE poddispatchd.callback SET next_attempt_at = now()")
        await webhook.settle()
    assert {(await pod.row(pk))["script_output"] for pk in held} == {"line\n"}

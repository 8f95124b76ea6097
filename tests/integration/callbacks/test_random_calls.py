"""Callbacks at random: two daemons that apply them together come to what one does that takes one by one."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import Random

import pytest
from msgspec import Struct

from poddispatchd.callbacks import applied
from poddispatchd.callbacks import worker as worker_module
from tests.integration.callbacks.bench import Bench, bench, open_imports
from tests.integration.callbacks.conftest import OTHER_TOKEN, TOKEN, Pod

_STATUSES = (*("running",) * 12, "pending", "completed", "completed", "warning", "failed", "timeout")
_ODD_OUTPUTS = (
    None,
    "",
    "a\x00b\n",
    "half \ud83d of it\n",
    "é" * applied.LONGEST,
    "x" * (applied.LONGEST - 9),
)
_ERRORS = (*(None,) * 6, "", "Encoding failed", "Notify callback warning: no\n\n")
_ROWS = (*("running",) * 8, "pending", "warning", "completed", "failed", "timeout")
_TYPES = ("encoding", "encoding", "transcription", "studio", "other")


class _Call(Struct, frozen=True):
    task: int
    said: dict[str, str]
    is_others: bool = False
    then: int = 0
    """Daemons that look at the inbox behind it, side by side."""


class _Story(Struct, frozen=True):
    """Tasks, each with type, status, how many rows carry its id, and whether it is the other manager's."""

    tasks: Sequence[tuple[str, str, int, bool]]
    calls: Sequence[_Call]


def _story(random: Random) -> _Story:
    tasks = [
        (random.choice(_TYPES), random.choice(_ROWS), 1 + (random.random() < 0.1), random.random() < 0.1)
        for _ in range(random.randint(1, 6))
    ]
    calls: list[_Call] = []
    for number in range(random.randint(1, 40)):
        call = _call(random, len(tasks), number)
        # What repeats one that is not handled yet is recorded once; when it is handled depends on time.
        if all((call.task, call.said) != (other.task, other.said) for other in calls):
            calls.append(call)
    return _Story(tasks, calls)


def _call(random: Random, tasks: int, number: int) -> _Call:
    is_odd = random.random() < 0.1
    texts = {
        "script_output": random.choice(_ODD_OUTPUTS) if is_odd else f"line {random.choice((0, number))}\n",
        "error_message": random.choice(_ERRORS),
    }
    said = {name: text for name, text in texts.items() if text is not None}
    return _Call(
        random.randrange(tasks),
        {**said, "status": random.choice(_STATUSES)},
        random.random() < 0.05,
        random.choice((*(0,) * 12, 1, 2)),
    )


async def _come_true(pod: Pod, story: _Story, name: str, daemons: Sequence[Bench]) -> list[object]:
    begun = len(await pod.callbacks())
    pks = [
        await pod.running(
            f"{name}-{place}",
            type_,
            status=status,
            runner_manager_id=pod.other if is_others else pod.manager,
        )
        for place, (type_, status, rows, is_others) in enumerate(story.tasks)
        for _ in range(rows)
    ]
    for call in story.calls:
        is_theirs = story.tasks[call.task][3]
        token = OTHER_TOKEN if is_theirs != call.is_others else TOKEN
        answer = await daemons[0].call(
            token, json.dumps({"task_id": f"{name}-{call.task}", **call.said}).encode()
        )
        assert answer.status in (200, 403, 404), answer
        if call.then:
            await asyncio.gather(*(daemon.inbox.step() for daemon in daemons[: call.then]))
    for _ in range(50):
        await asyncio.gather(*(daemon.settle() for daemon in daemons))
        if not await pod.connection.fetchval(
            "SELECT count(*) FROM poddispatchd.callback WHERE state = 'open'"
        ):
            break
        await pod.connection.execute(
            "UPDATE poddispatchd.callback SET next_attempt_at = now() WHERE state = 'open'"
        )
    rows = [await pod.row(pk) for pk in pks]
    imported = {pk: (manager, task_id) for pk, manager, task_id in await open_imports(pod.connection)}
    return [
        [
            (row["status"], row["script_output"], row["task_id"] is None, row["id"] in imported)
            for row in rows
        ],
        sorted((called.removeprefix(name), *end) for called, *end in (await pod.callbacks())[begun:]),
    ]


async def _nothing(*_: object, **__: object) -> list[object]:
    return []


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_applied_together_comes_to_the_same_as_one_by_one(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async with AsyncExitStack() as stack:
        daemons = [
            await stack.enter_async_context(bench(pod.database, instance=f"test:{number}:1"))
            for number in range(2)
        ]
        for number in range(3):
            story = _story(Random(f"{seed} {number}"))
            with monkeypatch.context() as patch:
                patch.setattr(worker_module, "apply_plain", _nothing)
                one_by_one = await _come_true(pod, story, f"o{number}", daemons[:1])
            together = await _come_true(pod, story, f"t{number}", daemons)
            assert together == one_by_one, story

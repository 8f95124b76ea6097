"""Committing callbacks: whoever waits for the commit hears of its end, whatever ends it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.inbox import Entry
from poddispatchd.callbacks.recorder import Recorder
from poddispatchd.database.pool import Database
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import ManagerId, RunnerStatus, RunnerTaskId
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, PoddispatchdError


class _Connections:
    """As many connections as anybody wants."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        yield


def _entry(number: int) -> Entry:
    return Entry((ManagerId(1),), Callback(RunnerTaskId(f"run {number}"), RunnerStatus.RUNNING, None, None))


def _recorder() -> Recorder:
    return Recorder(cast("Database", _Connections()))


async def _ends(*waiting: "asyncio.Task[bool]") -> list[object]:
    done, late = await asyncio.wait(waiting, timeout=5)
    assert not late, "somebody waits for ever"
    return [task.exception() or task.result() for task in sorted(done, key=waiting.index)]


async def test_an_error_nobody_foresaw_in_one_of_a_refused_batch_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one behind it was not answered, and its manager waited until it gave up."""

    async def record_all(_connection: object, entries: Sequence[Entry]) -> list[bool]:
        if len(entries) > 1:
            raise DatabaseError("One of them is refused.")
        if entries[0].callback.task_id == "run 1":
            raise ZeroDivisionError
        return [True]

    monkeypatch.setattr(inbox, "record_all", record_all)
    recorder = _recorder()
    waiting = [asyncio.create_task(recorder.record(_entry(number))) for number in range(3)]

    first, odd, behind = await _ends(*waiting)

    assert first is True
    assert isinstance(odd, PoddispatchdError)
    assert isinstance(behind, DatabaseUnavailableError)
    assert await recorder.record(_entry(4)) is True


async def test_whoever_waits_for_a_commit_that_is_cancelled_is_told_to_call_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = asyncio.Event()

    async def record_all(_connection: object, _entries: Sequence[Entry]) -> list[bool]:
        begun.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(inbox, "record_all", record_all)
    recorder = _recorder()
    waiting = asyncio.create_task(recorder.record(_entry(0)))
    await begun.wait()

    [work] = [task for task in asyncio.all_tasks() if task.get_name() == "callback recorder"]
    work.cancel()

    [end] = await _ends(waiting)
    assert isinstance(end, DatabaseUnavailableError)


class _Statements:
    """Statements that end when they are told to, in the order of their beginnings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[list[str]] = []
        self._ends: list[asyncio.Event] = []
        monkeypatch.setattr(inbox, "record_all", self._record_all)

    async def _record_all(self, _connection: object, entries: Sequence[Entry]) -> list[bool]:
        self.begun.append([entry.callback.task_id for entry in entries])
        end = asyncio.Event()
        self._ends.append(end)
        await end.wait()
        return [True for _ in entries]

    def end(self, number: int) -> None:
        self._ends[number].set()

    async def until_begun(self, statements: int) -> None:
        async with asyncio.timeout(5):
            while len(self.begun) < statements:  # noqa: ASYNC110 - turns of the loop are what it waits for
                await asyncio.sleep(0)


async def _turns() -> None:
    """As many turns of the event loop as anything needs that could happen now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_statement_that_hangs_keeps_nobody_waiting_who_is_not_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another session held what one callback wanted to write, and no manager had an answer."""
    statements, recorder = _Statements(monkeypatch), _recorder()
    hanging = asyncio.create_task(recorder.record(_entry(0)))
    await statements.until_begun(1)

    other = asyncio.create_task(recorder.record(_entry(1)))
    await statements.until_begun(2)
    statements.end(1)

    assert await _ends(other) == [True]
    assert not hanging.done()
    statements.end(0)
    assert await _ends(hanging) == [True]


async def test_callbacks_about_one_task_are_recorded_in_the_order_of_their_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statements, recorder = _Statements(monkeypatch), _recorder()
    first = asyncio.create_task(recorder.record(_entry(0)))
    await statements.until_begun(1)
    second, of_another, third = (asyncio.create_task(recorder.record(_entry(number))) for number in (0, 1, 0))
    await _turns()

    assert statements.begun == [["run 0"], ["run 1"]]
    statements.end(1)
    assert await _ends(of_another) == [True]
    await _turns()
    assert len(statements.begun) == 2, "nothing is begun that would overtake the first"

    statements.end(0)
    await statements.until_begun(3)
    assert statements.begun[2] == ["run 0", "run 0"]
    statements.end(2)
    assert await _ends(first, second, third) == [True, True, True]


async def test_what_comes_while_all_statements_run_goes_together_into_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statements, recorder = _Statements(monkeypatch), _recorder()
    running = []
    for number in range(2):
        running.append(asyncio.create_task(recorder.record(_entry(number))))
        await statements.until_begun(number + 1)
    waiting = [asyncio.create_task(recorder.record(_entry(number))) for number in range(2, 6)]
    await _turns()

    assert len(statements.begun) == 2
    statements.end(1)
    await statements.until_begun(3)
    assert statements.begun[2] == ["run 2", "run 3", "run 4", "run 5"]
    for number in (0, 2):
        statements.end(number)
    assert await _ends(*running, *waiting) == [True] * 6


async def test_what_comes_at_the_end_of_a_statement_does_not_wait_for_another_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It came after the last look at those who wait, and before the place of that statement was free."""
    late: list[asyncio.Task[bool]] = []

    class CalledAtTheEnd(Recorder):
        async def _run(self) -> None:
            await super()._run()
            if not late:
                late.append(asyncio.create_task(self.record(_entry(2))))

    statements, recorder = _Statements(monkeypatch), CalledAtTheEnd(cast("Database", _Connections()))
    hanging = asyncio.create_task(recorder.record(_entry(0)))
    await statements.until_begun(1)
    quick = asyncio.create_task(recorder.record(_entry(1)))
    await statements.until_begun(2)
    statements.end(1)

    await statements.until_begun(3)
    assert statements.begun[2] == ["run 2"]
    statements.end(2)
    assert await _ends(quick, *late) == [True, True]
    statements.end(0)
    assert await _ends(hanging) == [True]

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

"""Submissions that are lost while the open ones are looked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.manager_turns import ManagerTurns
from poddispatchd.dispatch.submission_backoff import SubmissionBackoff, TaskBackoff
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.dispatch.unanswered import Unanswered
from poddispatchd.dispatch.waiting_tasks import TaskMemories
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics


class _Connections:
    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        yield


class _NothingUnposted:
    remembered: frozenset[int] = frozenset()

    def forget(self, settled: object) -> None:
        """There are none."""


class _NoTrouble:
    locked: frozenset[TaskPk] = frozenset()

    def __init__(self, clock: Clock) -> None:
        self.of_tasks = TaskBackoff(clock.monotonic)


def _unanswered() -> Unanswered:
    clock = Clock()
    registry = ManagerRegistry(clock, Metrics())
    return Unanswered(
        registry=registry,
        turns=ManagerTurns(registry, lambda: None, clock),
        submitter=cast("Submitter", _NothingUnposted()),
        database=cast("Database", _Connections()),
        backoff=cast("SubmissionBackoff", _NoTrouble(clock)),
        memories=TaskMemories(clock),
        clock=clock,
    )


async def _settle(unanswered: Unanswered) -> None:
    await unanswered.settle((), lambda *_: None)


async def test_one_that_is_lost_during_a_look_is_not_taken_for_settled_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its task was offered to others, and its bytes were posted again only after one of them had room."""
    reads, answer = asyncio.Event(), asyncio.Event()

    async def open_submissions(_connection: object) -> list[Submission]:
        reads.set()
        await answer.wait()
        return []

    monkeypatch.setattr(submissions, "open_submissions", open_submissions)
    unanswered = _unanswered()
    settling = asyncio.create_task(_settle(unanswered))
    await reads.wait()
    unanswered.add(TaskPk(7), ManagerId(1))
    answer.set()
    await settling

    assert (set(unanswered.tasks), set(unanswered.managers)) == ({TaskPk(7)}, {ManagerId(1)})
    assert unanswered.must_look

    await _settle(unanswered)
    assert (unanswered.tasks, unanswered.must_look) == (frozenset(), False)


async def test_a_look_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_submissions(_connection: object) -> list[Submission]:
        raise DatabaseUnavailableError

    monkeypatch.setattr(submissions, "open_submissions", open_submissions)
    unanswered = _unanswered()
    with pytest.raises(DatabaseUnavailableError):
        await _settle(unanswered)
    assert unanswered.must_look

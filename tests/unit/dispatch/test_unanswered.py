"""Submissions that are lost while the open ones are looked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import pytest

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.outstanding import Outstanding
from poddispatchd.dispatch.submission_backoff import SubmissionBackoff, TaskBackoff
from poddispatchd.dispatch.submission_turns import SubmissionTurns
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.dispatch.unanswered import Unanswered
from poddispatchd.dispatch.waiting_tasks import TaskMemories
from poddispatchd.domain.task import ManagerId, TaskPk, TaskType
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission, SubmissionId, SubmissionState
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.rows import ManagerRows
from poddispatchd.observability.metrics import Metrics


class _Connections:
    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        yield


class _Submitter:
    def __init__(self) -> None:
        self.outstanding = Outstanding()


class _NoTrouble:
    locked: frozenset[TaskPk] = frozenset()

    def __init__(self, clock: Clock) -> None:
        self.of_tasks = TaskBackoff(clock.monotonic)


class _Down:
    """Runner managers of which none answers."""

    def get(self, _manager: ManagerId) -> object:
        return object()

    def is_free(self, _manager: ManagerId) -> bool:
        return False

    def is_down(self, _manager: ManagerId) -> bool:
        return True


class _New(_Down):
    """One that was added in Pod since the managers were read."""

    is_read = False

    def get(self, manager: ManagerId) -> object:
        return super().get(manager) if self.is_read else None


class _Rows:
    def __init__(self, registry: object) -> None:
        self.registry = registry

    async def find(self, manager: ManagerId) -> object:
        if isinstance(self.registry, _New):
            self.registry.is_read = True
        return cast("ManagerRegistry", self.registry).get(manager)


class _HandClock(Clock):
    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def _unanswered(clock: Clock | None = None, managers: object = None) -> Unanswered:
    clock = clock or Clock()
    registry = ManagerRegistry(clock, Metrics())
    return Unanswered(
        managers=cast("ManagerRows", _Rows(managers or registry)),
        turns=SubmissionTurns(registry, lambda: None, clock),
        submitter=cast("Submitter", _Submitter()),
        database=cast("Database", _Connections()),
        backoff=cast("SubmissionBackoff", _NoTrouble(clock)),
        memories=TaskMemories(clock),
        clock=clock,
    )


@pytest.fixture(autouse=True)
def nothing_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def abandon_restarted(_connection: object) -> None:
        """No task was."""

    monkeypatch.setattr(submissions, "abandon_restarted", abandon_restarted)


_INTENT = Submission(
    id=SubmissionId(3),
    task_pk=TaskPk(7),
    task_type=TaskType.ENCODING,
    runner_manager_id=ManagerId(1),
    attempt=1,
    body=b"{}",
    state=SubmissionState.OPEN,
    posts=1,
    task_id=None,
    created_at=datetime(2026, 5, 1, tzinfo=UTC),
)


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[Submission]:
    """What is given up of the one intent that is open."""
    given_up: list[Submission] = []

    async def open_submissions(_connection: object, **_: object) -> list[Submission]:
        return [_INTENT]

    async def close_intent(_connection: object, intent: Submission, *_: object, **__: object) -> None:
        given_up.append(intent)

    monkeypatch.setattr(submissions, "open_submissions", open_submissions)
    monkeypatch.setattr(submissions, "close_intent", close_intent)
    return given_up


async def _settle(unanswered: Unanswered, *, term: int = 1) -> None:
    await unanswered.settle((), lambda *_: None, term=term)


async def test_one_that_is_lost_during_a_look_is_not_taken_for_settled_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its task was offered to others, and its bytes were posted again only after one of them had room."""
    reads, answer = asyncio.Event(), asyncio.Event()

    async def open_submissions(_connection: object, **_: object) -> list[Submission]:
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
    async def open_submissions(_connection: object, **_: object) -> list[Submission]:
        raise DatabaseUnavailableError

    monkeypatch.setattr(submissions, "open_submissions", open_submissions)
    unanswered = _unanswered()
    with pytest.raises(DatabaseUnavailableError):
        await _settle(unanswered)
    assert unanswered.must_look


async def test_time_between_two_terms_is_none_in_which_an_answer_was_asked_for(
    given_up: list[Submission],
) -> None:
    """The database and the managers were without power for a weekend, and this daemon was not."""
    clock = _HandClock()
    unanswered = _unanswered(clock, _Down())
    looks = [(1, 0.0), (1, 300.0), (2, 200_000.0), (2, 299.0), (2, 1.0)]
    for number, (term, passed) in enumerate(looks):
        assert not given_up, number
        clock.seconds += passed
        await _settle(unanswered, term=term)
    assert given_up == [_INTENT]


async def test_a_manager_that_was_added_a_moment_ago_is_not_taken_for_deleted(
    given_up: list[Submission],
) -> None:
    """The daemon that had posted there was gone, and its successor gave the task to another one."""
    unanswered = _unanswered(managers=_New())
    await _settle(unanswered)
    assert not given_up
    assert set(unanswered.tasks) == {_INTENT.task_pk}

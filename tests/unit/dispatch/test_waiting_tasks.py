"""What is remembered of tasks that wait stays bounded, however many of them vanish without a word."""

from datetime import UTC, datetime
from math import inf

import pytest

from poddispatchd.clock import Clock
from poddispatchd.dispatch import waiting_tasks
from poddispatchd.dispatch.waiting_tasks import TaskMemories
from poddispatchd.domain.task import ManagerId, Task, TaskPk, TaskStatus, TaskType
from poddispatchd.pod.queue_order import PendingTask, PriorityClass

_HELD, _REFUSED, _SEEN, _PLAIN = map(TaskPk, range(1, 5))


class _Clock(Clock):
    at = 1000.0

    def monotonic(self) -> float:
        return self.at


def _item(pk: TaskPk) -> PendingTask:
    added = datetime(2026, 3, 2, tzinfo=UTC)
    task = Task(pk, TaskType.ENCODING, TaskStatus.PENDING, None, None, None, None, added)
    return PendingTask(task, PriorityClass.NORMAL, (), age=0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    monkeypatch.setattr(waiting_tasks, "_MOST_REMEMBERED", 3)
    return _Clock()


@pytest.fixture
def memories(clock: _Clock) -> TaskMemories:
    """More tasks than are remembered: one that is held, one just refused, one at the head of the queue."""
    made = TaskMemories(clock)
    for pk in (_HELD, _REFUSED, _SEEN, _PLAIN):
        made.of(_item(pk))
    made.hold_pk(_HELD, 60.0)
    made.of(_item(_REFUSED)).refused(ManagerId(1), "It is refused.", clock.at)
    return made


def _known(memories: TaskMemories) -> set[TaskPk]:
    return {pk for pk in (_HELD, _REFUSED, _SEEN, _PLAIN) if memories.get(pk) is not None}


def test_too_many_tasks_are_forgotten_but_for_those_that_would_be_treated_otherwise(
    memories: TaskMemories,
) -> None:
    memories.forget_some({_SEEN})
    assert _known(memories) == {_HELD, _REFUSED, _SEEN}


def test_holds_and_refusals_that_are_over_are_forgotten_with_their_tasks(
    memories: TaskMemories, clock: _Clock
) -> None:
    """Each task that Pod submitted within its grace had been held, and was remembered for ever."""
    clock.at += 3600.0
    memories.forget_some({_SEEN})
    assert _known(memories) == {_SEEN}


def test_while_they_are_few_all_are_remembered(memories: TaskMemories, clock: _Clock) -> None:
    memories.forget(_PLAIN)
    clock.at += 3600.0
    memories.forget_some(())
    assert _known(memories) == {_HELD, _REFUSED, _SEEN}


def test_since_when_the_last_run_of_a_task_is_kept_for_others_is_not_forgotten(
    memories: TaskMemories, clock: _Clock
) -> None:
    """With a clock of the database that was set back it would be kept for an hour more, time and again."""
    lost = [ManagerId(1), ManagerId(1)]
    memories.of(_item(_PLAIN)).lost(lost, due_at=inf, max_attempts=3)
    memories.of(_item(_SEEN)).lost(lost, due_at=inf, max_attempts=4)
    memories.forget_some(())
    assert _known(memories) == {_HELD, _REFUSED, _PLAIN}
    for pk in map(TaskPk, range(10, 14)):
        memories.of(_item(pk))
    clock.at += 3600.0
    memories.forget_some(())
    assert memories.get(_PLAIN) is None

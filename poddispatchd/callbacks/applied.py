"""Callbacks that were applied, in the log."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

import structlog
from msgspec import Struct

from poddispatchd.callbacks.inbox import RecordedCallback
from poddispatchd.database.pool import Connection
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import RunnerStatus, Task, TaskPk, TaskStatus
from poddispatchd.observability.events import Event
from poddispatchd.pod import duplicates

log = structlog.get_logger(__name__)

_BY_HAND = (
    "Its row was completed by hand, or by Pod, before this result was imported, and stays so. "
    "'poddispatchd tasks restart {}' runs the task again."
)


class AppliedCallback(Struct, frozen=True):
    """A callback that was applied, and what it did; ``by_hand``: see ``log_applied``."""

    recorded: RecordedCallback
    task: TaskPk
    decision: Decision
    by_hand: bool = False


async def completed_by_hand(
    connection: Connection, told: Iterable[tuple[RecordedCallback, Task, Decision]]
) -> set[TaskPk]:
    """The tasks whose result is there and ignored, because their rows were completed without it.

    Args:
        connection: in the transaction that applies them.
        told: callbacks, each with the row as it was read, and what it did.
    """
    asked = [
        task.pk
        for recorded, task, decision in told
        if decision is Decision.IGNORE
        and task.status == TaskStatus.COMPLETED
        and recorded.callback.status in (RunnerStatus.COMPLETED, RunnerStatus.WARNING)
    ]
    return await duplicates.completed_by_hand(connection, asked) if asked else set()


def log_applied(
    recorded: RecordedCallback, task: TaskPk, decisions: Sequence[Decision], *, by_hand: bool
) -> None:
    """Log a callback that was applied; ``by_hand``: its result is not imported, for a person decided so."""
    changed = any(decision is not Decision.IGNORE for decision in decisions)
    words = {"reason": _BY_HAND.format(task)} if by_hand else {}
    (log.warning if by_hand else log.info)(
        Event.CALLBACK_APPLIED if changed else Event.CALLBACK_IGNORED,
        task=task,
        task_id=recorded.callback.task_id,
        status=recorded.callback.status.value,
        decision=", ".join(decisions),
        **words,
    )


async def log_all(applied: Iterable[AppliedCallback]) -> None:
    """Log those that were applied together; whoever calls meanwhile has a turn between two lines."""
    left = deque(applied)
    try:
        while left:
            _log(left.popleft())
            await asyncio.sleep(0)
    finally:  # a daemon that stops has applied the others as well
        for each in left:
            _log(each)


def _log(applied: AppliedCallback) -> None:
    log_applied(applied.recorded, applied.task, [applied.decision], by_hand=applied.by_hand)

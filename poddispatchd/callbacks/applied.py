"""Callbacks that were applied, in the log."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

import structlog
from msgspec import Struct

from poddispatchd.callbacks.inbox import RecordedCallback
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import TaskPk
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)


class AppliedCallback(Struct, frozen=True):
    """A callback that was applied, and what it did."""

    recorded: RecordedCallback
    task: TaskPk
    decision: Decision


def log_applied(recorded: RecordedCallback, task: TaskPk, decisions: Sequence[Decision]) -> None:
    """Log a callback that was applied."""
    changed = any(decision is not Decision.IGNORE for decision in decisions)
    log.info(
        Event.CALLBACK_APPLIED if changed else Event.CALLBACK_IGNORED,
        task=task,
        task_id=recorded.callback.task_id,
        status=recorded.callback.status.value,
        decision=", ".join(decisions),
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
    log_applied(applied.recorded, applied.task, [applied.decision])

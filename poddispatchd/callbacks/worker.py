"""Handling recorded callbacks: each is applied to its task, once, in the order they came."""

import asyncio
from typing import assert_never

import structlog

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.adoption import Adoption, Found
from poddispatchd.callbacks.inbox import CallbackState, RecordedCallback, Turn
from poddispatchd.domain.lifecycle import Decision, row_status
from poddispatchd.domain.task import Task, TaskStatus
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.tasks.task_ids import tasks_called
from poddispatchd.tasks.transitions import Report, Told, apply_report, ring_for

log = structlog.get_logger(__name__)

_BATCH = 20
_IDLE = 120.0
_SOON = 0.1
_RETRY = 2.0
_MOST_RETRY = 60.0


class CallbackWorker:
    """Applies callbacks; any number of daemons may do it side by side."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._adoption = Adoption(parts)

    async def step(self) -> float:
        """Handle what is due; seconds until the next look."""
        async with self._parts.database.connection() as connection:
            due = await inbox.claim_due(connection, _BATCH)
        unknown = [callback for callback in due if not await self._apply(callback)]
        # These ask their managers, side by side: one that is silent holds nobody up but itself.
        await asyncio.gather(*(self._adopt(callback) for callback in unknown))
        if len(due) == _BATCH:
            return 0.0
        async with self._parts.database.connection() as connection:
            seconds = await inbox.next_due(connection)
        return _IDLE if seconds is None else min(_IDLE, max(seconds, _SOON))

    async def _apply(self, recorded: RecordedCallback) -> bool:
        """Apply one callback to the tasks that carry its id; False when none does."""
        parts, callback = self._parts, recorded.callback
        report = Report(callback.status, callback.error_message, callback.script_output, Told.BY_CALLBACK)
        async with parts.database.transaction() as connection:
            turn = await inbox.lock(connection, recorded)
            if turn is Turn.LATER:
                await inbox.postpone(connection, recorded, _SOON)
            if turn is not Turn.NOW:
                return True
            known = await tasks_called(connection, recorded.managers, callback.task_id)
            if not known:
                return False
            decisions = [
                await apply_report(connection, task, report, retries=parts.retries)
                for task in _concerned(known)
            ]
            changed = any(decision is not Decision.IGNORE for decision in decisions)
            state = CallbackState.APPLIED if changed else CallbackState.IGNORED
            await inbox.settle(connection, recorded, state, ", ".join(decisions))
        for decision in decisions:
            ring_for(decision, parts.wakeups)
        log.info(
            Event.CALLBACK_APPLIED if changed else Event.CALLBACK_IGNORED,
            task=known[0].pk,
            task_id=callback.task_id,
            status=callback.status.value,
            decision=", ".join(decisions),
        )
        return True

    async def _adopt(self, recorded: RecordedCallback) -> None:
        """Find the submission that a callback with an unknown id speaks of."""
        parts = self._parts
        found, reason = await self._adoption.adopt(recorded)
        delay = min(_MOST_RETRY, _RETRY * recorded.attempts)
        match found:
            case Found.FORMER_RUN | Found.NOTHING:
                if await self._forget(recorded, reason, is_ours=found is Found.FORMER_RUN):
                    return
                delay = 0.0
            case Found.TASK:
                # The row carries the id now: the callback is applied at the next look.
                delay = 0.0
            case Found.LATER:
                pass
            case _:
                assert_never(found)
        async with parts.database.connection() as connection:
            await inbox.postpone(connection, recorded, delay)
        if delay == 0.0:
            parts.wakeups.inbox.ring()

    async def _forget(self, recorded: RecordedCallback, reason: str, *, is_ours: bool) -> bool:
        """Close a callback whose id no row carries; False when one has got the id meanwhile."""
        state = CallbackState.IGNORED if is_ours else CallbackState.ORPHANED
        async with self._parts.database.transaction() as connection:
            if await tasks_called(connection, recorded.managers, recorded.callback.task_id):
                return False
            await inbox.settle(connection, recorded, state, reason)
        tell = log.info if is_ours else log.warning
        tell(Event.CALLBACK_IGNORED, task_id=recorded.callback.task_id, reason=reason)
        return True


def _concerned(known: list[Task]) -> list[Task]:
    """Every unfinished row of an id, for two rows with one id are both served; else the oldest not completed.

    That one is also who is asked about again: the others of its run are completed with it.
    """
    unfinished = [
        task for task in known if row_status(task.status) in (TaskStatus.PENDING, TaskStatus.RUNNING)
    ]
    mendable = [task for task in known if task.status != TaskStatus.COMPLETED]
    return unfinished or mendable[-1:] or known[:1]

"""Handling recorded callbacks: to their task, or to the submission whose answer was lost."""

import json
from collections.abc import Iterable

import structlog

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import Task, TaskStatus
from poddispatchd.errors import RunnerManagerError, RunnerTaskUnknownError
from poddispatchd.events import Event
from poddispatchd.journal import callbacks, submissions
from poddispatchd.journal.callbacks import CallbackState, RecordedCallback
from poddispatchd.journal.submissions import Submission
from poddispatchd.pod import tasks
from poddispatchd.runner.records import RunnerTask
from poddispatchd.services.parts import Parts
from poddispatchd.services.reports import Report, apply_report, ring_for

log = structlog.get_logger(__name__)

_BATCH = 20
_IDLE = 120.0
_RETRY = 2.0
_MOST_RETRY = 60.0

_FINGERPRINT = ("etab_name", "app_name", "task_type", "source_url", "notify_url", "parameters")
"""What a runner manager recognises a request by."""


class Inbox:
    """Applies callbacks in the order they came; any number of daemons may do it side by side."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def step(self) -> float:
        """Handle what is due; seconds until the next look."""
        async with self._parts.database.connection() as connection:
            due = await callbacks.claim_due(connection, _BATCH)
        postponed = False
        for callback in due:
            postponed |= not await self._handle(callback)
        if len(due) == _BATCH:
            return 0.0
        return _RETRY if postponed else _IDLE

    async def _handle(self, recorded: RecordedCallback) -> bool:
        """Apply one callback; False when it must be looked at again later."""
        parts, callback = self._parts, recorded.callback
        report = Report(callback.status, callback.error_message, callback.script_output)
        async with parts.database.transaction() as connection:
            if not await callbacks.lock(connection, recorded):
                return True
            known = await tasks.find_tasks(connection, recorded.managers, callback.task_id)
            limit = parts.settings.reconcile.max_attempts
            decisions = [
                await apply_report(connection, task, report, max_attempts=limit) for task in _concerned(known)
            ]
            changed = any(decision is not Decision.IGNORE for decision in decisions)
            if known:
                state = CallbackState.APPLIED if changed else CallbackState.IGNORED
                await callbacks.settle(connection, recorded, state, ", ".join(decisions))
        if not known:
            return await self._adopt(recorded)
        for decision in decisions:
            ring_for(decision, parts.wakes)
        log.info(
            Event.CALLBACK_APPLIED if changed else Event.CALLBACK_IGNORED,
            task=known[0].pk,
            task_id=callback.task_id,
            status=callback.status.value,
            decision=", ".join(decisions),
        )
        return True

    # --- an id that no row carries -----------------------------------------------------------------------

    async def _adopt(self, recorded: RecordedCallback) -> bool:
        """Match a callback with an unknown id to a submission whose answer never came.

        The record on the manager says what the task is: the same source and parameters as a submission of
        ours make it that one.
        """
        parts, task_id = self._parts, recorded.callback.task_id
        async with parts.database.connection() as connection:
            unidentified = await submissions.unidentified(connection, recorded.managers)
        if not unidentified:
            return await self._orphan(recorded, "no submission of ours can be meant")
        record, reason = await self._look_up(recorded)
        if record is None and reason is None:
            await self._postpone(recorded)
            return False
        if record is None:
            return await self._orphan(recorded, str(reason))
        match = _match(record, unidentified)
        if match is None:
            return await self._orphan(recorded, "the manager's record matches no submission of ours")
        async with parts.database.transaction() as connection:
            task = await tasks.get_task(connection, match.task_pk)
            is_waiting = task is not None and task.status == TaskStatus.PENDING
            won = (
                task is not None
                and is_waiting
                and await tasks.mark_running(connection, task, match.runner_manager_id, task_id)
                and await submissions.adopt(connection, match, task_id, "found by its callback")
            )
        if not is_waiting:
            return await self._orphan(recorded, f"task {match.task_pk} is not pending any more")
        if won:
            log.warning(Event.SUBMISSION_ADOPTED, task=match.task_pk, task_id=task_id)
        # The row carries the id now, or soon shows who was faster: the callback is applied at the next look.
        await self._postpone(recorded, 0.0 if won else None)
        return False

    async def _look_up(self, recorded: RecordedCallback) -> tuple[RunnerTask | None, str | None]:
        """The manager's record of a task, else why there is none; neither when it cannot be had now."""
        for manager_id in recorded.managers:
            manager = self._parts.fleet.get(manager_id)
            if manager is None:
                continue
            try:
                return await self._parts.client.status(manager, recorded.callback.task_id), None
            except RunnerTaskUnknownError:
                continue
            except RunnerManagerError as error:
                self._parts.fleet.learn(manager_id, error)
                return None, None
        return None, "no manager with this token knows it"

    async def _orphan(self, recorded: RecordedCallback, reason: str) -> bool:
        async with self._parts.database.connection() as connection:
            await callbacks.settle(connection, recorded, CallbackState.ORPHANED, reason)
        log.warning(Event.CALLBACK_IGNORED, task_id=recorded.callback.task_id, reason=reason)
        return True

    async def _postpone(self, recorded: RecordedCallback, seconds: float | None = None) -> None:
        delay = min(_MOST_RETRY, _RETRY * recorded.attempts) if seconds is None else seconds
        async with self._parts.database.connection() as connection:
            await callbacks.postpone(connection, recorded, delay)
        if delay == 0.0:
            self._parts.wakes.inbox.ring()


def _concerned(known: list[Task]) -> list[Task]:
    """Every unfinished row of an id, for two rows with one id are both served; else the newest one."""
    unfinished = [task for task in known if task.status in (TaskStatus.PENDING, TaskStatus.RUNNING)]
    return unfinished or known[:1]


def _match(record: RunnerTask, candidates: Iterable[Submission]) -> Submission | None:
    """The newest submission whose body the manager's record repeats."""
    told = (
        record.etab_name,
        record.app_name,
        record.task_type,
        record.source_url,
        record.notify_url,
        dict(record.parameters),
    )
    for submission in candidates:
        body = json.loads(submission.body)
        if told == tuple(body[key] for key in _FINGERPRINT):
            return submission
    return None

"""What follows from an attempt that failed: another one, a new run of the task, or an end in words."""

import asyncio
import shutil
from typing import assert_never

import structlog

from poddispatchd.domain.import_failures import NextAction, longest_delay, next_action
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.script_output import merge_output, storable
from poddispatchd.domain.task import RunnerStatus, Task
from poddispatchd.errors import MediaNotWritableError, NoSpaceError, PoddispatchdError, RunnerManagerError
from poddispatchd.imports import cleanup
from poddispatchd.imports.attempt_state import ImportDesk
from poddispatchd.journal import imports, submissions
from poddispatchd.journal.imports import ImportState
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import ImportOutcome
from poddispatchd.pod import tasks
from poddispatchd.tasks.transitions import Report, apply_report, fail_task, requeue_task, ring_for

log = structlog.get_logger(__name__)


class FailureHandling:
    """Settles an attempt that came to nothing."""

    def __init__(self, desk: ImportDesk) -> None:
        self._desk = desk
        self._parts = desk.parts
        self._job = desk.job

    async def drop(self, reason: str) -> None:
        """The result is not wanted any more, or another importer has it: leave without a trace."""
        async with self._parts.database.connection() as connection:
            task = await tasks.get_task(connection, self._job.task_pk)
            await imports.finish(connection, self._job, ImportState.DROPPED, reason)
        log.info(Event.IMPORT_DROPPED, task=self._job.task_pk, reason=reason)
        if task is not None:
            self._parts.metrics.imports.labels(task.type, ImportOutcome.DROPPED).inc()
        await self._desk.clean()

    async def failed(self, error: Exception) -> None:
        """Find out what follows from an error, and do it."""
        parts, job = self._parts, self._job
        if isinstance(error, RunnerManagerError):
            parts.registry.learn(job.runner_manager_id, error)
        if isinstance(error, (NoSpaceError, MediaNotWritableError, OSError)):
            parts.storage.obstructed(str(error), job.task_pk)
        else:
            parts.storage.usable(job.task_pk)
        async with parts.database.connection() as connection:
            task = await tasks.get_task(connection, job.task_pk)
            if task is not None:
                submitted = await submissions.attempts(connection, task)
        if task is None or not self._desk.is_wanted(task):
            await self.drop("The row was completed, restarted or deleted by someone else.")
            return
        decision = next_action(
            error,
            attempts=job.attempts,
            max_attempts=parts.settings.imports.max_attempts,
            may_resubmit=max(submitted.since, 1) < parts.settings.reconcile.max_attempts,
            obstructed_for=job.obstructed_for,
            lost=parts.settings.reconcile.lost,
        )
        await self._apply(task, decision, storable(str(error)) or type(error).__name__)

    async def _apply(self, task: Task, decision: NextAction, reason: str) -> None:
        match decision:
            case NextAction.BUSY | NextAction.RETRY | NextAction.WAIT:
                await self._postpone(task, decision, reason)
            case NextAction.ASK:
                await self._ask(task, reason)
            case NextAction.RESUBMIT | NextAction.FAIL:
                await self._settle(task, decision, reason)
            case _:
                assert_never(decision)

    async def _postpone(self, task: Task, decision: NextAction, reason: str) -> None:
        parts, job = self._parts, self._job
        limit = longest_delay(decision, attempts=job.attempts, obstructed_for=job.obstructed_for)
        delay = 1.0 + limit * parts.clock.random()
        if self._desk.staging is not None:
            # Nothing of it is used again, and the space may be what is missing.
            await cleanup.withdraw(parts, job)
            await asyncio.to_thread(shutil.rmtree, self._desk.staging, ignore_errors=True)
            await cleanup.delete_obsolete(parts, job.task_pk)
        async with parts.database.connection() as connection:
            await imports.retry(
                connection,
                job,
                seconds=delay,
                error=reason,
                counts=decision is NextAction.RETRY,
                obstructed=decision is NextAction.WAIT,
            )
        parts.metrics.imports.labels(task.type, ImportOutcome.RETRIED).inc()
        log.warning(Event.IMPORT_RETRIED, task=task.pk, reason=reason, in_seconds=round(delay, 1))

    async def _ask(self, task: Task, reason: str) -> None:
        """The manager gives no result: take over what it says of the task now, as a callback would."""
        parts, job = self._parts, self._job
        try:
            manager = await self._desk.manager()
            record = await parts.client.status(manager, job.task_id)
        except PoddispatchdError as error:
            await self.failed(error)
            return
        if record.status in (RunnerStatus.COMPLETED, RunnerStatus.WARNING, None):
            is_last = job.attempts >= parts.settings.imports.max_attempts
            await self._apply(task, NextAction.FAIL if is_last else NextAction.RETRY, reason)
            return
        report = Report(record.status)
        if record.status not in (RunnerStatus.RUNNING, RunnerStatus.PENDING):
            report = Report(record.status, record.error, record.script_output)
        said = Decision.IGNORE
        async with parts.database.transaction() as connection:
            await tasks.lock_task(connection, task.pk)
            if not await imports.finish(connection, job, ImportState.DROPPED, reason):
                return
            current = await tasks.get_task(connection, task.pk)
            if current is not None and self._desk.is_wanted(current):
                said = await apply_report(connection, current, report, retries=parts.retries)
        ring_for(said, parts.wakeups)
        log.warning(Event.IMPORT_DROPPED, task=task.pk, reason=reason, status=record.status.value)
        parts.metrics.imports.labels(task.type, ImportOutcome.DROPPED).inc()
        await self._desk.clean()

    async def _settle(self, task: Task, decision: NextAction, reason: str) -> None:
        """Let the task run again, or end it in words; the result is given up."""
        parts, job = self._parts, self._job
        outcome = ImportOutcome.FAILED if decision is NextAction.FAIL else ImportOutcome.RESUBMITTED
        async with parts.database.transaction() as connection:
            await tasks.lock_task(connection, task.pk)
            if not await imports.finish(connection, job, ImportState.FAILED, reason):
                return
            if decision is NextAction.RESUBMIT:
                words = f"Its result cannot be imported, so that it is submitted again: {reason}"
                output = merge_output(task.script_output, words, None)
                await requeue_task(connection, task, reason, retries=parts.retries, output=output)
            else:
                await fail_task(connection, task, f"Its result cannot be imported: {reason}")
        log.error(Event.IMPORT_FAILED, task=task.pk, reason=reason, outcome=outcome.value)
        parts.metrics.imports.labels(task.type, outcome).inc()
        ring_for(Decision.FAIL if decision is NextAction.FAIL else Decision.RETRY, parts.wakeups)
        await self._desk.clean()

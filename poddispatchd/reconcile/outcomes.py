"""What follows from what runner managers say about running tasks."""

from collections.abc import Collection, Mapping
from typing import Protocol

import structlog

from poddispatchd.database.pool import Connection
from poddispatchd.domain.lifecycle import Decision, may_submit_again
from poddispatchd.domain.script_output import merge_output
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import RowLockedError
from poddispatchd.journal import failures, imports, observations, submissions
from poddispatchd.journal.observations import TaskObservation
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import LostOutcome
from poddispatchd.parts import Parts
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.tasks.transitions import Report, apply_report, fail_task, requeue_task, ring_for

log = structlog.get_logger(__name__)


class Outcomes(Protocol):
    """What the reconciler needs to know besides Pod's rows, and to whom it tells what it finds out."""

    async def importing(self, connection: Connection) -> Collection[TaskPk]:
        """The tasks whose result is being imported: they have answered already."""

    async def observe(
        self, connection: Connection, unobserved: Mapping[TaskPk, str | None]
    ) -> Mapping[TaskPk, TaskObservation]:
        """Tasks that are new here, with their ids; what is known of them all the same."""

    async def forget_except(self, connection: Connection, running: Collection[TaskPk]) -> None:
        """No task runs but these."""

    async def runner_missing(self, task: TaskPk, task_id: str, runner: str | None) -> None:
        """The runner that works on a task is missing from now on, or not any more."""

    async def stale(self, tasks: Collection[TaskPk]) -> None:
        """It was told that these tasks run for too long."""

    async def reported(self, item: UnsettledTask, report: Report) -> None:
        """A manager said how a task is."""

    async def lost(self, item: UnsettledTask, reason: str) -> None:
        """Nobody works on a task."""


class AppliedOutcomes:
    """Carries it out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def importing(self, connection: Connection) -> Collection[TaskPk]:
        """The tasks whose result is being imported, or waits for it."""
        return await imports.open_tasks(connection)

    async def observe(
        self, connection: Connection, unobserved: Mapping[TaskPk, str | None]
    ) -> Mapping[TaskPk, TaskObservation]:
        """What the journal knows of them, from now on at least since when they run."""
        return await observations.see(connection, unobserved)

    async def forget_except(self, connection: Connection, running: Collection[TaskPk]) -> None:
        """Forget the others."""
        await observations.forget_others(connection, running)

    async def runner_missing(self, task: TaskPk, task_id: str, runner: str | None) -> None:
        """Write it down: the next pass, or another daemon, counts on from there."""
        async with self._parts.database.connection() as connection:
            await observations.note_runner(connection, task, task_id, runner)

    async def stale(self, tasks: Collection[TaskPk]) -> None:
        """Write it down: it is told once."""
        async with self._parts.database.connection() as connection:
            await observations.note_stale(connection, tasks)

    async def reported(self, item: UnsettledTask, report: Report) -> None:
        """Do what the report means for the row as it is by now."""
        parts = self._parts
        try:
            async with parts.database.transaction() as connection:
                decision = await apply_report(connection, item.task, report, retries=parts.retries)
        except RowLockedError:
            # Its manager is asked again; meanwhile the row may be free.
            parts.locked_rows.met(item.task.pk)
            return
        parts.metrics.reconciled.labels(decision).inc()
        if decision not in (Decision.WAIT, Decision.IGNORE):
            log.info(
                Event.RECONCILE_ASKED,
                task=item.task.pk,
                status=report.status.value,
                decision=decision.value,
            )
            if item.task.runner_manager_id is not None:
                parts.registry.freed(item.task.runner_manager_id)
        ring_for(decision, parts.wakeups)

    async def lost(self, item: UnsettledTask, reason: str) -> None:
        """Put the task back into the queue, or bring it to its end (``reconcile.lost``)."""
        try:
            await self._lost(item, reason)
        except RowLockedError:
            self._parts.locked_rows.met(item.task.pk)

    async def _lost(self, item: UnsettledTask, reason: str) -> None:
        parts, settings = self._parts, self._parts.settings.reconcile
        async with parts.database.transaction() as connection:
            task = await tasks.lock_task(connection, item.task.pk)
            if task is None or (task.status, task.task_id) != (item.task.status, item.task.task_id):
                return
            submitted = await submissions.attempts(connection, task)
            may_requeue = task.is_submittable and may_submit_again(
                submitted.since, max_attempts=settings.max_attempts
            )
            if settings.lost == "requeue" and may_requeue:
                words = f"It was lost, so that it is submitted again: {reason}"
                output = merge_output(task.script_output, words, None)
                await requeue_task(connection, task, reason, retries=parts.retries, output=output)
                outcome, decision = LostOutcome.REQUEUED, Decision.RETRY
            else:
                await fail_task(connection, task, reason)
                if task.run is not None:
                    # Its runner may come back, and with it the result.
                    await failures.note_failure(connection, task.pk, task.run)
                outcome, decision = LostOutcome.FAILED, Decision.FAIL
        parts.metrics.reconciled.labels(outcome).inc()
        ring_for(decision, parts.wakeups)

"""What follows from what runner managers say about running tasks."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import ReconcileSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.french import in_language
from poddispatchd.domain.lifecycle import Decision, Retries, may_submit_again
from poddispatchd.domain.script_output import merge_output
from poddispatchd.domain.task import ManagerId, Task, TaskPk
from poddispatchd.errors import RowLockedError
from poddispatchd.journal import failures, imports, observations, submissions, unwanted_runs
from poddispatchd.journal.observations import Sighting, TaskObservation
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import LostOutcome, Metrics
from poddispatchd.pod import duplicates, tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.runtime.locked_rows import LockedRows
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.stopping import carriers
from poddispatchd.tasks.transitions import apply_report, fail_task, requeue_task, ring_for

log = structlog.get_logger(__name__)


class Outcomes(Protocol):
    """What the reconciler needs to know besides Pod's rows, and to whom it tells what it finds out."""

    async def importing(self, connection: Connection) -> Collection[TaskPk]:
        """The tasks whose result is being imported: they have answered already."""

    async def observe(
        self, connection: Connection, unobserved: Mapping[TaskPk, Sighting]
    ) -> Mapping[TaskPk, TaskObservation]:
        """Tasks that are new here, with their runs; what is known of them all the same."""

    async def forget_except(self, connection: Connection, running: Collection[TaskPk]) -> None:
        """No task runs but these."""

    async def runner_missing(self, task: TaskPk, task_id: str, runner: str | None) -> None:
        """The runner that works on a task is missing from now on, or not any more."""

    async def stale(self, tasks: Collection[TaskPk]) -> None:
        """It was told that these tasks run for too long."""

    async def reported(self, item: UnsettledTask, report: RunReport) -> None:
        """A manager said how a task is."""

    async def lost(self, item: UnsettledTask, reason: str) -> None:
        """Nobody works on a task."""


class AppliedOutcomes:
    """Carries it out."""

    def __init__(
        self,
        *,
        database: Database,
        registry: ManagerRegistry,
        settings: Callable[[], ReconcileSettings],
        retries: Callable[[], Retries],
        language: Callable[[], str],
        locked_rows: LockedRows,
        wakeups: Wakeups,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._registry = registry
        self._settings = settings
        self._retries = retries
        self._language = language
        self._locked_rows = locked_rows
        self._wakeups = wakeups
        self._metrics = metrics
        self._clock = clock

    async def importing(self, connection: Connection) -> Collection[TaskPk]:
        """The tasks whose result is being imported, or waits for it."""
        return await imports.open_tasks(connection)

    async def observe(
        self, connection: Connection, unobserved: Mapping[TaskPk, Sighting]
    ) -> Mapping[TaskPk, TaskObservation]:
        """What the journal knows of them, from now on at least since when they run."""
        # Another run of the same task takes the place of the one that it has let go of.
        await unwanted_runs.add_let_go(connection)
        return await observations.see(connection, unobserved, ours=self._clock.now())

    async def forget_except(self, connection: Connection, running: Collection[TaskPk]) -> None:
        """Forget the others."""
        # Only as long as they are remembered it is known which runs their tasks have let go of.
        await unwanted_runs.add_let_go(connection)
        await observations.forget_others(connection, running)

    async def runner_missing(self, task: TaskPk, task_id: str, runner: str | None) -> None:
        """Write it down: the next pass, or another daemon, counts on from there."""
        async with self._database.connection() as connection:
            await observations.note_runner(connection, task, task_id, runner)

    async def stale(self, tasks: Collection[TaskPk]) -> None:
        """Write it down: it is told once."""
        async with self._database.connection() as connection:
            await observations.note_stale(connection, tasks)

    async def reported(self, item: UnsettledTask, report: RunReport) -> None:
        """Do what the report means for the row as it is by now."""
        locked = self._locked_rows.tasks
        if item.task.pk in locked:
            return  # its manager is asked again, when the row is free
        try:
            # Who holds one row may hold many: a second for each would add up, and all questions wait.
            async with self._database.transaction(hurried=bool(locked)) as connection:
                decision = await apply_report(
                    connection, item.task, report, retries=self._retries(), language=self._language()
                )
        except RowLockedError:
            # Its manager is asked again; meanwhile the row may be free.
            self._locked_rows.met(item.task.pk)
            return
        self._metrics.reconciled.labels(decision).inc()
        if decision not in (Decision.WAIT, Decision.IGNORE):
            log.info(
                Event.RECONCILE_ASKED,
                task=item.task.pk,
                status=report.status.value,
                decision=decision.value,
            )
            if item.task.runner_manager_id is not None:
                self._registry.freed(item.task.runner_manager_id)
        ring_for(decision, self._wakeups)

    async def lost(self, item: UnsettledTask, reason: str) -> None:
        """Put the task back into the queue, or bring it to its end (``reconcile.lost``)."""
        if item.task.pk in self._locked_rows.tasks:
            return
        try:
            await self._lost(item, reason)
        except RowLockedError:
            self._locked_rows.met(item.task.pk)

    async def _lost(self, item: UnsettledTask, reason: str) -> None:
        settings, language = self._settings(), self._language()
        async with self._database.transaction(hurried=bool(self._locked_rows.tasks)) as connection:
            task = await tasks.lock_task(connection, item.task.pk)
            # A callback, or a person, may have been quicker than the second answer (I4).
            if task is None or _run_of(task) != _run_of(item.task):
                return
            if await _is_to_be_imported(connection, task):
                # Its callback came while its manager was asked about others: the import finds out the rest.
                return
            submitted = await submissions.attempts(connection, task)
            may_requeue = task.is_submittable and may_submit_again(
                submitted, max_attempts=settings.max_attempts
            )
            if settings.lost == "requeue" and may_requeue:
                words = f"It was lost, so that it is submitted again: {reason}"
                output = merge_output(task.script_output, in_language(words, language), None)
                await requeue_task(
                    connection, task, reason, retries=self._retries(), output=output, language=language
                )
                if task.run is not None and not await carriers(connection, task.run):
                    # A runner may be at work on it all the same, or come back to it: its result is ignored.
                    await unwanted_runs.add(connection, task.pk, task.run)
                outcome, decision = LostOutcome.REQUEUED, Decision.RETRY
            else:
                await fail_task(connection, task, reason, language=language)
                if task.run is not None:
                    # Its runner may come back, and with it the result.
                    await failures.note_failure(connection, task.pk, task.run)
                outcome, decision = LostOutcome.FAILED, Decision.FAIL
        self._metrics.reconciled.labels(outcome).inc()
        ring_for(decision, self._wakeups)


def _run_of(task: Task) -> tuple[str, str | None, ManagerId | None]:
    # The manager, too: Pod may have written only now whose task this is.
    return task.status, task.task_id, task.runner_manager_id


async def _is_to_be_imported(connection: Connection, task: Task) -> bool:
    """Whether the result of a task's run is about to be imported, if only for another one that shares it."""
    if task.run is None:
        return False
    importing = await duplicates.leader(connection, task)
    return await imports.is_open(connection, task.pk if importing is None else importing, task.run)

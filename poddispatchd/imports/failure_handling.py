"""What follows from an attempt that failed: another one, a new run of the task, or an end in words.

The decision is ``domain/import_failures.py``; here it is carried out.
"""

from collections.abc import Callable
from typing import assert_never

import structlog
from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.french import in_language
from poddispatchd.domain.import_failures import Circumstances, NextAction, longest_delay, next_action
from poddispatchd.domain.lifecycle import Decision, Retries
from poddispatchd.domain.script_output import merge_output, storable
from poddispatchd.domain.task import RunnerStatus, Task
from poddispatchd.errors import (
    DatabaseError,
    NameTakenError,
    PoddispatchdError,
    ResultError,
    ResultGoneError,
    ValuesRefusedError,
)
from poddispatchd.imports import queue
from poddispatchd.imports.blocked_imports import ImportObstacles
from poddispatchd.imports.deletion import Deletion
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal import submissions
from poddispatchd.journal.imports import ImportState
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.logs import without_secrets
from poddispatchd.observability.metrics import ImportOutcome, Metrics
from poddispatchd.pod import tasks
from poddispatchd.pod.media import staging as staging_area
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import RunnerTask
from poddispatchd.runtime.item_errors import words_of
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.transitions import apply_report, fail_task, requeue_task, ring_for

log = structlog.get_logger(__name__)


class FailedAttempt(Struct, frozen=True):
    """An attempt that did not end in an import.

    Attributes:
        job: the import.
        error: what ended it.
        tree: the media tree under Pod's lock on the task; None while somebody else holds it, who may be
            putting files in place.
        staging: where the result was being downloaded to, if it came so far.
    """

    job: ImportJob
    error: Exception
    tree: MediaTree | None = None
    staging: MediaPath | None = None

    @property
    def words(self) -> str:
        """Why, for people."""
        words = str(self.error) if isinstance(self.error, OSError) else words_of(self.error)
        # Names of files are the manager's words.
        return without_secrets(storable(words)) or type(self.error).__name__


class FailureHandling:
    """Settles attempts that came to nothing.

    Args:
        database: Pod's.
        client: asks managers what they say of a task now.
        registry: the managers.
        obstacles: hear of what an attempt has met.
        deletion: removes what it has put in place.
        settings: the current ones.
        retries: how often a task is submitted.
        wakeups: of those who go on with a task.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        client: RunnerClient,
        registry: ManagerRegistry,
        obstacles: ImportObstacles,
        deletion: Deletion,
        settings: Callable[[], Settings],
        retries: Callable[[], Retries],
        wakeups: Wakeups,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._client = client
        self._registry = registry
        self._obstacles = obstacles
        self._deletion = deletion
        self._settings = settings
        self._retries = retries
        self._wakeups = wakeups
        self._metrics = metrics
        self._clock = clock

    async def handle(self, attempt: FailedAttempt) -> None:
        """Find out what follows from an error, and do it."""
        job = attempt.job
        error = await self._obstacles.met(job, attempt.error, attempt.words)
        attempt = replace(attempt, error=error)
        async with self._database.connection() as connection:
            task = await tasks.get_task(connection, job.task_pk)
            if task is not None:
                submitted = await submissions.attempts(connection, task)
            obstructed_for = await queue.obstructed_for(connection, job, ours=self._clock.now())
            is_of_all = isinstance(error, ValuesRefusedError) and await queue.are_refused_alike(
                connection, job, attempt.words
            )
        if task is None or not job.is_wanted_by(task):
            await self.drop(attempt, queue.NOT_WANTED)
            return
        settings = self._settings()
        now = Circumstances(
            attempts=job.attempts,
            max_attempts=settings.imports.max_attempts,
            # A run that Pod submitted is not in the journal, and counts as one.
            may_resubmit=max(submitted, 1) < settings.reconcile.max_attempts,
            obstructed_for=obstructed_for,
            lost=settings.reconcile.lost,
            is_of_all=is_of_all,
        )
        await self._apply(attempt, task, next_action(error, now), now)

    async def drop(self, attempt: FailedAttempt, reason: str) -> None:
        """The result is not wanted any more, or another importer has it: nothing of it stays."""
        job = attempt.job
        async with self._database.connection() as connection:
            task = await tasks.get_task(connection, job.task_pk)
            await queue.finish(connection, job, ImportState.DROPPED, reason)
        log.info(Event.IMPORT_DROPPED, task=job.task_pk, reason=reason)
        if task is not None:
            self._metrics.imports.labels(task.type, ImportOutcome.DROPPED).inc()
        await self._leave(attempt)

    async def _apply(
        self, attempt: FailedAttempt, task: Task, action: NextAction, now: Circumstances
    ) -> None:
        match action:
            case NextAction.BUSY | NextAction.RETRY | NextAction.WAIT:
                await self._postpone(attempt, task, action, now)
            case NextAction.ASK:
                await self._ask(attempt, task, now)
            case NextAction.RESUBMIT | NextAction.FAIL:
                await self._end(attempt, task, action)
            case _:
                assert_never(action)

    async def _postpone(
        self, attempt: FailedAttempt, task: Task, action: NextAction, now: Circumstances
    ) -> None:
        job = attempt.job
        delay = 1.0 + longest_delay(action, now) * self._clock.random()
        tree = attempt.tree
        if tree is not None and attempt.staging is not None and not tree.calls.hangs:
            # Nothing of it is used again, and the space may be what is missing.
            await self._deletion.withdraw(job, tree)
            await staging_area.discard(attempt.staging)
            await self._deletion.delete_obsolete(job.task_pk)
        # Last: this gives the lease back, and whoever gets it next begins with an empty place.
        async with self._database.transaction() as connection:
            await queue.retry(
                connection,
                job,
                delay,
                attempt.words,
                counts=action is NextAction.RETRY,
                obstructed=action is NextAction.WAIT,
            )
        if action is NextAction.WAIT:
            self._obstacles.keep_waiting(job, attempt.error)
        self._metrics.imports.labels(task.type, ImportOutcome.RETRIED).inc()
        # That somebody else is at it is told elsewhere, once; that a name is taken, nowhere.
        is_told = action is NextAction.BUSY and not isinstance(attempt.error, NameTakenError)
        tell = log.debug if is_told else log.warning
        tell(Event.IMPORT_RETRIED, task=task.pk, reason=attempt.words, in_seconds=round(delay, 1))

    async def _ask(self, attempt: FailedAttempt, task: Task, now: Circumstances) -> None:
        """The manager gives no result: take over what it says of the task now, as a callback would."""
        job = attempt.job
        try:
            manager = self._registry.get(job.runner_manager_id)
            if manager is None:
                raise ResultGoneError("Its runner manager has been deleted from Pod.")
            record = await self._client.status(manager, job.task_id)
        except PoddispatchdError as error:
            await self.handle(FailedAttempt(job, error, attempt.tree, attempt.staging))
            return
        if record.status in (RunnerStatus.COMPLETED, RunnerStatus.WARNING, None):
            # It contradicts itself: its record says that there is a result, its result that there is none.
            is_last = now.attempts >= now.max_attempts
            await self._apply(attempt, task, NextAction.FAIL if is_last else NextAction.RETRY, now)
            return
        await self._take_over(attempt, task, record)

    async def _take_over(self, attempt: FailedAttempt, task: Task, record: RunnerTask) -> None:
        """The run goes on, or has ended otherwise: the import is dropped, the row follows the manager."""
        job = attempt.job
        assert record.status is not None  # noqa: S101 - _ask has seen to it
        # What a run that goes on has said so far is told again, with more, at its end.
        report = RunReport(record.status)
        if record.status not in (RunnerStatus.RUNNING, RunnerStatus.PENDING):
            report = RunReport(record.status, record.error, record.script_output)
        said = Decision.IGNORE
        async with self._database.transaction() as connection:
            current = await tasks.lock_task(connection, task.pk)
            if not await queue.finish(connection, job, ImportState.DROPPED, attempt.words):
                return
            if current is not None and job.is_wanted_by(current):
                said = await apply_report(
                    connection,
                    current,
                    report,
                    retries=self._retries(),
                    language=self._settings().pod.output_language,
                )
        ring_for(said, self._wakeups)
        log.warning(Event.IMPORT_DROPPED, task=task.pk, reason=attempt.words, status=record.status.value)
        self._metrics.imports.labels(task.type, ImportOutcome.DROPPED).inc()
        await self._leave(attempt)

    async def _end(self, attempt: FailedAttempt, task: Task, action: NextAction) -> None:
        """Let the task run again, or end it in words; the result is given up."""
        job, reason = attempt.job, attempt.words
        outcome = ImportOutcome.FAILED if action is NextAction.FAIL else ImportOutcome.RESUBMITTED
        async with self._database.transaction() as connection:
            # The row as it is now: a callback may have added to its output, or a person begun it again.
            current = await tasks.lock_task(connection, task.pk)
            is_wanted = current is not None and job.is_wanted_by(current)
            if current is not None and is_wanted:
                if not await queue.finish(connection, job, ImportState.FAILED, reason):
                    return
                await self._give_up(connection, current, action, reason)
        if not is_wanted:
            await self.drop(attempt, queue.NOT_WANTED)
            return
        log.error(Event.IMPORT_FAILED, task=task.pk, reason=reason, outcome=outcome.value)
        self._metrics.imports.labels(task.type, outcome).inc()
        ring_for(Decision.FAIL if action is NextAction.FAIL else Decision.RETRY, self._wakeups)
        await self._leave(attempt)

    async def _give_up(self, connection: Connection, task: Task, action: NextAction, reason: str) -> None:
        """Let a task run again, or fail; its row is locked, and as it is now."""
        language = self._settings().pod.output_language
        if action is NextAction.RESUBMIT:
            words = f"Its result cannot be imported, so that it is submitted again: {reason}"
            output = merge_output(task.script_output, in_language(words, language), None)
            await requeue_task(
                connection, task, reason, retries=self._retries(), output=output, language=language
            )
        else:
            words = f"Its result cannot be imported: {reason}"
            await fail_task(connection, task, words, language=language)

    async def _leave(self, attempt: FailedAttempt) -> None:
        """Remove what the attempt left, and what is not needed any more; the rest is for the next purge."""
        job, tree = attempt.job, attempt.tree
        self._obstacles.left(job)
        # Without the lock, or beside a thread that hangs: somebody may still put files in place.
        if tree is None or tree.calls.hangs:
            return
        await staging_area.discard(attempt.staging)
        try:
            await self._deletion.discard_brought(tree, job.id, job.task_pk)
            await self._deletion.delete_obsolete(job.task_pk)
        except (DatabaseError, ResultError) as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, task=job.task_pk, reason=words_of(error))

"""The answers of runner managers that took a task, stored together; and what follows from each."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import assert_never

import structlog
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.database.sqlstates import FOREIGN_KEY_VIOLATION
from poddispatchd.dispatch.encoding_logs import EncodingLogs
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import Run, RunnerTaskId, TaskPk
from poddispatchd.errors import (
    DatabaseError,
    RowLockedError,
    UnusableAnswerError,
    ValuesRefusedError,
)
from poddispatchd.journal import unwanted_runs
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import SubmissionOutcome
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.batching import Batcher
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.accepted_runs import (
    KNOWN_ID,
    AcceptedRun,
    StoredRun,
    Verdict,
    store_accepted,
)
from poddispatchd.tasks.stopping import Stop, stop_run, stop_surely

log = structlog.get_logger(__name__)

_PAUSES = (0.02, 0.1)
"""Seconds between looks at a row that someone holds: most are held for a moment only."""


class SubmissionResult(Struct, frozen=True):
    """How a submission ended.

    ``reason`` is in words, empty when it was accepted. ``is_final``: the row is not pending any more.
    ``hold``: seconds for which the task is to be left alone, when no manager is the reason.
    """

    outcome: SubmissionOutcome
    reason: str = ""
    is_final: bool = False
    hold: float = 0.0


class Acceptance:
    """Stores the ids of accepted tasks.

    Args:
        database: Pod's.
        client: stops what belongs to no row.
        registry: learns what an answer shows of its manager.
        logs: are begun for encodings.
        wakeups: of those who go on with the tasks.
        pod: in whose time zone Pod's people read.
        clock: of the daemon.
        after: is waited for before answers are stored: what is more urgent.
    """

    def __init__(
        self,
        *,
        database: Database,
        client: RunnerClient,
        registry: ManagerRegistry,
        logs: EncodingLogs,
        wakeups: Wakeups,
        pod: PodSettings,
        clock: Clock,
        after: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._client = client
        self._registry = registry
        self._logs = logs
        self._wakeups = wakeups
        self._pod = pod
        self._clock = clock
        self._runs: Batcher[AcceptedRun, StoredRun] = Batcher(self._store, at_once=2, after=after)

    async def store(self, run: AcceptedRun, *, alone: bool = False) -> SubmissionResult:
        """Store the id of an accepted run, and do what follows from what became of it.

        Args:
            run: what was accepted.
            alone: storing it made trouble before.

        Raises:
            RowLockedError: someone else's transaction holds the row.
            DatabaseError: the id could not be stored.
        """
        task, manager = run.task, run.manager
        stored = await self._runs.put(run, alone=alone)
        for pause in _PAUSES:
            if stored.verdict is not Verdict.LOCKED:
                break
            await self._clock.sleep(pause)
            stored = await self._runs.put(run, alone=True)
        if stored.verdict is Verdict.LOCKED:
            raise RowLockedError(
                f"The row of task {task.pk} is held by another database session: its id cannot be stored.",
                task=task.pk,
            )
        # The row may have left the queue: those behind it have other ranks.
        self._wakeups.maintenance.ring()
        facts = {"task": task.pk, "runner_manager": manager.name, "task_id": run.task_id}
        match stored.verdict:
            case Verdict.RUNNING:
                log.info(
                    Event.TASK_SUBMITTED,
                    **facts,
                    type=task.type_name,
                    source=task.source,
                    attempt=run.intent.attempt,
                )
                has_ended = run.status not in ("running", "pending")
                if run.output_directory:
                    self._logs.begin(Path(run.output_directory), is_urgent=has_ended)
                if has_ended:
                    # It has ended already: what a callback would say is asked for at once.
                    self._wakeups.reconciler.ring()
                return SubmissionResult(SubmissionOutcome.ACCEPTED)
            case Verdict.ORPHANED | Verdict.SETTLED:
                log.warning(Event.SUBMISSION_ORPHANED, **facts)
                await self.stop(task.pk, manager, run.task_id)
                return SubmissionResult(SubmissionOutcome.ORPHANED, _orphaned_words(stored))
            case Verdict.KNOWN:
                error = UnusableAnswerError(f"Runner manager {manager.name!r} {KNOWN_ID}.")
                log.error(
                    Event.SUBMISSION_REFUSED, task=task.pk, runner_manager=manager.name, reason=str(error)
                )
                # The first time the bytes may have met a run that the manager has in flight for another row:
                # the next attempt has other ones. When that gets a known id, too, it is the manager's doing.
                if run.intent.attempt > 1:
                    self._registry.learn(manager, error, kind=task.type)
                return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error))
            case other:
                assert_never(other)

    async def finish(self) -> None:
        """Wait until the logs of what was accepted are begun."""
        await self._logs.finish()

    async def stop(self, task: TaskPk, manager: RunnerManager, task_id: RunnerTaskId) -> None:
        """Stop a run that belongs to no row, at once or as soon as it can be; its callback is ignored.

        Raises:
            DatabaseError: it goes on, and that could not be written down.
        """
        run = Run(manager.id, task_id)
        refused: DatabaseError | None = None
        # Before it is asked (I3): its callback is ignored, and nothing else would lead to it after a kill.
        try:
            async with self._database.connection() as connection:
                await unwanted_runs.add(connection, task, run)
        except DatabaseError as error:
            refused = error  # all the more now: nobody would ask later
        stop = await self._stop(manager, run)
        if stop.is_carried:
            # Pod has posted the same bytes for another task: a manager gives both the same id.
            return
        if stop.is_over:
            if refused is None:
                with suppress(DatabaseError):  # it is asked once more, and settled by that
                    async with self._database.connection() as connection:
                        await unwanted_runs.settle(connection, run)
            return
        log.warning(
            Event.SUBMISSION_ORPHANED,
            task=task,
            runner_manager=manager.name,
            task_id=task_id,
            reason=stop.words,
        )
        if refused is not None:
            raise refused
        self._wakeups.stops.ring()

    async def _stop(self, manager: RunnerManager, run: Run) -> Stop:
        try:
            return await stop_run(self._database, self._client, manager, run)
        except DatabaseError:
            # Hardly ever is a run shared, and one that nobody wants would occupy its runner for hours.
            return await stop_surely(self._client, manager, run)

    async def _store(self, runs: Sequence[AcceptedRun]) -> Sequence[StoredRun]:
        now = self._clock.now_in(self._pod.time_zone)
        async with self._database.connection() as connection:
            try:
                return await store_accepted(connection, runs, now=now)
            except ValuesRefusedError as error:
                if error.sqlstate != FOREIGN_KEY_VIOLATION:
                    raise
                # A manager, or a video, was deleted at this very moment: now that is seen.
                return await store_accepted(connection, runs, now=now)


def _orphaned_words(stored: StoredRun) -> str:
    """Why a run belongs to nobody, for people."""
    if stored.is_managerless:
        return "Its runner manager was removed from Pod meanwhile."
    other = stored.running_duplicate
    what = "changed the row" if other is None else f"started task {other} for the same source"
    return f"Someone else {what} meanwhile."

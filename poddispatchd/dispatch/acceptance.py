"""The answers of runner managers that took a task, stored together; and what follows from each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import assert_never
from zoneinfo import ZoneInfo

import structlog

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import ResultError, RowLockedError, RunnerManagerError, UnusableAnswerError
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import SubmissionOutcome
from poddispatchd.parts import Parts
from poddispatchd.pod import progress
from poddispatchd.pod.media.placing import replace_file
from poddispatchd.pod.media.threads import Look
from poddispatchd.runtime.batching import Batcher
from poddispatchd.tasks.acceptance import KNOWN_ID, AcceptedRun, Stored, Verdict, store_accepted

log = structlog.get_logger(__name__)


_PAUSES = (0.02, 0.1)
"""Seconds between looks at a row that someone holds: most are held for a moment only."""


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """How a submission ended.

    ``reason`` is in words, empty when it was accepted. ``is_final``: the row is not pending any more.
    ``hold``: seconds for which the task is to be left alone, when no manager is the reason.
    """

    outcome: SubmissionOutcome
    reason: str = ""
    is_final: bool = False
    hold: float = 0.0


class Acceptance:
    """Stores the ids of accepted tasks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runs: Batcher[AcceptedRun, Stored] = Batcher(self._store, at_once=2)
        self._logs: set[asyncio.Task[None]] = set()

    async def store(self, run: AcceptedRun, status: str, *, alone: bool = False) -> SubmissionResult:
        """Store the id of an accepted run, and do what follows from what became of it.

        Args:
            run: what was accepted.
            status: what the manager called it.
            alone: storing it made trouble before.

        Raises:
            RowLockedError: someone else's transaction holds the row.
            DatabaseError: the id could not be stored.
        """
        parts, task, manager = self._parts, run.task, run.manager
        stored = await self._runs.put(run, alone=alone)
        for pause in _PAUSES:
            if stored.verdict is not Verdict.LOCKED:
                break
            await parts.clock.sleep(pause)
            stored = await self._runs.put(run, alone=True)
        if stored.verdict is Verdict.LOCKED:
            raise RowLockedError(
                f"The row of task {task.pk} is held by another database session: its id cannot be stored.",
                task=task.pk,
            )
        parts.wakeups.inbox.ring()
        parts.wakeups.maintenance.ring()
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
                if run.output_directory:
                    self._begin_log(Path(run.output_directory))
                if status not in ("running", "pending"):
                    # It has ended already: what a callback would say is asked for at once.
                    parts.wakeups.reconciler.ring()
                return SubmissionResult(SubmissionOutcome.ACCEPTED)
            case Verdict.ORPHANED | Verdict.SETTLED:
                log.warning(Event.SUBMISSION_ORPHANED, **facts)
                await self.stop(manager, run.task_id)
                other = stored.running_duplicate
                what = "changed the row" if other is None else f"started task {other} for the same source"
                return SubmissionResult(SubmissionOutcome.ORPHANED, f"Someone else {what} meanwhile.")
            case Verdict.KNOWN:
                error = UnusableAnswerError(f"Runner manager {manager.name!r} {KNOWN_ID}.")
                log.error(
                    Event.SUBMISSION_REFUSED, task=task.pk, runner_manager=manager.name, reason=str(error)
                )
                if run.intent.attempt > 1:
                    parts.registry.learn(manager.id, error, kind=task.type)
                return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error))
            case other:
                assert_never(other)

    async def stop(self, manager: RunnerManager, task_id: RunnerTaskId) -> None:
        """Stop a task that belongs to no row; if that fails its callback is ignored later."""
        try:
            await self._parts.client.stop(manager, task_id)
        except RunnerManagerError as error:
            log.warning(
                Event.SUBMISSION_ORPHANED, runner_manager=manager.name, task_id=task_id, reason=str(error)
            )

    async def finished(self) -> None:
        """Wait until the logs of accepted encodings have been begun."""
        if self._logs:
            await asyncio.wait(self._logs)

    async def _store(self, runs: Sequence[AcceptedRun]) -> Sequence[Stored]:
        async with self._parts.database.connection() as connection:
            return await store_accepted(connection, runs, now=self._now())

    def _begin_log(self, directory: Path) -> None:
        """Create the output directory with its ``encoding.log``, as Pod does at submission; best effort.

        Nobody waits for it: the file system may hang.
        """
        writing = asyncio.create_task(self._write_log(directory), name=f"log in {directory}")
        self._logs.add(writing)
        writing.add_done_callback(self._logs.discard)

    async def _write_log(self, directory: Path) -> None:
        tree, pod = self._parts.media, self._parts.settings.pod
        line = progress.start_line(self._now()).encode() + b"\n"
        try:
            path = tree.path(directory.relative_to(pod.media_root).as_posix()) / "encoding.log"
            await tree.look(Look.LOG, replace_file, path, line)
        except (OSError, ValueError, ResultError) as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, path=str(directory), error=str(error))

    def _now(self) -> datetime:
        return self._parts.clock.now().astimezone(ZoneInfo(self._parts.settings.pod.time_zone))

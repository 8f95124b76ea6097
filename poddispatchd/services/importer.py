"""Finished tasks into Pod: lease, lock, download, verify, swap, one transaction, clean up (I5, I6, I7)."""

import asyncio
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import structlog

from poddispatchd.domain.backoff import full_jitter
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import wanted
from poddispatchd.domain.task import Task, TaskStatus
from poddispatchd.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    DownloadError,
    ImportBusyError,
    NoSpaceError,
    PoddispatchdError,
    RaceLostError,
    ResultError,
    ResultGoneError,
    ResultIncompleteError,
    ResultNotReadyError,
    ResultRefusedError,
    RunnerManagerError,
    RunnerTaskUnknownError,
    SchemaError,
)
from poddispatchd.events import Event
from poddispatchd.journal import imports, scheduling, submissions
from poddispatchd.journal.imports import LEASE_SECONDS, ImportJob, ImportState
from poddispatchd.metrics import ImportOutcome
from poddispatchd.pod import tasks
from poddispatchd.pod.media_tree import MediaTree, delete_files, ensure_directory, task_lock
from poddispatchd.runner.download import DownloadLimits, download_result
from poddispatchd.services.importing import Prepared, prepare, staging_directory
from poddispatchd.services.parts import Parts
from poddispatchd.services.reports import fail_task, requeue_task

log = structlog.get_logger(__name__)

_IDLE = 60.0
_RETRY_BASE = 10.0
_RETRY_CAP = 900.0
_BUSY_RETRY = 5.0


def instance_name() -> str:
    """This process among those of the same database: host, process id and when the process began."""
    return f"{socket.gethostname()}:{os.getpid()}:{_began(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether an instance of this host has ended; of other hosts nothing is known, and False is said."""
    host, _, rest = owner.partition(":")
    pid, _, began = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    return _began(int(pid)) != began


def _began(pid: int) -> str:
    """When a process began, in the kernel's clock ticks; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


@dataclass(frozen=True, slots=True)
class _Fate:
    """What follows from an attempt that did not end in an import."""

    outcome: ImportOutcome
    reason: str
    counts: bool = True
    seconds: float | None = None


class Importer:
    """Imports results, a few at a time; any number of daemons do it side by side."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def running(self) -> int:
        """Imports in progress."""
        return len(self._running)

    async def step(self) -> float:
        """Lease what is due and begin it; seconds until the next look."""
        parts = self._parts
        room = parts.settings.imports.concurrency - len(self._running)
        if room > 0 and not self._stopping:
            async with parts.database.connection() as connection:
                jobs = await imports.claim_due(connection, parts.instance, room)
            for job in jobs:
                work = asyncio.create_task(self._work(job), name=f"import of task {job.task_pk}")
                self._running.add(work)
                work.add_done_callback(self._done)
        if self._running:
            async with parts.database.connection() as connection:
                await imports.renew(connection, parts.instance)
            return LEASE_SECONDS / 4
        async with parts.database.connection() as connection:
            due = await imports.next_due(connection)
        return _IDLE if due.seconds is None else min(_IDLE, max(due.seconds, 0.1))

    async def release_dead(self) -> None:
        """Give back what daemons of this host held that ended without a word."""
        async with self._parts.database.connection() as connection:
            for owner in await imports.lease_owners(connection):
                if is_dead(owner):
                    await imports.release_owner(connection, owner)

    async def stop(self, seconds: float) -> None:
        """Take no new import; let those past their commit point finish, hand the others back."""
        self._stopping = True
        for work in self._running:
            work.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        try:
            async with self._parts.database.connection() as connection:
                await imports.release_owner(connection, self._parts.instance)
        except DatabaseError:
            log.warning(Event.IMPORT_RETRIED, reason="The leases run out by themselves: no database.")

    def _done(self, work: asyncio.Task[None]) -> None:
        self._running.discard(work)
        self._parts.wakes.importer.ring()

    async def _work(self, job: ImportJob) -> None:
        try:
            await self._attempt(job)
        except DatabaseUnavailableError:
            # The lease runs out or is released at the next start; the attempt is made again.
            self._parts.session.suspect()
        except asyncio.CancelledError:
            raise
        except Exception:  # a bug in one import must not stop the others
            log.exception(Event.SERVICE_CRASHED, job="import", task=job.task_pk)
            async with self._parts.database.connection() as connection:
                await imports.retry(
                    connection, job, seconds=_RETRY_CAP, error="An error nobody foresaw.", counts=True
                )

    async def _attempt(self, job: ImportJob) -> None:
        parts = self._parts
        async with parts.database.connection() as connection:
            task = await tasks.get_task(connection, job.task_pk)
        begun = parts.clock.monotonic()
        try:
            async with task_lock(parts.settings.pod.media_root, job.task_pk):
                done = await self._import(job)
        except RaceLostError as error:
            await self._drop(job, str(error))
        except (PoddispatchdError, OSError) as error:
            if isinstance(error, DatabaseUnavailableError):
                raise
            await self._failed(job, task, error)
        else:
            if done is not None:
                parts.metrics.imports.labels(done.type, ImportOutcome.COMPLETED).inc()
                parts.metrics.import_duration.labels(done.type).observe(parts.clock.monotonic() - begun)

    async def _import(self, job: ImportJob) -> Task | None:
        """Everything that happens under Pod's lock; the task, or None when there was nothing to do."""
        parts = self._parts
        async with parts.database.connection() as connection:
            task = await tasks.get_task(connection, job.task_pk)
        if task is None or task.status == TaskStatus.COMPLETED or task.task_id != job.task_id:
            await self._drop(job, "The row was completed, restarted or deleted by someone else.")
            return None
        manager = parts.fleet.get(job.runner_manager_id)
        if manager is None:
            await parts.refresh_managers(within=0.0)
            manager = parts.fleet.get(job.runner_manager_id)
        if manager is None:
            raise ResultGoneError("Its runner manager has been deleted from Pod.")
        log.info(Event.IMPORT_STARTED, task=task.pk, type=task.type.value, attempt=job.attempts)
        staging = await staging_directory(parts, task)
        await asyncio.to_thread(ensure_directory, staging.parent)
        size = await self._download(task, manager, staging)
        prepared = await prepare(parts, task, job, staging)
        commit = asyncio.ensure_future(self._commit(job, task, prepared, staging, size))
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            # From here to the commit nothing waits for the network: a stop lets it finish, under the lock.
            await commit
            raise
        return task

    async def _download(self, task: Task, manager: RunnerManager, staging: Path) -> int:
        parts = self._parts
        assert task.task_id is not None  # noqa: S101 - compared with the job's id by the caller
        manifest = await parts.client.manifest(manager, task.task_id)
        result = await download_result(
            parts.client,
            manager,
            task.task_id,
            wanted(manifest, task.type),
            staging,
            limits=DownloadLimits(
                max_size=parts.settings.imports.max_size, keep_free=parts.settings.imports.keep_free
            ),
            mode=parts.settings.pod.file_permissions,
            random=parts.clock.random,
            sleep=parts.clock.sleep,
            received=parts.metrics.download_bytes.inc,
        )
        return result.size

    async def _commit(self, job: ImportJob, task: Task, prepared: Prepared, staging: Path, size: int) -> None:
        """Files into place, then the one transaction that is the commit point (invariant I6)."""
        parts = self._parts
        await asyncio.to_thread(prepared.apply_files)
        async with parts.database.transaction() as connection:
            if not await imports.finish(connection, job, ImportState.DONE):
                raise RaceLostError("The lease of this import was lost.")
            if not await tasks.finish(connection, task, TaskStatus.COMPLETED):
                raise RaceLostError("Someone else changed the task's row meanwhile.")
            outcome = await prepared.write_rows(connection)
            await imports.replace_files(
                connection, task.pk, obsolete=outcome.obsolete_files, brought=prepared.brought
            )
            if outcome.chained_transcription is not None:
                await scheduling.add_own_tasks(connection, [outcome.chained_transcription])
        log.info(
            Event.TASK_COMPLETED,
            task=task.pk,
            type=task.type.value,
            video=outcome.video_id,
            bytes=size,
            result=outcome.summary,
        )
        for warning in outcome.warnings:
            log.warning(Event.IMPORT_WARNED, task=task.pk, warning=warning)
        await self._clean(staging, outcome.obsolete_files)
        parts.wakes.janitor.ring()
        if outcome.chained_transcription is not None:
            parts.wakes.dispatcher.ring()

    async def _clean(self, staging: Path, obsolete: tuple[str, ...]) -> None:
        """Delete what the import replaced and its staging directory; what remains is the janitor's."""
        parts = self._parts
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        if obsolete:
            tree = MediaTree(parts.settings.pod.media_root)
            problems = await asyncio.to_thread(delete_files, tree, obsolete)
            for problem in problems:
                log.warning(Event.MEDIA_NOT_WRITABLE, reason=problem)
            if not problems:
                async with parts.database.connection() as connection:
                    await imports.forget_files(connection, obsolete)

    # --- what did not work ------------------------------------------------------------------------------

    async def _drop(self, job: ImportJob, reason: str) -> None:
        async with self._parts.database.connection() as connection:
            await imports.finish(connection, job, ImportState.DROPPED, reason)
        log.info(Event.IMPORT_DROPPED, task=job.task_pk, reason=reason)

    async def _failed(self, job: ImportJob, task: Task | None, error: Exception) -> None:
        parts = self._parts
        if isinstance(error, RunnerManagerError):
            parts.fleet.learn(job.runner_manager_id, error)
        if task is None:
            await self._drop(job, "The row was deleted.")
            return
        async with parts.database.connection() as connection:
            submitted = await submissions.attempts(connection, task.pk, task.date_added)
        fate = _fate(
            error,
            attempts=job.attempts,
            max_attempts=parts.settings.imports.max_attempts,
            may_resubmit=max(submitted.since, 1) < parts.settings.reconcile.max_attempts,
            lost=parts.settings.reconcile.lost,
        )
        await self._meet(job, task, fate)
        parts.metrics.imports.labels(task.type, fate.outcome).inc()

    async def _meet(self, job: ImportJob, task: Task, fate: _Fate) -> None:
        parts = self._parts
        match fate.outcome:
            case ImportOutcome.RETRIED:
                delay = fate.seconds
                if delay is None:
                    delay = 1.0 + full_jitter(
                        job.attempts, base=_RETRY_BASE, cap=_RETRY_CAP, random=parts.clock.random
                    )
                async with parts.database.connection() as connection:
                    await imports.retry(connection, job, seconds=delay, error=fate.reason, counts=fate.counts)
                log.warning(
                    Event.IMPORT_RETRIED, task=task.pk, reason=fate.reason, in_seconds=round(delay, 1)
                )
                return
            case ImportOutcome.RESUBMITTED | ImportOutcome.FAILED:
                async with parts.database.transaction() as connection:
                    await imports.finish(connection, job, ImportState.FAILED, fate.reason)
                    if fate.outcome is ImportOutcome.RESUBMITTED:
                        await requeue_task(connection, task, fate.reason)
                    else:
                        await fail_task(connection, task, f"Its result cannot be imported: {fate.reason}")
                log.error(Event.IMPORT_FAILED, task=task.pk, reason=fate.reason, outcome=fate.outcome.value)
                parts.wakes.dispatcher.ring()
            case ImportOutcome.COMPLETED | ImportOutcome.DROPPED:
                return
            case _:
                assert_never(fate.outcome)
        try:
            staging = await staging_directory(parts, task)
        except ResultError:
            return
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)


def _fate(error: Exception, *, attempts: int, max_attempts: int, may_resubmit: bool, lost: str) -> _Fate:
    """What follows from an error: again later, a new submission, or the end."""
    reason = str(error) or type(error).__name__
    last = attempts >= max_attempts
    again = _Fate(ImportOutcome.RETRIED, reason)
    failed = _Fate(ImportOutcome.FAILED, reason)
    resubmitted = _Fate(ImportOutcome.RESUBMITTED, reason) if may_resubmit else failed
    match error:
        case ImportBusyError():
            return _Fate(ImportOutcome.RETRIED, reason, counts=False, seconds=_BUSY_RETRY)
        case ResultRefusedError():
            return failed
        case ResultIncompleteError():
            return resubmitted
        case RunnerTaskUnknownError() | ResultGoneError():
            return resubmitted if lost == "requeue" else failed
        case DownloadError() | ResultNotReadyError():
            return resubmitted if last else again
        case NoSpaceError() | SchemaError() | RunnerManagerError() | OSError():
            # Nothing is wrong with the result: it waits for a person, or for its manager.
            return _Fate(ImportOutcome.RETRIED, reason, counts=False)
        case _:
            return failed if last else again

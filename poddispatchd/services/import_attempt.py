"""One attempt to import a result: lock, download, verify, swap, one transaction, clean up (I5, I6, I7)."""

import asyncio
import shutil
from pathlib import Path
from typing import assert_never

import structlog

from poddispatchd.domain.import_fate import Fate, fate, longest_delay
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import wanted
from poddispatchd.domain.script_output import merge_output, storable
from poddispatchd.domain.task import RunnerStatus, Task, TaskStatus
from poddispatchd.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    ImportBusyError,
    MediaNotWritableError,
    NoSpaceError,
    PoddispatchdError,
    RaceLostError,
    ResultError,
    ResultGoneError,
    RunnerManagerError,
)
from poddispatchd.events import Event
from poddispatchd.journal import files, imports, notices, scheduling, submissions
from poddispatchd.journal.imports import ImportJob, ImportState
from poddispatchd.metrics import ImportOutcome
from poddispatchd.pod import staging as staging_area
from poddispatchd.pod import tasks, twins
from poddispatchd.pod.imports.common import ImportOutcome as Imported
from poddispatchd.pod.imports.common import ImportPlan
from poddispatchd.pod.media_tree import MediaTree, existing_files, task_lock
from poddispatchd.runner.download import DownloadLimits, download_result
from poddispatchd.services import leftovers
from poddispatchd.services.importing import prepare, staging_directory
from poddispatchd.services.parts import Parts
from poddispatchd.services.reports import Report, apply_report, fail_task, requeue_task, ring_for

log = structlog.get_logger(__name__)

_PATIENCE_WITH_DELETIONS = 20
"""Seconds for which an import waits until files that it brings again are deleted, before it is postponed."""

_UNFORESEEN = "poddispatchd met an error nobody foresaw ({name}): its log tells more."


class ImportAttempt:
    """One attempt of one importer at one import."""

    def __init__(self, parts: Parts, job: ImportJob) -> None:
        self._parts = parts
        self._job = job
        self._staging: Path | None = None
        self._holds_lock = False

    async def make(self) -> None:
        """Import the result, or settle what follows from not having been able to.

        Raises:
            DatabaseError: the attempt came to nothing; the lease is still held.
        """
        try:
            async with task_lock(self._parts.settings.pod.media_root, self._job.task_pk):
                self._holds_lock = True
                await self._under_lock()
        except (ImportBusyError, ResultError) as error:
            await self._failed(error)

    async def _under_lock(self) -> None:
        try:
            await self._import()
        except RaceLostError as error:
            await self._drop(str(error))
        except DatabaseUnavailableError:
            raise
        except (PoddispatchdError, OSError) as error:
            await self._failed(error)
        except Exception as error:  # a bug met by one result must end in words like any other trouble
            log.exception(Event.SERVICE_CRASHED, job="import", task=self._job.task_pk)
            await self._failed(PoddispatchdError(_UNFORESEEN.format(name=type(error).__name__)))

    # --- the way to the commit ---------------------------------------------------------------------------

    async def _import(self) -> None:
        """Everything up to the commit and its clean-up.

        Raises:
            RaceLostError: the result is not wanted any more, or another importer has it.
            PoddispatchdError: it could not be imported.
        """
        parts, job = self._parts, self._job
        begun = parts.clock.monotonic()
        async with parts.database.connection() as connection:
            task = await tasks.get_task(connection, job.task_pk)
        if task is None or not self._is_wanted(task):
            raise RaceLostError("The row was completed, restarted or deleted by someone else.")
        manager = await self._manager()
        log.info(Event.IMPORT_STARTED, task=task.pk, type=task.type.value, attempt=job.attempts)
        self._staging = await staging_directory(parts, task)
        await asyncio.to_thread(staging_area.clear, self._staging)
        size = await self._download(task, manager, self._staging)
        plan = await prepare(parts, task, job, self._staging)
        commit = asyncio.ensure_future(self._commit(task, plan, size, begun))
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            # From here on nothing waits for the network: a stop lets it finish, under the lock.
            await commit

    def _is_wanted(self, task: Task) -> bool:
        is_same = (task.task_id, task.runner_manager_id) == (self._job.task_id, self._job.runner_manager_id)
        return is_same and task.status != TaskStatus.COMPLETED

    async def _manager(self) -> RunnerManager:
        parts = self._parts
        # Its address or token may be new: nobody else looks while nothing is to be submitted, or elsewhere.
        await parts.refresh_managers()
        manager = parts.fleet.get(self._job.runner_manager_id)
        if manager is None:
            raise ResultGoneError("Its runner manager has been deleted from Pod.")
        return manager

    async def _download(self, task: Task, manager: RunnerManager, staging: Path) -> int:
        parts = self._parts
        manifest = await parts.client.manifest(manager, self._job.task_id)
        result = await download_result(
            parts.client,
            manager,
            self._job.task_id,
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
        parts.fleet.learn(manager.id, None)
        return result.size

    async def _record(self, brought: list[str]) -> None:
        """Commit what is about to be put in place: nothing of it stays if the import never ends well.

        Raises:
            RaceLostError: the lease is lost.
            ImportBusyError: one of these files is still being deleted.
        """
        parts = self._parts
        tree = MediaTree(parts.settings.pod.media_root)
        there = await asyncio.to_thread(existing_files, tree, brought)
        async with parts.database.transaction() as connection:
            if not await files.record_files(connection, self._job, brought, there=there):
                raise RaceLostError("The lease of this import was lost.")
        for _ in range(_PATIENCE_WITH_DELETIONS):
            async with parts.database.connection() as connection:
                if await files.reclaim_files(connection, brought):
                    return
            await parts.clock.sleep(1.0)
        raise ImportBusyError("Files that this result brings again are being deleted just now.")

    async def _commit(self, task: Task, plan: ImportPlan, size: int, begun: float) -> None:
        """Files into place, then the one transaction that is the commit point (invariant I6)."""
        parts, job = self._parts, self._job
        await self._record(sorted(plan.brought))
        await asyncio.to_thread(plan.apply_files)
        async with parts.database.transaction() as connection:
            # The row before its import, in the order of whoever applies a report: else they block each other.
            await tasks.lock_task(connection, task.pk)
            if not await imports.finish(connection, job, ImportState.DONE):
                raise RaceLostError("The lease of this import was lost.")
            if not await tasks.finish(connection, task, TaskStatus.COMPLETED):
                raise RaceLostError("Someone else changed the task's row meanwhile.")
            await twins.complete_sharers(connection, task)
            done = await plan.write_rows(connection)
            await leftovers.settle(connection, job, obsolete=done.obsolete_files, brought=plan.brought)
            if done.chained_transcription is not None:
                await scheduling.add_own_tasks(connection, [done.chained_transcription])
            await notices.add_completed(connection, task, done.video_id)
        self._tell(task, done, size)
        parts.metrics.imports.labels(task.type, ImportOutcome.COMPLETED).inc()
        parts.metrics.import_duration.labels(task.type).observe(parts.clock.monotonic() - begun)
        await self._clean()
        parts.wakes.janitor.ring()
        parts.wakes.notifier.ring()
        if done.chained_transcription is not None:
            parts.wakes.dispatcher.ring()

    def _tell(self, task: Task, done: Imported, size: int) -> None:
        log.info(
            Event.TASK_COMPLETED,
            task=task.pk,
            type=task.type.value,
            video=done.video_id,
            bytes=size,
            result=done.summary,
        )
        for warning in done.warnings:
            log.warning(Event.IMPORT_WARNED, task=task.pk, warning=warning)

    async def _clean(self) -> None:
        """Remove the staging directory and what is not needed any more; what remains is the janitor's."""
        self._parts.storage.usable(self._job.task_pk)
        if not self._holds_lock:
            # Whoever holds it may be putting files of the same names in place.
            return
        if self._staging is not None:
            await asyncio.to_thread(shutil.rmtree, self._staging, ignore_errors=True)
        try:
            await leftovers.discard_brought(self._parts, self._job.id, self._job.task_pk)
            await leftovers.delete_obsolete(self._parts, self._job.task_pk)
        except DatabaseError as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, task=self._job.task_pk, reason=str(error))

    # --- what did not work -------------------------------------------------------------------------------

    async def _drop(self, reason: str) -> None:
        """The result is not wanted any more, or another importer has it: leave without a trace."""
        async with self._parts.database.connection() as connection:
            task = await tasks.get_task(connection, self._job.task_pk)
            await imports.finish(connection, self._job, ImportState.DROPPED, reason)
        log.info(Event.IMPORT_DROPPED, task=self._job.task_pk, reason=reason)
        if task is not None:
            self._parts.metrics.imports.labels(task.type, ImportOutcome.DROPPED).inc()
        await self._clean()

    async def _failed(self, error: Exception) -> None:
        """Find out what follows from an error, and do it."""
        parts, job = self._parts, self._job
        if isinstance(error, RunnerManagerError):
            parts.fleet.learn(job.runner_manager_id, error)
        if isinstance(error, (NoSpaceError, MediaNotWritableError, OSError)):
            parts.storage.obstructed(str(error), job.task_pk)
        else:
            parts.storage.usable(job.task_pk)
        async with parts.database.connection() as connection:
            task = await tasks.get_task(connection, job.task_pk)
            if task is not None:
                submitted = await submissions.attempts(connection, task)
        if task is None or not self._is_wanted(task):
            await self._drop("The row was completed, restarted or deleted by someone else.")
            return
        decision = fate(
            error,
            attempts=job.attempts,
            max_attempts=parts.settings.imports.max_attempts,
            may_resubmit=max(submitted.since, 1) < parts.settings.reconcile.max_attempts,
            obstructed_for=job.obstructed_for,
            lost=parts.settings.reconcile.lost,
        )
        await self._meet(task, decision, storable(str(error)) or type(error).__name__)

    async def _meet(self, task: Task, decision: Fate, reason: str) -> None:
        match decision:
            case Fate.BUSY | Fate.RETRY | Fate.WAIT:
                await self._postpone(task, decision, reason)
            case Fate.ASK:
                await self._ask(task, reason)
            case Fate.RESUBMIT | Fate.FAIL:
                await self._settle(task, decision, reason)
            case _:
                assert_never(decision)

    async def _postpone(self, task: Task, decision: Fate, reason: str) -> None:
        parts, job = self._parts, self._job
        limit = longest_delay(decision, attempts=job.attempts, obstructed_for=job.obstructed_for)
        delay = 1.0 + limit * parts.clock.random()
        if self._staging is not None:
            # Nothing of it is used again, and the space may be what is missing.
            await leftovers.withdraw(parts, job)
            await asyncio.to_thread(shutil.rmtree, self._staging, ignore_errors=True)
            await leftovers.delete_obsolete(parts, job.task_pk)
        async with parts.database.connection() as connection:
            await imports.retry(
                connection,
                job,
                seconds=delay,
                error=reason,
                counts=decision is Fate.RETRY,
                obstructed=decision is Fate.WAIT,
            )
        parts.metrics.imports.labels(task.type, ImportOutcome.RETRIED).inc()
        log.warning(Event.IMPORT_RETRIED, task=task.pk, reason=reason, in_seconds=round(delay, 1))

    async def _ask(self, task: Task, reason: str) -> None:
        """The manager gives no result: take over what it says of the task now, as a callback would."""
        parts, job = self._parts, self._job
        try:
            manager = await self._manager()
            record = await parts.client.status(manager, job.task_id)
        except PoddispatchdError as error:
            await self._failed(error)
            return
        if record.status in (RunnerStatus.COMPLETED, RunnerStatus.WARNING, None):
            is_last = job.attempts >= parts.settings.imports.max_attempts
            await self._meet(task, Fate.FAIL if is_last else Fate.RETRY, reason)
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
            if current is not None and self._is_wanted(current):
                said = await apply_report(connection, current, report, retries=parts.retries)
        ring_for(said, parts.wakes)
        log.warning(Event.IMPORT_DROPPED, task=task.pk, reason=reason, status=record.status.value)
        parts.metrics.imports.labels(task.type, ImportOutcome.DROPPED).inc()
        await self._clean()

    async def _settle(self, task: Task, decision: Fate, reason: str) -> None:
        """Let the task run again, or end it in words; the result is given up."""
        parts, job = self._parts, self._job
        outcome = ImportOutcome.FAILED if decision is Fate.FAIL else ImportOutcome.RESUBMITTED
        async with parts.database.transaction() as connection:
            await tasks.lock_task(connection, task.pk)
            if not await imports.finish(connection, job, ImportState.FAILED, reason):
                return
            if decision is Fate.RESUBMIT:
                words = f"Its result cannot be imported, so that it is submitted again: {reason}"
                output = merge_output(task.script_output, words, None)
                await requeue_task(connection, task, reason, retries=parts.retries, output=output)
            else:
                await fail_task(connection, task, f"Its result cannot be imported: {reason}")
        log.error(Event.IMPORT_FAILED, task=task.pk, reason=reason, outcome=outcome.value)
        parts.metrics.imports.labels(task.type, outcome).inc()
        ring_for(Decision.FAIL if decision is Fate.FAIL else Decision.RETRY, parts.wakes)
        await self._clean()

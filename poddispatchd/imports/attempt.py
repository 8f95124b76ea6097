"""One attempt to import a result: lock, download, verify, swap, one transaction, clean up (I5, I6, I7)."""

import asyncio
from pathlib import Path

import structlog

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import wanted
from poddispatchd.domain.task import Task, TaskStatus
from poddispatchd.errors import (
    DatabaseUnavailableError,
    ImportBusyError,
    PoddispatchdError,
    RaceLostError,
    ResultError,
)
from poddispatchd.imports import cleanup, files
from poddispatchd.imports.attempt_state import ImportDesk
from poddispatchd.imports.failure_handling import FailureHandling
from poddispatchd.imports.preparation import prepare, staging_directory
from poddispatchd.journal import imports, notices, scheduling
from poddispatchd.journal.imports import ImportJob, ImportState
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import ImportOutcome
from poddispatchd.parts import Parts
from poddispatchd.pod import duplicates, tasks
from poddispatchd.pod import staging as staging_area
from poddispatchd.pod.imports.common import ImportedResult, ImportPlan
from poddispatchd.pod.media_tree import MediaTree, existing_files, task_lock
from poddispatchd.runner.download import DownloadLimits, download_result

log = structlog.get_logger(__name__)

_PATIENCE_WITH_DELETIONS = 20
"""Seconds for which an import waits until files that it brings again are deleted, before it is postponed."""

_UNFORESEEN = "poddispatchd met an error nobody foresaw ({name}): its log tells more."


class ImportAttempt:
    """One attempt of one importer at one import."""

    def __init__(self, parts: Parts, job: ImportJob) -> None:
        self._parts = parts
        self._job = job
        self._desk = ImportDesk(parts, job)
        self._failure_handling = FailureHandling(self._desk)

    async def make(self) -> None:
        """Import the result, or settle what follows from not having been able to.

        Raises:
            DatabaseError: the attempt came to nothing; the lease is still held.
        """
        try:
            async with task_lock(self._parts.settings.pod.media_root, self._job.task_pk):
                self._desk.holds_lock = True
                await self._under_lock()
        except (ImportBusyError, ResultError) as error:
            await self._failure_handling.failed(error)

    async def _under_lock(self) -> None:
        try:
            await self._import()
        except RaceLostError as error:
            await self._failure_handling.drop(str(error))
        except DatabaseUnavailableError:
            raise
        except (PoddispatchdError, OSError) as error:
            await self._failure_handling.failed(error)
        except Exception as error:  # a bug met by one result must end in words like any other trouble
            log.exception(Event.SERVICE_CRASHED, job="import", task=self._job.task_pk)
            await self._failure_handling.failed(
                PoddispatchdError(_UNFORESEEN.format(name=type(error).__name__))
            )

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
        if task is None or not self._desk.is_wanted(task):
            raise RaceLostError("The row was completed, restarted or deleted by someone else.")
        manager = await self._desk.manager()
        log.info(Event.IMPORT_STARTED, task=task.pk, type=task.type.value, attempt=job.attempts)
        self._desk.staging = await staging_directory(parts, task)
        await asyncio.to_thread(staging_area.clear, self._desk.staging)
        size = await self._download(task, manager, self._desk.staging)
        plan = await prepare(parts, task, job, self._desk.staging)
        commit = asyncio.ensure_future(self._commit(task, plan, size, begun))
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            # From here on nothing waits for the network: a stop lets it finish, under the lock.
            await commit

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
        parts.registry.learn(manager.id, None)
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
            await duplicates.complete_sharers(connection, task)
            done = await plan.write_rows(connection)
            await cleanup.settle(connection, job, obsolete=done.obsolete_files, brought=plan.brought)
            if done.chained_transcription is not None:
                await scheduling.add_own_tasks(connection, [done.chained_transcription])
            await notices.add_completed(connection, task, done.video_id)
        self._tell(task, done, size)
        parts.metrics.imports.labels(task.type, ImportOutcome.COMPLETED).inc()
        parts.metrics.import_duration.labels(task.type).observe(parts.clock.monotonic() - begun)
        await self._desk.clean()
        parts.wakeups.maintenance.ring()
        parts.wakeups.notifier.ring()
        if done.chained_transcription is not None:
            parts.wakeups.dispatcher.ring()

    def _tell(self, task: Task, done: ImportedResult, size: int) -> None:
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

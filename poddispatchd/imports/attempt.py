"""One attempt to import a result: lock, download, verify, swap, one transaction, clean up (I5, I6, I7).

The steps are those of ``ImportAttempt``, in their order. Whatever ends them early goes to
``FailureHandling``, which decides on the next action and carries it out.
"""

import asyncio

import structlog

from poddispatchd.database.pool import Connection
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import Manifest, left_out, wanted
from poddispatchd.domain.task import ManagerId, Task
from poddispatchd.errors import (
    DatabaseUnavailableError,
    DownloadError,
    ImportBusyError,
    NameTakenError,
    PoddispatchdError,
    RaceLostError,
    ResultError,
    ResultGoneError,
    ResultIncompleteError,
    RowLockedError,
)
from poddispatchd.imports import files
from poddispatchd.imports.failure_handling import FailedAttempt, FailureHandling, is_wanted
from poddispatchd.imports.obstacles import Obstacles
from poddispatchd.imports.preparation import Staged, check_tree, prepare, prove_placed, staging_directory
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal import notices
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import ImportOutcome
from poddispatchd.parts import Parts
from poddispatchd.pod import same_source
from poddispatchd.pod.imports.common import ImportedResult, ImportPlan, WantedTask, read_wanted_task
from poddispatchd.pod.lock_holders import held_row, taking
from poddispatchd.pod.media import staging as staging_area
from poddispatchd.pod.media.files import delete_temporaries, existing_files
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.results import StagingStorage
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.runner.download import DownloadLimits, download_result

log = structlog.get_logger(__name__)

_PATIENCE_WITH_DELETIONS = 20
"""Seconds for which an import waits until files that it brings again are deleted, before it is postponed."""

_PATIENCE_WITH_LOCKS = 10
"""How often the last transaction is tried while another session holds a row: about 20 seconds."""
LONGEST_ATTEMPT = 12 * 3600.0
"""Seconds that one attempt may take until its commit: 200 GB at 5 MB/s take eleven hours.

The download has limits of its own, by size; this is for whatever hangs all the same.
"""

_SLOWEST_COPY = 5 * 2**20
"""Bytes a second that a file system takes at least."""

_UNFORESEEN = "poddispatchd met an error nobody foresaw ({name}): its log tells more."


class ImportAttempt:
    """Makes attempts at imports; one object serves all of them, what belongs to one attempt is handed on."""

    def __init__(self, parts: Parts, obstacles: Obstacles) -> None:
        self._parts = parts
        self._failures = FailureHandling(parts, obstacles)

    async def make(self, job: ImportJob) -> None:
        """Import a result, or do what follows from not having been able to.

        Raises:
            DatabaseError: not even that could be written; the lease is still held.
        """
        try:
            async with task_lock(self._parts.media, job.task_pk) as tree:
                await self._under_lock(job, tree)
        except (ImportBusyError, ResultError) as error:
            await self._failures.handle(FailedAttempt(job, error))

    async def _under_lock(self, job: ImportJob, tree: MediaTree) -> None:
        staging: MediaPath | None = None
        try:
            wanted = await self._wanted_task(job)
            manager = await self._manager_of(job.runner_manager_id)
            task = wanted.task
            log.info(Event.IMPORT_STARTED, task=task.pk, type=task.type_name, attempt=job.attempts)
            await check_tree(self._parts, tree, wanted)
            staging = staging_directory(tree, wanted)
            await self._import(job, wanted, manager, staging)
        except RaceLostError as error:
            await self._failures.drop(FailedAttempt(job, error, tree, staging), str(error))
        except DatabaseUnavailableError:
            raise
        except (PoddispatchdError, OSError) as error:
            await self._failures.handle(FailedAttempt(job, error, tree, staging))
        except Exception as error:  # a bug met by one result must end in words like any other trouble
            log.exception(Event.SERVICE_CRASHED, job="import", task=job.task_pk)
            unforeseen = PoddispatchdError(_UNFORESEEN.format(name=type(error).__name__))
            await self._failures.handle(FailedAttempt(job, unforeseen, tree, staging))

    # --- the steps ---------------------------------------------------------------------------------------

    async def _wanted_task(self, job: ImportJob) -> WantedTask:
        """The task as it is now.

        Raises:
            RaceLostError: its row does not wait for this result any more.
            RowLockedError: another session holds a row that the import would write.
        """
        database = self._parts.database
        if job.task_pk in self._parts.locked_rows.tasks and await held_row(database, job.task_pk) is not None:
            raise RowLockedError("Another database session holds a row of this task.", task=job.task_pk)
        async with database.connection() as connection:
            # What somebody holds is about to be changed: nothing is fetched for it now.
            wanted = await read_wanted_task(connection, job.task_pk)
        if wanted is None or not is_wanted(job, wanted.task):
            raise RaceLostError("The row was completed, restarted or deleted by someone else.")
        return wanted

    async def _manager_of(self, manager_id: ManagerId) -> RunnerManager:
        """The manager that has the result.

        Raises:
            ResultGoneError: it is gone from Pod.
        """
        # Its address or token may be new: nobody else looks while nothing is to be submitted, or elsewhere.
        await self._parts.managers.refresh()
        manager = self._parts.registry.get(manager_id)
        if manager is None:
            raise ResultGoneError("Its runner manager has been deleted from Pod.")
        return manager

    async def _import(
        self, job: ImportJob, wanted: WantedTask, manager: RunnerManager, staging: MediaPath
    ) -> None:
        """Everything from the download to the clean-up after the commit.

        Raises:
            RaceLostError: the result is not wanted any more, or another importer has it.
            PoddispatchdError: it could not be imported.
        """
        task, begun = wanted.task, self._parts.clock.monotonic()
        try:
            async with asyncio.timeout(LONGEST_ATTEMPT):
                await staging.tree.run(staging_area.begin, staging, task.pk)
                manifest = await self._parts.client.manifest(manager, job.task_id)
                size = await self._download(job, task, manager, manifest, staging)
                async with self._parts.database.connection() as connection:
                    names = await files.known_names(connection, job)
                staged = Staged(staging, left_out(manifest, task.type), names)
                plan = await prepare(self._parts, task, job, staged)
        except TimeoutError:
            raise DownloadError(f"It took longer than {LONGEST_ATTEMPT / 3600:g} hours.") from None
        commit = asyncio.ensure_future(self._commit(job, wanted, plan, staged, size))
        try:
            done, has_obsolete = await asyncio.shield(commit)
        except asyncio.CancelledError:
            # From here on nothing waits for the network: a stop lets it finish, under the lock.
            done, has_obsolete = await commit
        self._parts.metrics.import_duration.labels(task.type).observe(self._parts.clock.monotonic() - begun)
        await self._failures.tidy(job, staging.tree, staging, has_obsolete=has_obsolete)
        self._wake(done)

    async def _download(
        self, job: ImportJob, task: Task, manager: RunnerManager, manifest: Manifest, staging: MediaPath
    ) -> int:
        parts = self._parts
        result = await download_result(
            parts.client,
            manager,
            job.task_id,
            wanted(manifest, task.type),
            StagingStorage(staging),
            limits=DownloadLimits(
                max_size=parts.settings.imports.max_size,
                keep_free=parts.settings.imports.keep_free,
                first_byte_timeout=parts.settings.imports.first_byte_timeout,
                min_rate=parts.settings.imports.min_rate,
            ),
            mode=parts.settings.pod.file_permissions,
            random=parts.clock.random,
            sleep=parts.clock.sleep,
            received=parts.metrics.download_bytes.inc,
        )
        parts.registry.learn(manager.id, None)
        return result.size

    async def _record(self, job: ImportJob, plan: ImportPlan, staged: Staged) -> None:
        """Commit what is about to be put in place: nothing of it stays if the import never ends well.

        Raises:
            RaceLostError: the lease is lost.
            ImportBusyError: one of these files is still being deleted, or another import has chosen its name.
        """
        parts, brought, stored = self._parts, sorted(plan.brought), sorted(plan.stored)
        tree, earlier = staged.directory.tree, staged.names.ours
        # What a crash of an earlier attempt left half-way: this one holds the task's lock.
        await tree.run(delete_temporaries, tree, {*earlier, *brought}, job.task_pk)
        there = await tree.run(existing_files, tree, brought)
        async with parts.database.transaction() as connection:
            if not await files.record_files(connection, job, brought, there=there, stored=stored):
                raise RaceLostError("The lease of this import was lost.")
        taken = await tree.run(existing_files, tree, stored) - earlier if stored else set()
        if taken:
            raise NameTakenError("Somebody else has taken the name of one of these files meanwhile.", *taken)
        for _ in range(_PATIENCE_WITH_DELETIONS):
            async with parts.database.connection() as connection:
                if await files.reclaim_files(connection, brought):
                    return
            await parts.clock.sleep(1.0)
        raise ImportBusyError("Files that this result brings again are being deleted just now.")

    async def _commit(
        self, job: ImportJob, wanted: WantedTask, plan: ImportPlan, staged: Staged, size: int
    ) -> tuple[ImportedResult, bool]:
        """Files into place, then the one transaction that is the commit point (invariant I6).

        Returns:
            What was imported, and whether files are to be deleted because of it.
        """
        parts, tree = self._parts, staged.directory.tree
        try:
            await self._record(job, plan, staged)
            # Files may have to be copied to another file system.
            await tree.run_within(tree.limits.file + size / _SLOWEST_COPY, plan.apply_files)
        except NameTakenError as error:
            async with parts.database.connection() as connection:
                await files.forget_recorded(connection, job, error.paths)
            raise
        except ResultIncompleteError:
            # What was staged has gone: with the whole tree, or the result is to blame.
            await check_tree(parts, tree, wanted)
            raise
        await prove_placed(parts, tree, wanted, plan.brought)
        for _ in range(_PATIENCE_WITH_LOCKS):
            try:
                written = await self._write_rows(job, wanted.task, plan)
                break
            except RowLockedError:
                # The result is in place: fetching it again would cost more than waiting a little.
                await parts.clock.sleep(1.0)
        else:
            written = await self._write_rows(job, wanted.task, plan)
        self._tell(wanted.task, written[0], size)
        return written

    async def _write_rows(self, job: ImportJob, task: Task, plan: ImportPlan) -> tuple[ImportedResult, bool]:
        """Write all rows, complete the task and close the import, or change nothing.

        Raises:
            RaceLostError: the result is not wanted any more.
            RowLockedError: another session holds a row.
        """
        # Whichever row it is, the task's, its video's or a sharer's: this task is the one that waits for it.
        async with self._parts.database.transaction() as connection:
            with taking(task.pk):
                return await self._written(connection, job, task, plan)

    async def _written(
        self, connection: Connection, job: ImportJob, task: Task, plan: ImportPlan
    ) -> tuple[ImportedResult, bool]:
        # The rows of tasks first, by primary key: the order of whoever applies a report to them.
        if not await same_source.complete(connection, task):
            raise RaceLostError("Someone else changed the task's row meanwhile.")
        done = await plan.write_rows(connection)
        chained = done.chained_transcription
        has_obsolete = await files.settle(
            connection,
            job,
            brought=plan.brought,
            obsolete=done.obsolete_files,
            own_tasks=() if chained is None else (chained,),
        )
        await notices.add_completed(connection, task, done.video_id, alerts=done.alerts)
        return done, has_obsolete

    def _tell(self, task: Task, done: ImportedResult, size: int) -> None:
        log.info(
            Event.TASK_COMPLETED,
            task=task.pk,
            type=task.type_name,
            video=done.video_id,
            bytes=size,
            result=done.summary,
        )
        for warning in done.warnings:
            log.warning(Event.IMPORT_WARNED, task=task.pk, warning=warning)
        self._parts.metrics.imports.labels(task.type, ImportOutcome.COMPLETED).inc()
        self._parts.incidents.recovered("import", task=task.pk, wrote=True)

    def _wake(self, done: ImportedResult) -> None:
        wakeups = self._parts.wakeups
        wakeups.maintenance.ring()
        wakeups.notifier.ring()
        if done.chained_transcription is not None:
            wakeups.dispatcher.ring()

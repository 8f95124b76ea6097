"""A result into place: files, the one transaction that is the commit point, a clean-up (I5, I6)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext, suppress
from typing import TypeVar

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.task import Task, TaskPk
from poddispatchd.errors import (
    DatabaseError,
    ImportBusyError,
    NameTakenError,
    RaceLostError,
    ResultError,
    ResultIncompleteError,
    RowLockedError,
)
from poddispatchd.imports import queue, recorded_files
from poddispatchd.imports.blocked_imports import ImportObstacles
from poddispatchd.imports.deletion import Deletion
from poddispatchd.imports.preparation import Preparation
from poddispatchd.imports.queue import ImportJob
from poddispatchd.imports.recorded_files import Recorded
from poddispatchd.journal import notices
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import ImportOutcome, Metrics
from poddispatchd.pod import duplicates
from poddispatchd.pod.imports.facts import WantedTask
from poddispatchd.pod.imports.plan import ImportedResult, ImportPlan
from poddispatchd.pod.lock_holders import taking
from poddispatchd.pod.media import staging as staging_area
from poddispatchd.pod.media.files import delete_temporaries, existing_files
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.item_errors import words_of

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_OTHERS_WITHIN = 20
"""Seconds for which an import waits for whoever deletes its files, or puts others in their places."""

_MOST_RETRIES = 20
"""How often a transaction is tried again while another session holds a row, after a second each: no session
of a daemon that is frozen lasts longer than 20 seconds."""

_SLOWEST_COPY = 5 * 2**20
"""Bytes a second that a file system takes at least."""


class ImportCommit:
    """Puts results in place.

    Args:
        database: Pod's.
        preparation: knows whether the media tree is the right one.
        obstacles: hear that nothing is in the way any more.
        deletion: removes what the result has replaced.
        incidents: hears that an import went well.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        preparation: Preparation,
        obstacles: ImportObstacles,
        deletion: Deletion,
        incidents: Incidents,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._preparation = preparation
        self._obstacles = obstacles
        self._deletion = deletion
        self._incidents = incidents
        self._metrics = metrics
        self._clock = clock
        self._choosing = asyncio.Lock()
        """Of whoever records files: those of this daemon wait here, without a connection."""
        self._writing = 0
        """Results whose rows are being written."""
        self._trying_again = asyncio.Lock()
        """Of whoever met a row that is held: all of them together wait with one connection."""
        self._is_stopping = False

    def stop(self) -> None:
        """Wait for nothing that others hold any more: the daemon is to end."""
        self._is_stopping = True

    async def record(self, job: ImportJob, plan: ImportPlan) -> None:
        """Commit what is about to be put in place: nothing of it stays if the import never ends well.

        Raises:
            RaceLostError: the lease is lost.
            ImportBusyError: one of these files is still being deleted, or another import brings it, or has
                chosen its name.
        """
        brought, stored = sorted(plan.brought), sorted(plan.stored)
        tree, earlier = plan.result.tree, plan.result.ours or frozenset()

        is_again = False

        async def write() -> Recorded:
            nonlocal is_again
            # Whoever waits for a row that another session holds keeps all others of this daemon waiting.
            hurried, is_again = is_again, True
            async with self._choosing, self._database.transaction(hurried=hurried) as connection:
                return await recorded_files.record_files(
                    connection, job, plan.result.task, brought, there=there, stored=stored
                )

        for _ in range(_OTHERS_WITHIN):
            # Anew each time: whoever was waited for has put files there.
            there = await tree.run(_cleared, tree, brought, earlier, job.task_pk)
            recorded = await self._with_retries(write)
            # Two results of one video, of two managers, have the same names: they must not be a mixture.
            if recorded is not Recorded.WAITS or self._is_stopping:
                break
            await self._clock.sleep(1.0)
        if recorded is Recorded.LOST:
            raise RaceLostError("The lease of this import was lost.")
        if recorded is Recorded.WAITS:
            raise ImportBusyError("Another result of the same video is being put in place just now.")
        # Looked at again: another import may have committed its files between the look and the record. And
        # Pod's web process chooses names of files, too, and does not ask our journal.
        found = await tree.run(existing_files, tree, brought) - earlier
        if appeared := found - there:
            async with self._database.connection() as connection:
                await recorded_files.keep_appeared(connection, job, appeared)
        if taken := found.intersection(stored):
            raise NameTakenError("Somebody else has taken the name of one of these files meanwhile.", *taken)
        for _ in range(_OTHERS_WITHIN):
            async with self._database.connection() as connection:
                if await recorded_files.reclaim_files(connection, brought):
                    return
            # A deletion under way has a lease of the file, and is waited for: it would take the new one.
            if self._is_stopping:
                break
            await self._clock.sleep(1.0)
        raise ImportBusyError("Files that this result brings again are being deleted just now.")

    async def commit(
        self, job: ImportJob, wanted: WantedTask, plan: ImportPlan
    ) -> tuple[ImportedResult, bool]:
        """Files into place, then the one transaction that is the commit point (invariant I6).

        Returns:
            What was imported, and whether files are to be deleted because of it.

        Raises:
            RaceLostError: the result is not wanted any more, or its task asks for something else by now.
            PoddispatchdError: it cannot be put in place.
        """
        tree, size = plan.result.tree, plan.result.size
        try:
            await self.record(job, plan)
            # Files may have to be copied to another file system.
            await tree.run_within(tree.limits.file + size / _SLOWEST_COPY, plan.apply_files)
        except NameTakenError as error:
            # What is there is somebody else's: it must not be deleted with what this import has brought.
            async with self._database.connection() as connection:
                await recorded_files.forget_recorded(connection, job, error.paths)
            raise
        except ResultIncompleteError:
            # What was staged has gone: with the whole tree, or the result is to blame.
            await self._preparation.check_tree(tree, wanted)
            raise
        await self._preparation.prove_placed(tree, wanted, plan.brought)
        written = await self._write_rows_with_retries(job, wanted.task, plan)
        self._tell(wanted.task, written[0], size)
        return written

    async def tidy(self, job: ImportJob, staging: MediaPath, *, has_obsolete: bool) -> None:
        """Remove what a committed import has left; what remains is for the next purge.

        ``has_obsolete``: there are files that are not needed any more. The caller holds the task's lock.
        """
        self._obstacles.imported(job)
        # A thread that hangs may still write there: the sweep removes it another time.
        if staging.tree.calls.hangs:
            return
        await staging_area.discard(staging)
        if has_obsolete:
            try:
                await self._deletion.delete_obsolete(job.task_pk)
            except (DatabaseError, ResultError) as error:
                log.warning(Event.MEDIA_NOT_WRITABLE, task=job.task_pk, reason=words_of(error))

    async def _with_retries(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """What an attempt returns, made again while another session holds a row or the names.

        The result has been fetched: to fetch it again would cost more than waiting a little. A stop does not
        wait: many results, each in its turn, would take all the time that it has.
        """
        for _ in range(_MOST_RETRIES):
            if self._is_stopping:
                break
            with suppress(RowLockedError):
                return await attempt()
            await self._clock.sleep(1.0)
        return await attempt()

    async def _write_rows_with_retries(
        self, job: ImportJob, task: Task, plan: ImportPlan
    ) -> tuple[ImportedResult, bool]:
        is_again = False

        async def write() -> tuple[ImportedResult, bool]:
            # Only one of many waits for long at once: they would take all connections from everybody else.
            nonlocal is_again
            async with self._trying_again if is_again else nullcontext():
                # The first may wait a second for a row; beside others, or once more, hardly: it adds up.
                hurried, is_again = is_again or self._writing > 0, True
                return await self._write_rows(job, task, plan, hurried=hurried)

        return await self._with_retries(write)

    async def _write_rows(
        self, job: ImportJob, task: Task, plan: ImportPlan, *, hurried: bool
    ) -> tuple[ImportedResult, bool]:
        """Write all rows, complete the task and close the import, or change nothing.

        Raises:
            RaceLostError: the result is not wanted any more.
            RowLockedError: another session holds a row.
        """
        # Whichever row it is, the task's, its video's or a sharer's: this task is the one that waits for it.
        self._writing += 1
        try:
            async with self._database.transaction(hurried=hurried) as connection:
                with taking(task.pk):
                    return await self._written(connection, job, task, plan)
        finally:
            self._writing -= 1

    async def _written(
        self, connection: Connection, job: ImportJob, task: Task, plan: ImportPlan
    ) -> tuple[ImportedResult, bool]:
        # The rows of tasks first, by primary key: the order of whoever applies a report to them.
        if not await duplicates.complete(connection, task):
            raise RaceLostError("Someone else changed the task's row meanwhile.")
        done = await plan.write_rows(connection)
        chained = done.chained_transcription
        has_obsolete = await queue.settle(
            connection,
            job,
            brought=plan.brought,
            obsolete=done.obsolete_files,
            own_tasks=() if chained is None else (chained,),
        )
        # With the rows: nobody is told of what was rolled back, and nobody is forgotten (I6).
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
        self._metrics.imports.labels(task.type, ImportOutcome.COMPLETED).inc()
        self._incidents.recovered("import", task=task.pk, wrote=True)


def _cleared(tree: MediaTree, brought: Collection[str], earlier: Collection[str], task: TaskPk) -> set[str]:
    """The files of an import at whose places there is something already (blocking)."""
    # What a crash of an earlier attempt left half-way: this one holds the task's lock.
    delete_temporaries(tree, {*earlier, *brought}, task)
    return existing_files(tree, brought)

"""What imports leave on the disk: replaced files, files of imports that were never committed, staging."""

import asyncio
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import PurePosixPath

import structlog

from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.errors import ImportBusyError, ResultError
from poddispatchd.imports import files
from poddispatchd.imports.files import BroughtFile
from poddispatchd.journal import imports
from poddispatchd.journal.imports import ImportId, ImportJob
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import tasks
from poddispatchd.pod.media_tree import MediaTree, delete_files, task_lock
from poddispatchd.pod.placing import temporary_name
from poddispatchd.pod.referenced_files import referenced_files
from poddispatchd.pod.staging import Staging, staging_directories
from poddispatchd.runtime.instances import is_dead

log = structlog.get_logger(__name__)

_BATCH = 100
"""Files claimed at once: few, since an import that brings one of them back waits for all of them."""

_CLOSED = 1000

_PODS_OWN = 86400.0
"""Seconds for which a directory that Pod's own code may have made is left alone, whatever its task."""

_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMEOUT)


async def delete_obsolete(parts: Parts, task: TaskPk | None = None) -> None:
    """Delete files that nobody needs any more, of one task or of all; no transaction is open meanwhile (I1).

    A file that a row of Pod names after all is kept (invariant I5); one that cannot be deleted is tried
    again at another time.
    """
    while True:
        async with parts.database.connection() as connection:
            claimed = await files.claim_obsolete_files(connection, parts.instance, _BATCH, task_pk=task)
            if not claimed:
                return
            named = await referenced_files(connection, parts.capabilities, claimed)
        problems = await _delete_claimed(parts, sorted(claimed - named))
        async with parts.database.transaction() as connection:
            await files.forget_obsolete_files(connection, parts.instance, claimed - problems.keys())
            await files.release_claims(connection, parts.instance, problems)
        for problem in problems.values():
            log.warning(Event.MEDIA_NOT_WRITABLE, reason=problem)
        if problems:
            return


async def _delete_claimed(parts: Parts, paths: list[str]) -> dict[str, str]:
    """Delete files in a thread, and keep the claims on them for as long as a slow file system takes."""
    tree = MediaTree(parts.settings.pod.media_root)
    deleting = asyncio.ensure_future(asyncio.to_thread(_delete, tree, paths))
    while not deleting.done():
        await asyncio.wait([deleting], timeout=files.CLAIM_SECONDS / 4)
        if not deleting.done():
            async with parts.database.connection() as connection:
                await files.renew_claims(connection, parts.instance, paths)
    return deleting.result()


def _delete(tree: MediaTree, paths: list[str]) -> dict[str, str]:
    problems = delete_files(tree, paths)
    directories = {directory for path in paths for directory in _of_a_video(PurePosixPath(path))}
    for directory in sorted(directories, key=lambda each: len(each.parts), reverse=True):
        # Of a video that was never made, say; anything in it keeps it.
        with suppress(OSError):
            (tree.root / directory).rmdir()
    return problems


def _of_a_video(path: PurePosixPath) -> list[PurePosixPath]:
    """The directory of a video that a path goes through, and those below it on its way."""
    directory = next((parent for parent in path.parents if parent.name.isdigit()), None)
    return [] if directory is None else [each for each in path.parents if each.is_relative_to(directory)]


async def release_dead_claims(parts: Parts) -> None:
    """Take over the deletions of daemons of this host that ended without a word."""
    async with parts.database.connection() as connection:
        for owner in await files.claimants(connection):
            if is_dead(owner):
                await files.release_claimant(connection, owner)


async def settle(
    connection: Connection, job: ImportJob, *, obsolete: Collection[str], brought: Collection[str]
) -> None:
    """An import is being committed: have deleted what it replaced, and what only earlier attempts brought."""
    superseded = await files.settle_files(connection, job, brought)
    await files.add_obsolete_files(connection, job.task_pk, sorted({*obsolete} - {*brought}))
    await _discard(connection, job.task_pk, superseded)


async def withdraw(parts: Parts, job: ImportJob) -> None:
    """Have the files deleted that an import has put in place so far, though it is going to be tried again."""
    async with parts.database.transaction() as connection:
        await _discard(connection, job.task_pk, await files.take_files(connection, job.id, job.owner))


async def discard_brought(parts: Parts, import_id: ImportId, task_pk: TaskPk) -> None:
    """Have the files deleted that a closed import put in place and did not commit.

    None of them goes when somebody else completed the task: its result has the same names. The caller holds
    the task's lock, so that nobody is putting files in place meanwhile.
    """
    async with parts.database.transaction() as connection:
        brought = await files.take_files(connection, import_id, parts.instance)
        task = await tasks.get_task(connection, task_pk) if brought else None
        is_kept = task is not None and task.status == TaskStatus.COMPLETED
        await _discard(connection, task_pk, brought, keep=is_kept)


async def _discard(
    connection: Connection, task_pk: TaskPk, brought: list[BroughtFile], *, keep: bool = False
) -> None:
    """What was there before, under the same names, stays: rows name it, and a viewer may watch it."""
    paths = {temporary_name(file.path) for file in brought}
    paths.update(file.path for file in brought if file.is_new and not keep)
    await files.add_obsolete_files(connection, task_pk, sorted(paths))


async def sweep(parts: Parts) -> None:
    """Tidy up after crashes: files of closed imports, staging directories without an open import."""
    async with parts.database.connection() as connection:
        closed = await files.closed_with_files(connection, _CLOSED)
    for import_id, task_pk in closed:
        try:
            async with task_lock(parts.settings.pod.media_root, task_pk):
                await discard_brought(parts, import_id, task_pk)
        except (ImportBusyError, ResultError):
            continue
    await _sweep_staging(parts)


async def _sweep_staging(parts: Parts) -> None:
    pod = parts.settings.pod
    found = await asyncio.to_thread(staging_directories, pod.media_root, pod.videos_dir)
    if not found:
        return
    candidates = await _stale(parts, found)
    for staging in candidates:
        try:
            async with task_lock(pod.media_root, staging.task):
                if await _stale(parts, [staging]):
                    await asyncio.to_thread(shutil.rmtree, staging.path)
        except ImportBusyError:
            continue
        except (ResultError, OSError) as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, path=str(staging.path), error=str(error))


async def _stale(parts: Parts, found: list[Staging]) -> list[Staging]:
    """Those that no import needs: neither one that the journal knows, nor one of Pod's own code."""
    async with parts.database.connection() as connection:
        known = await imports.known_tasks(connection, {staging.task for staging in found})
        return [
            staging
            for staging in found
            if not (
                known[staging.task]
                if staging.task in known
                else not staging.is_ours and await _may_be_pods(connection, parts, staging)
            )
        ]


async def _may_be_pods(connection: Connection, parts: Parts, staging: Staging) -> bool:
    """Whether Pod's own code may still need it: it is young, or its task is not over."""
    if parts.clock.now().timestamp() - staging.changed_at < _PODS_OWN:
        return True
    task = await tasks.get_task(connection, staging.task)
    return task is not None and task.status not in _OVER

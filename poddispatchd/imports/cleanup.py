"""What imports leave on the disk: replaced files, files of imports that were never committed, staging."""

from collections.abc import Collection
from contextlib import suppress
from functools import partial

import structlog

from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    ImportBusyError,
    MediaSlowError,
    ResultError,
)
from poddispatchd.imports import files
from poddispatchd.imports.files import BroughtFile
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal import imports
from poddispatchd.journal.imports import ImportId
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import tasks
from poddispatchd.pod.media.files import (
    delete_empty_directories,
    delete_files,
    delete_temporaries,
    delete_tree,
)
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.staging import Staging, staging_directories
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.referenced_files import referenced_files
from poddispatchd.runtime.item_errors import is_to_blame, words_of
from poddispatchd.runtime.lease_holder import LeaseHolder
from poddispatchd.runtime.lease_queue import Lease
from poddispatchd.runtime.queues import FILES

log = structlog.get_logger(__name__)

_BATCH = 100
"""Files claimed at once: few, since an import that brings one of them back waits for all of them."""

_PUT_OFF = 60.0
"""Seconds until files are looked at again that the database could say nothing about."""

_CLOSED = 1000

_PODS_OWN = 86400.0
"""Seconds for which a directory that Pod's own code may have made is left alone, whatever its task."""

_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMEOUT)


async def delete_obsolete(parts: Parts, task: TaskPk | None = None) -> None:
    """Delete files that nobody needs any more, of one task or of all; no transaction is open meanwhile (I1).

    A file that a row of Pod names after all is kept (invariant I5); one that cannot be deleted is tried
    again at another time. Nothing is deleted from a media tree that may not be the right one.
    """
    if await parts.evidence.check() is not None:
        return
    leases = LeaseHolder(FILES, parts.database, parts.instance, parts.clock)
    only = None if task is None else [str(task)]
    while items := await leases.claim(_BATCH, only=only):
        of_path = {str(item.lease.key): item.lease for item in items}
        try:
            problems = await _delete_unless_needed(parts, sorted(of_path))
            for path, problem in problems.items():
                await _not_deleted(parts, of_path[path], path, problem)
        except DatabaseUnavailableError:
            raise
        except DatabaseError as error:
            await _put_off(parts, of_path.values(), error)
            return
        finally:
            for lease in of_path.values():
                leases.let_go(lease)
        if len(items) < _BATCH:
            return


async def _delete_unless_needed(parts: Parts, paths: list[str]) -> dict[str, str]:
    """Delete files and forget them; which could not be deleted, and why.

    Should something else go wrong with many, they are tried one by one: one of them must not keep the others
    (invariant I12).

    Raises:
        DatabaseError: what it would refuse for every file, as after a migration of Pod's.
    """
    try:
        async with parts.database.connection() as connection:
            named = await referenced_files(connection, parts.catalogue.capabilities, paths)
        needless = [path for path in paths if path not in named]
        tree = MediaTree.sharing(parts.media)
        problems = await tree.run_within(tree.limits.file, partial(_delete, tree, needless))
        async with parts.database.connection() as connection:
            await files.forget_obsolete_files(connection, parts.instance, {*paths} - problems.keys())
    except MediaSlowError as error:
        return dict.fromkeys(paths, str(error))
    except Exception as error:
        if not is_to_blame(error):
            raise
        if len(paths) == 1:
            return {paths[0]: words_of(error)}
        problems = {}
        for path in paths:
            problems |= await _delete_unless_needed(parts, [path])
    return problems


async def _put_off(parts: Parts, leases: Collection[Lease], error: DatabaseError) -> None:
    """Later, uncounted: it is no fault of these files (invariant I16)."""
    words = words_of(error)
    async with parts.database.connection() as connection:
        for lease in leases:
            await FILES.postpone(connection, lease, _PUT_OFF, words=words)
    log.warning(
        Event.QUEUE_ITEM_POSTPONED,
        queue=FILES.table.name,
        items=len(leases),
        reason=words,
        in_seconds=_PUT_OFF,
    )


async def _not_deleted(parts: Parts, lease: Lease, path: str, problem: str) -> None:
    """Another time, after all others; after many attempts a person has to look."""
    async with parts.database.connection() as connection:
        seconds = await FILES.fail(connection, lease, problem, random=parts.clock.random)
    if seconds is None:
        log.error(Event.QUEUE_ITEM_SET_ASIDE, queue=FILES.table.name, item=path, reason=problem)
    else:
        log.warning(Event.MEDIA_NOT_WRITABLE, reason=problem)


def _delete(tree: MediaTree, paths: list[str]) -> dict[str, str]:
    problems = delete_files(tree, paths)
    delete_empty_directories(tree, paths)
    return problems


async def withdraw(parts: Parts, job: ImportJob, tree: MediaTree) -> None:
    """Have the files deleted that an import has put in place so far, though it is going to be tried again.

    The caller holds the task's lock.
    """
    async with parts.database.transaction() as connection:
        brought = await files.take_files(connection, job.id, job.owner)
        await _discard(connection, job.task_pk, brought)
    await _tidy(tree, job.task_pk, brought)


async def discard_brought(parts: Parts, tree: MediaTree, import_id: ImportId, task_pk: TaskPk) -> None:
    """Have the files deleted that a closed import put in place and did not commit.

    None of them goes when somebody else completed the task: its result has the same names. The caller holds
    the task's lock, so that nobody is putting files in place meanwhile.
    """
    async with parts.database.transaction() as connection:
        brought = await files.take_files(connection, import_id, parts.instance)
        task = await tasks.get_task(connection, task_pk) if brought else None
        is_kept = task is not None and task.status == TaskStatus.COMPLETED
        await _discard(connection, task_pk, brought, keep=is_kept)
    await _tidy(tree, task_pk, brought)


async def _tidy(tree: MediaTree, task_pk: TaskPk, brought: list[BroughtFile]) -> None:
    """Delete what an import left half-way beside the files that it brought or was about to bring."""
    if brought:
        with suppress(ResultError):
            await tree.run(delete_temporaries, tree, [file.path for file in brought], task_pk)


async def _discard(
    connection: Connection, task_pk: TaskPk, brought: list[BroughtFile], *, keep: bool = False
) -> None:
    """What was there before, under the same names, stays: rows name it, and a viewer may watch it."""
    paths = {file.path for file in brought if file.is_new and not keep}
    await files.add_obsolete_files(connection, task_pk, sorted(paths))


async def sweep(parts: Parts) -> None:
    """Tidy up after crashes: files of closed imports, staging directories without an open import.

    Nothing is touched in a media tree that may not be the right one.
    """
    if await parts.evidence.check() is not None:
        return
    async with parts.database.connection() as connection:
        closed = await files.closed_with_files(connection, _CLOSED)
    for import_id, task_pk in closed:
        try:
            async with task_lock(parts.media, task_pk) as tree:
                await discard_brought(parts, tree, import_id, task_pk)
        except MediaSlowError as error:
            log.warning(Event.MEDIA_SLOW, reason=str(error))
            return
        except (ImportBusyError, ResultError):
            continue
    await _sweep_staging(parts)


async def _sweep_staging(parts: Parts) -> None:
    media, videos_dir = parts.media, parts.settings.pod.videos_dir
    try:
        found = await media.look_within(
            media.limits.step, Look.LEFTOVERS, lambda: staging_directories(media, videos_dir)
        )
    except MediaSlowError as error:
        log.warning(Event.MEDIA_SLOW, reason=str(error))
        return
    if not found:
        return
    candidates = await _stale(parts, found)
    for staging in candidates:
        try:
            async with task_lock(media, staging.task) as tree:
                if await _stale(parts, [staging]):
                    await tree.run_within(tree.limits.file, partial(delete_tree, staging.path))
        except ImportBusyError:
            continue
        except ResultError as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, path=str(staging.path), error=str(error))
            if isinstance(error, MediaSlowError):
                return


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

"""What imports leave on the disk: replaced files, files of imports that were never committed, staging."""

import asyncio
import shutil
from pathlib import PurePosixPath

import structlog

from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.errors import ImportBusyError
from poddispatchd.events import Event
from poddispatchd.journal import imports
from poddispatchd.journal.imports import ImportId
from poddispatchd.pod import tasks
from poddispatchd.pod.media_tree import MediaTree, delete_files, task_lock, temporary_name
from poddispatchd.pod.named_files import named_files
from poddispatchd.pod.staging import Staging, staging_directories
from poddispatchd.services.parts import Parts

log = structlog.get_logger(__name__)

_BATCH = 100
"""Files deleted in one transaction: few, since an import that brings one of them back waits for it."""

_CLOSED = 1000


async def delete_obsolete(parts: Parts, task: TaskPk | None = None) -> None:
    """Delete files that nobody needs any more, of one task or of all.

    A file that a row of Pod names after all is kept (invariant I5); one that cannot be deleted is tried
    again at another time.
    """
    tree = MediaTree(parts.settings.pod.media_root)
    while True:
        async with parts.database.transaction() as connection:
            taken = await imports.take_obsolete_files(connection, _BATCH, task_pk=task)
            named = await named_files(connection, parts.capabilities, taken) if taken else frozenset()
            problems = await asyncio.to_thread(_delete, tree, [path for path in taken if path not in named])
            for path in problems:
                await imports.add_obsolete_files(connection, taken[path], [path])
        for problem in problems.values():
            log.warning(Event.MEDIA_NOT_WRITABLE, reason=problem)
        if problems or len(taken) < _BATCH:
            return


def _delete(tree: MediaTree, paths: list[str]) -> dict[str, str]:
    problems = delete_files(tree, paths)
    for directory in {PurePosixPath(path).parent for path in paths}:
        if directory.name.isdigit():
            # The directory of a video that was never made, say; anything in it keeps it.
            try:
                (tree.root / directory).rmdir()
            except OSError:
                continue
    return problems


async def discard_brought(parts: Parts, import_id: ImportId, task_pk: TaskPk) -> None:
    """Have the files deleted that a closed import put in place and did not commit.

    Files that were there before, under the same names, stay: rows name them, and a viewer may watch them.
    So do all of them when somebody else completed the task: its result has the same names. The caller holds
    the task's lock, so that nobody is putting files in place meanwhile.
    """
    async with parts.database.transaction() as connection:
        brought = await imports.take_files(connection, import_id)
        if not brought:
            return
        task = await tasks.get_task(connection, task_pk)
        is_kept = task is not None and task.status == TaskStatus.COMPLETED
        paths = {temporary_name(file.path) for file in brought}
        paths.update(file.path for file in brought if file.is_new and not is_kept)
        await imports.add_obsolete_files(connection, task_pk, sorted(paths))


async def sweep(parts: Parts) -> None:
    """Tidy up after crashes: files of closed imports, staging directories without an open import."""
    async with parts.database.connection() as connection:
        closed = await imports.closed_with_files(connection, _CLOSED)
    for import_id, task_pk in closed:
        try:
            async with task_lock(parts.settings.pod.media_root, task_pk):
                await discard_brought(parts, import_id, task_pk)
        except (ImportBusyError, OSError):
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
        except OSError as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, path=str(staging.path), error=str(error))


async def _stale(parts: Parts, found: list[Staging]) -> list[Staging]:
    """Those that no import needs. What Pod's own code may have made is ours only if the journal knows it."""
    async with parts.database.connection() as connection:
        known = await imports.known_tasks(connection, {staging.task for staging in found})
    return [staging for staging in found if not known.get(staging.task, not staging.is_ours)]

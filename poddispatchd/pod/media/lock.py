"""Pod's own lock of a task: its code and ours never import the same result at once (invariant I7).

The files of these locks tell, besides, when results were imported.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from threading import Lock

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import ImportBusyError
from poddispatchd.file_errors import disk_error
from poddispatchd.pod.media.opened import close_lock
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

_LOCKS = ".runner_task_locks"


@asynccontextmanager
async def task_lock(tree: MediaTree, task: TaskPk) -> AsyncIterator[MediaTree]:
    """Hold Pod's own lock of a task, and give a tree for the work under it.

    The lock is held for as long as any of that work goes on, even when nobody waits for it any more. The file
    is never unlinked: a process that waits on an unlinked lock file would hold nothing.

    Raises:
        ImportBusyError: another process holds it, or a thread of ours that hangs.
        NoSpaceError: its file cannot be made: the disk is full.
        MediaNotWritableError: its file cannot be used; also when the file system does not answer.
    """
    held = MediaTree.sharing(tree, task)
    lock = _Lock(held, task)
    try:
        await held.run(lock.acquire)
    except BaseException:
        # The thread may go on: what it acquires must not stay held by a process that goes on, too.
        held.later(lock.release)
        raise
    try:
        yield held
    finally:
        await _release(held, lock)


async def _release(held: MediaTree, lock: "_Lock") -> None:
    """Give the lock back as soon as no work goes on under it; waited for unless something hangs."""
    loop = asyncio.get_running_loop()
    released = loop.create_future()

    def release() -> None:
        lock.release()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_set, released)

    held.later(release)
    if not held.calls.hangs:
        await asyncio.wait({released}, timeout=held.limits.look)


def _set(released: "asyncio.Future[None]") -> None:
    if not released.done():
        released.set_result(None)


class _Lock:
    """The lock of a task; both methods block."""

    def __init__(self, tree: MediaTree, task: TaskPk) -> None:
        self._tree = tree
        self._task = task
        self._descriptor: int | None = None
        self._is_over = False
        self._guard = Lock()

    def acquire(self) -> None:
        """Take it, unless it has been given back already: then nobody waits for it any more."""
        descriptor = _acquire(self._tree, self._task)
        with self._guard:
            if not self._is_over:
                self._descriptor = descriptor
                return
        close_lock(descriptor)

    def release(self) -> None:
        """Give it back, and do not take it any more."""
        with self._guard:
            self._is_over = True
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            close_lock(descriptor)


def _acquire(tree: MediaTree, task: TaskPk) -> int:
    place = tree.top / _LOCKS
    name = f"{task}.lock"
    try:
        with place.made() as directory:
            return directory.lock_file(name)
    except BlockingIOError:
        raise ImportBusyError(f"Another process is importing task {task}.") from None
    except OSError as error:
        raise disk_error(error, f"{place / name} cannot be locked") from error


async def first_imports(tree: MediaTree, tasks: Collection[TaskPk]) -> dict[TaskPk, float]:
    """When (Unix time) the result of each of these was first imported, or begun to be; others are absent.

    A lock file is made at that moment and never written to or deleted, by Pod's own code neither. No backup
    of the database holds it.

    Raises:
        OSError: the media tree cannot be read.
        MediaSlowError: it does not answer.
    """
    return await tree.look(Look.LOCKS, _first_imports, tree, tasks)


def _first_imports(tree: MediaTree, tasks: Collection[TaskPk]) -> dict[TaskPk, float]:
    try:
        directory = (tree.top / _LOCKS).opened()
    except FileNotFoundError:
        return {}
    with directory:
        found = {task: directory.status(f"{task}.lock") for task in tasks}
    return {task: status.changed_at for task, status in found.items() if status is not None}

"""Pod's own lock of a task: its code and ours never import the same result at once (invariant I7)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import ImportBusyError, disk_error
from poddispatchd.pod.media.directory import close_lock
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
    acquiring = asyncio.ensure_future(held.run(_acquire, held, task))
    try:
        descriptor = await asyncio.shield(acquiring)
    except asyncio.CancelledError:
        # The thread goes on: what it acquires must not stay held by a process that goes on, too.
        acquiring.add_done_callback(lambda _: _release_unwanted(held, acquiring))
        raise
    try:
        yield held
    finally:
        await _release(held, descriptor)


async def _release(held: MediaTree, descriptor: int) -> None:
    released = asyncio.get_running_loop().create_future()

    def release() -> None:
        close_lock(descriptor)
        with suppress(RuntimeError):
            released.get_loop().call_soon_threadsafe(_set, released)

    held.later(release)
    if not held.lane.hangs:
        await asyncio.wait({released}, timeout=held.limits.look)


def _set(released: "asyncio.Future[None]") -> None:
    if not released.done():
        released.set_result(None)


def _release_unwanted(held: MediaTree, acquiring: "asyncio.Future[int]") -> None:
    if not acquiring.cancelled() and acquiring.exception() is None:
        descriptor = acquiring.result()
        held.later(lambda: close_lock(descriptor))


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

"""Pod's media tree: where things lie, who may touch a task's files, and which files there are."""

import asyncio
import fcntl
import os
import posixpath
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from poddispatchd.domain.naming import video_number
from poddispatchd.domain.task import TaskPk, VideoId
from poddispatchd.errors import ImportBusyError, ResultRefusedError, disk_error

DERIVED = ".poddispatchd"
"""Directory inside a staging directory for the files we make ourselves; never part of a result."""

_DIRECTORY_MODE = 0o755
_LARGEST_TEXT = 16 * 2**20


@dataclass(frozen=True, slots=True)
class MediaTree:
    """MEDIA_ROOT. Paths that come from rows or results are relative to it and may not leave it."""

    root: Path

    def path(self, relative: str) -> Path:
        """The absolute path of a file named in a row.

        Raises:
            ResultRefusedError: the name is empty or absolute, leaves MEDIA_ROOT, or goes through a symbolic
                link that does.
        """
        if not relative or relative.startswith("/") or "\0" in relative or ".." in relative.split("/"):
            raise ResultRefusedError(f"The path {relative!r} does not lie inside MEDIA_ROOT.")
        path = self.root / relative
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ResultRefusedError(f"The path {relative!r} leads out of MEDIA_ROOT by a symbolic link.")
        return path

    def output_directory(self, video_file: str, video_id: VideoId) -> str:
        """Where the files of a video lie, relative to MEDIA_ROOT: beside its video file.

        Pod computes it from the owner of today instead, and so loses the files of a video that changed hands.
        """
        return posixpath.join(posixpath.dirname(video_file), video_number(video_id))

    def staging_directory(self, video_file: str, video_id: VideoId, task: TaskPk) -> Path:
        """Where a result is downloaded: hidden, beside the output directory, hence on its file system.

        Raises:
            ResultRefusedError: the video file does not lie inside MEDIA_ROOT.
        """
        name = f".{video_number(video_id)}.poddispatchd-{task}"
        return self.path(posixpath.join(posixpath.dirname(video_file), name))

    def studio_staging_directory(self, task: TaskPk) -> Path:
        """Where the result of a studio task is downloaded, as Pod does: ``tasks/<task pk>``."""
        return self.path(f"tasks/{task}")


@asynccontextmanager
async def task_lock(media_root: Path, task: TaskPk) -> AsyncIterator[None]:
    """Hold Pod's own lock of a task (invariant I7): its code and ours never import the same result at once.

    The file is never unlinked: a process that waits on an unlinked lock file would hold nothing.

    Raises:
        ImportBusyError: another process holds it.
        NoSpaceError: its file cannot be made: the disk is full.
        MediaNotWritableError: its file cannot be used.
    """
    acquiring = asyncio.ensure_future(asyncio.to_thread(_acquire, media_root / ".runner_task_locks", task))
    try:
        descriptor = await asyncio.shield(acquiring)
    except asyncio.CancelledError:
        # The thread goes on: what it acquires must not stay held by a process that goes on, too.
        acquiring.add_done_callback(_close_unwanted)
        raise
    try:
        yield
    finally:
        await asyncio.to_thread(os.close, descriptor)


def _close_unwanted(acquiring: "asyncio.Future[int]") -> None:
    if not acquiring.cancelled() and acquiring.exception() is None:
        os.close(acquiring.result())


def _acquire(directory: Path, task: TaskPk) -> int:
    path = directory / f"{task}.lock"
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise disk_error(error, f"{path} cannot be opened") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ImportBusyError(f"Another process is importing task {task}.") from None
    except OSError as error:
        os.close(descriptor)
        raise disk_error(error, f"{path} cannot be locked") from error
    return descriptor


def list_files(directory: Path) -> dict[str, int]:
    """Names (relative, with ``/``) and sizes of the files below a directory, ours left out.

    Raises:
        ResultRefusedError: something in it is neither a file nor a directory.
        ResultError: the directory cannot be read.
    """
    found: dict[str, int] = {}
    try:
        _walk(directory, "", found)
    except OSError as error:
        raise disk_error(error, f"The files in {directory} cannot be listed") from error
    return found


def _walk(directory: Path, prefix: str, found: dict[str, int]) -> None:
    if not directory.is_dir():
        return
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if name != DERIVED:
                    _walk(Path(entry.path), f"{name}/", found)
            elif entry.is_file(follow_symlinks=False):
                found[name] = entry.stat(follow_symlinks=False).st_size
            else:
                raise ResultRefusedError(f"{name} in the result is not a plain file.")


def read_text(path: Path) -> bytes:
    """A file that is small if it is what its name says: playlists, subtitles, JSON.

    Raises:
        ResultRefusedError: it is larger than any of these.
        MediaNotWritableError: the disk does not give it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_TEXT + 1)
    except OSError as error:
        raise disk_error(error, f"{path} cannot be read") from error
    if len(content) > _LARGEST_TEXT:
        raise ResultRefusedError(f"{path.name} is larger than {_LARGEST_TEXT // 2**20} MiB.")
    return content


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a file.

    Raises:
        MediaNotWritableError: the disk does not give it.
    """
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise disk_error(error, f"{path} cannot be read") from error


def same_content(first: Path, second: Path) -> bool:
    """Whether two files hold the same bytes; false when either cannot be read."""
    try:
        if first.stat().st_size != second.stat().st_size:
            return False
        with first.open("rb") as left, second.open("rb") as right:
            while True:
                chunk = left.read(1 << 20)
                if chunk != right.read(1 << 20):
                    return False
                if not chunk:
                    return True
    except OSError:
        return False


def delete_files(tree: MediaTree, paths: Sequence[str]) -> dict[str, str]:
    """Delete files that no row names any more; those that are gone already are passed over.

    Returns:
        What could not be deleted, each with a sentence for the log.
    """
    problems = {}
    for relative in paths:
        try:
            tree.path(relative).unlink(missing_ok=True)
        except (OSError, ResultRefusedError) as error:
            problems[relative] = f"{relative} could not be deleted: {error}"
    return problems


def existing_files(tree: MediaTree, paths: Iterable[str]) -> set[str]:
    """Those of these paths at which there is something."""
    return {relative for relative in paths if os.path.lexists(tree.root / relative)}

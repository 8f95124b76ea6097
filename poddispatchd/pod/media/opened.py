"""What stands in the media tree, and what has been opened there and is closed once: files, directories.

All of it blocks for as long as the file system does: it is called in the threads of ``MediaThreads`` only.
"""

import os
import stat
from contextlib import suppress
from types import TracebackType
from typing import Self

from msgspec import Struct

from poddispatchd.pod.media.file_system_errors import CHMOD_REFUSED, ToleratedErrors

_READ_LOCK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LOCK = _READ_LOCK | os.O_RDWR | os.O_CREAT


class EntryStatus(Struct, frozen=True):
    """What stands under a name; a symbolic link is what it is, never what it points to."""

    is_file: bool
    is_directory: bool
    is_link: bool
    size: int
    changed_at: float
    mode: int
    identity: tuple[int, int]

    @classmethod
    def of(cls, found: os.stat_result) -> "EntryStatus":
        """The facts in the result of a stat."""
        return cls(
            is_file=stat.S_ISREG(found.st_mode),
            is_directory=stat.S_ISDIR(found.st_mode),
            is_link=stat.S_ISLNK(found.st_mode),
            size=found.st_size,
            changed_at=found.st_mtime,
            mode=stat.S_IMODE(found.st_mode),
            identity=(found.st_dev, found.st_ino),
        )


class Opened:
    """A descriptor; closed by ``with``. Every method may raise OSError.

    Args:
        descriptor: it is this object's from now on.
        path: for words only.
        tolerated: where refusals that do no harm are told.
    """

    def __init__(self, descriptor: int, path: str, tolerated: ToleratedErrors) -> None:
        self._descriptor = descriptor
        self.path = path
        self._tolerated = tolerated

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: another one means that something else is here now."""
        found = self._found()
        return found.st_dev, found.st_ino

    @property
    def owner(self) -> int:
        """The id of the user whom it belongs to."""
        return self._found().st_uid

    def _found(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def close(self) -> None:
        """Close the descriptor; once is enough.

        The kernel gives it back whatever it says. Of what has only been read, nobody needs to know.
        """
        with suppress(OSError):
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class File(Opened):
    """An opened regular file.

    Args:
        descriptor: it is this object's from now on.
        path: for words only.
        tolerated: where refusals that do no harm are told.
        status: what it was when it was opened; None for a new one.
    """

    def __init__(
        self, descriptor: int, path: str, tolerated: ToleratedErrors, status: os.stat_result | None = None
    ) -> None:
        super().__init__(descriptor, path, tolerated)
        self._status = status
        self._is_written = False

    def close(self) -> None:
        """Close the descriptor; once is enough.

        Raises:
            OSError: what has been written did not arrive: a server, or a quota, may say so as late as now.
        """
        if self._is_written:
            self._close()
        else:
            super().close()

    def _found(self) -> os.stat_result:
        return super()._found() if self._status is None else self._status

    @property
    def size(self) -> int:
        """Bytes of the file; of one that was there, when it was opened."""
        return self._found().st_size

    def read(self, size: int, *, at: int) -> bytes:
        """So many bytes from a place on; fewer only at the end of the file."""
        # No more is asked for than there is: Python makes room for all that is asked for.
        size = min(size, self.size - at)
        pieces = []
        while size > 0 and (piece := os.pread(self._descriptor, size, at)):
            pieces.append(piece)
            size -= len(piece)
            at += len(piece)
        return b"".join(pieces)

    def write(self, content: bytes) -> None:
        """Append to what has been written."""
        self._is_written = True
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def restart(self) -> None:
        """Forget what has been written."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def set_mode(self, mode: int | None) -> None:
        """Give the file its mode, where the file system has modes; None leaves the one it has."""
        if mode is None or (self._status is not None and stat.S_IMODE(self._status.st_mode) == mode):
            return
        try:
            os.fchmod(self._descriptor, mode)
        except OSError as error:
            if error.errno not in CHMOD_REFUSED:
                raise
            if stat.S_IMODE(os.fstat(self._descriptor).st_mode) == mode:
                return
            self._tolerated.note(
                "chmod",
                "Files keep the mode that the file system gives them: set pod.file_permissions to null.",
                error,
            )

    def sync(self) -> None:
        """Bring the content to stable storage."""
        os.fsync(self._descriptor)
        self._is_written = False


def open_lock(name: str, directory: int) -> int:
    """Open a file of locks in an opened directory, made if need be.

    One of another user's, as a CRON of root's leaves it, can be locked by whoever may read it.
    """
    try:
        return os.open(name, _LOCK, 0o644, dir_fd=directory)
    except PermissionError:
        with suppress(OSError):
            return os.open(name, _READ_LOCK, dir_fd=directory)
        raise


def close_lock(descriptor: int) -> None:
    """Give a lock of ``Directory.lock_file`` back, which the kernel does whatever it says."""
    with suppress(OSError):
        os.close(descriptor)

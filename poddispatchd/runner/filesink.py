"""Writing one result file off the event loop: chunks in order, hashed as they are written.

The next chunk is received while the last one is written; never more than two chunks are in memory.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from poddispatchd.domain.wholeness import Wholeness, wholeness
from poddispatchd.errors import disk_error


class FileSink:
    """A new file that fills up under a name of its own, until ``finish`` gives it its place.

    Every method raises NoSpaceError or MediaNotWritableError when the file system fails. ``close`` must be
    awaited in any case; it is idempotent and waits for a write that is under way.

    Args:
        path: where to write; it must not exist.
        mode: permission bits of the finished file; None leaves them to the umask.
    """

    def __init__(self, path: Path, *, mode: int | None) -> None:
        self._path = path
        self._mode = mode
        self._descriptor: int | None = None
        self._sha256 = hashlib.sha256()
        self._working: asyncio.Future[None] | None = None
        self.size = 0
        """Bytes taken so far."""

    async def open(self) -> None:
        """Create the file, readable by nobody else until it is finished when it has a mode of its own."""
        await self._run(self._open)

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Append pieces: waits for those before, then returns while these are being written."""
        await self.flush()
        self.size += sum(map(len, pieces))
        self._start(lambda: self._write(pieces))

    async def flush(self) -> None:
        """Wait until everything taken so far is written and hashed."""
        if self._working is None:
            return
        try:
            # Shielded: a thread cannot be cancelled, and the descriptor must outlive it.
            await asyncio.shield(self._working)
        except OSError as error:
            raise disk_error(error, f"{self._path} cannot be written") from error
        self._working = None

    async def restart(self) -> None:
        """Forget what has been written."""
        await self._run(self._truncate)
        self.size = 0

    async def digest(self) -> str:
        """The sha256 of everything taken so far, in hexadecimal."""
        await self.flush()
        return self._sha256.hexdigest()

    async def wholeness(self, name: str) -> Wholeness:
        """What the form of everything taken so far says about its end; ``name`` is the file's own."""
        await self.flush()
        judging = asyncio.ensure_future(asyncio.to_thread(self._wholeness, name))
        try:
            # Shielded: a thread cannot be cancelled, and the descriptor must outlive it.
            return await asyncio.shield(judging)
        except asyncio.CancelledError:
            await asyncio.wait([judging])
            raise
        except OSError as error:
            raise disk_error(error, f"{self._path} cannot be read") from error

    async def finish(self, target: Path) -> None:
        """Bring the file to stable storage and give it its name, replacing what stands there."""
        await self._run(lambda: self._finish(target))

    async def close(self) -> None:
        """Wait for the thread, whose error has been raised or no longer matters, and close the file."""
        if self._working is not None:
            await asyncio.wait([self._working])
            if not self._working.cancelled():
                self._working.exception()
            self._working = None
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            await asyncio.to_thread(os.close, descriptor)

    async def _run(self, work: Callable[[], None]) -> None:
        await self.flush()
        self._start(work)
        await self.flush()

    def _start(self, work: Callable[[], None]) -> None:
        self._working = asyncio.ensure_future(asyncio.to_thread(work))

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o666 if self._mode is None else 0o600)

    def _opened(self) -> int:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the file is not open")
        return self._descriptor

    def _write(self, pieces: Sequence[bytes]) -> None:
        descriptor = self._opened()
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._sha256.update(piece)

    def _wholeness(self, name: str) -> Wholeness:
        descriptor = self._opened()
        return wholeness(name, self.size, lambda offset, size: os.pread(descriptor, size, offset))

    def _truncate(self) -> None:
        self._sha256 = hashlib.sha256()
        os.ftruncate(self._opened(), 0)
        os.lseek(self._opened(), 0, os.SEEK_SET)

    def _finish(self, target: Path) -> None:
        if self._mode is not None:
            os.fchmod(self._opened(), self._mode)
        os.fsync(self._opened())
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(target)


def fsync_directories(directories: set[Path]) -> None:
    """Bring the names in directories to stable storage; to be called in a thread.

    Raises:
        NoSpaceError: the disk is full.
        MediaNotWritableError: the file system failed otherwise.
    """
    for directory in sorted(directories):
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise disk_error(error, f"{directory} cannot be written") from error

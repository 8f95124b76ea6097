"""Writing one result file off the event loop: chunks in order, hashed as they are written.

The next chunk is received while the last one is written; never more than two chunks are in memory.
"""

import asyncio
import errno
import hashlib
from collections.abc import Callable, Sequence

from poddispatchd.domain.wholeness import Wholeness, wholeness
from poddispatchd.errors import MediaSlowError, disk_error
from poddispatchd.runner.storage import PartialFile, ResultStorage

_PATIENCE_AT_THE_END = 5.0
"""Seconds that ``close`` waits for what is under way; what hangs is closed later."""


class FileSink:
    """A new file that fills up under a name of its own, until ``finish`` gives it its place.

    Every method raises NoSpaceError or MediaNotWritableError when the file system fails. ``close`` must be
    awaited in any case; it is idempotent and waits a while for a write that is under way.

    Args:
        storage: where to write.
        name: of the file until it is finished; it must not exist.
        mode: permission bits of the finished file; None leaves them to the umask.
    """

    def __init__(self, storage: ResultStorage, name: str, *, mode: int | None) -> None:
        self._storage = storage
        self._name = name
        self._mode = mode
        self._file: PartialFile | None = None
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
            raise disk_error(error, f"A file in {self._storage} cannot be written") from error
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
        try:
            return await self._storage.run(lambda: self._wholeness(name))
        except OSError as error:
            raise disk_error(error, f"A file in {self._storage} cannot be read") from error

    async def finish(self, path: str) -> None:
        """Bring the file to stable storage and give it its name, replacing what stands there."""
        await self._run(lambda: self._opened().finish(path), is_long=True)

    async def close(self) -> None:
        """Wait a while for the thread, whose error has been raised or does not matter, and close the file."""
        working, self._working = self._working, None
        if working is not None:
            done, _ = await asyncio.wait([working], timeout=_PATIENCE_AT_THE_END)
            if not done:
                working.cancel()
            elif not working.cancelled():
                working.exception()
        try:
            await self._storage.run(self._close)
        except (MediaSlowError, OSError):
            self._storage.later(self._close)

    async def _run(self, work: Callable[[], None], *, is_long: bool = False) -> None:
        await self.flush()
        self._start(work, is_long=is_long)
        await self.flush()

    def _start(self, work: Callable[[], None], *, is_long: bool = False) -> None:
        self._working = asyncio.ensure_future(self._storage.run(work, is_long=is_long))

    def _open(self) -> None:
        self._file = self._storage.create(self._name, self._mode)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self) -> PartialFile:
        if self._file is None:
            raise OSError(errno.EBADF, "the file is not open")
        return self._file

    def _write(self, pieces: Sequence[bytes]) -> None:
        self._opened().write(pieces)
        for piece in pieces:
            self._sha256.update(piece)

    def _wholeness(self, name: str) -> Wholeness:
        file = self._opened()
        return wholeness(name, self.size, lambda offset, size: file.read(size, at=offset))

    def _truncate(self) -> None:
        self._sha256 = hashlib.sha256()
        self._opened().restart()

"""Writing one result file off the event loop: chunks in order, hashed as they are written.

The next chunk is received while the last one is written; never more than two chunks are in memory. A small
file is kept in memory until it is whole; many of them are written together (``SmallFiles``).
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from poddispatchd.domain.completeness import Completeness
from poddispatchd.domain.completeness_check import completeness
from poddispatchd.errors import MediaSlowError
from poddispatchd.file_errors import disk_error
from poddispatchd.runner.result_storage import PartialFile, ResultStorage

_SMALL = 64 * 2**10
"""Bytes that are kept in memory, and hashed on the event loop in a fraction of a millisecond."""

_TOGETHER = 2**20
_MOST_TOGETHER = 200
"""Bytes, and number, of small files that are written together."""

_ENDED_WITHIN = 5.0
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
        self._held: list[bytes] = []
        """All that has come, hashed already, as long as no thread has made the file."""
        self._sha256 = hashlib.sha256()
        self._working: asyncio.Future[None] | None = None
        self._is_begun = False
        """Whether a thread makes the file, or has made it."""
        self._is_finished = False
        self.size = 0
        """Bytes taken so far."""

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Append pieces: waits for those before, then returns while these are being written."""
        await self.flush()
        self.size += sum(map(len, pieces))
        if self._is_begun or self.size > _SMALL:
            self._start(lambda: self._write(pieces))
            return
        self._held += pieces
        self._hash(pieces)

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
        if self._is_begun:
            await self._run(self._truncate)
        self._held.clear()
        self._sha256 = hashlib.sha256()
        self.size = 0

    async def digest(self) -> str:
        """The sha256 of everything taken so far, in hexadecimal."""
        await self.flush()
        return self._sha256.hexdigest()

    async def completeness(self, name: str) -> Completeness:
        """What the form of everything taken so far says about its end; ``name`` is the file's own."""
        await self.flush()
        # Its end is read from the disk, for which a small file is written as well.
        self._is_begun = True
        try:
            return await self._storage.run(lambda: self._completeness(name))
        except OSError as error:
            raise disk_error(error, f"A file in {self._storage} cannot be read") from error

    def take_small(self) -> bytes | None:
        """All of a small file that no thread has had to do with; there is nothing to finish then."""
        if self._is_begun:
            return None
        content = b"".join(self._held)
        self._held.clear()
        return content

    async def finish(self, path: str) -> None:
        """Give the file its mode and its name, replacing what stands there, and close it."""
        await self._run(lambda: self._finish(path), is_long=True)

    async def close(self) -> None:
        """Wait a while for the thread, whose error has been raised or does not matter, and close the file."""
        working, self._working = self._working, None
        if working is not None:
            done, _ = await asyncio.wait([working], timeout=_ENDED_WITHIN)
            if not done:
                working.cancel()
            elif not working.cancelled():
                working.exception()
        if self._is_finished or not self._is_begun:
            return
        try:
            await self._storage.run(self._close)
        except (MediaSlowError, OSError):
            self._storage.later(self._close)

    async def _run(self, work: Callable[[], None], *, is_long: bool = False) -> None:
        await self.flush()
        self._start(work, is_long=is_long)
        await self.flush()

    def _start(self, work: Callable[[], None], *, is_long: bool = False) -> None:
        self._is_begun = True
        self._working = asyncio.ensure_future(self._storage.run(work, is_long=is_long))

    def _hash(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._sha256.update(piece)

    # --- in a thread -------------------------------------------------------------------------------------

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self) -> PartialFile:
        """The file, made if need be: readable by nobody else until it is finished when it has a mode."""
        if self._file is None:
            self._file = self._storage.create(self._name, self._mode)
            self._file.write(self._held)
            self._held.clear()
        return self._file

    def _write(self, pieces: Sequence[bytes]) -> None:
        self._opened().write(pieces)
        self._hash(pieces)

    def _finish(self, path: str) -> None:
        file = self._opened()
        file.finish(path)
        file.close()
        self._is_finished = True

    def _completeness(self, name: str) -> Completeness:
        file = self._opened()
        return completeness(name, self.size, lambda offset, size: file.read(size, at=offset))

    def _truncate(self) -> None:
        self._opened().restart()


class SmallFiles:
    """Whole files that are kept in memory until one call of a thread is worth it.

    Args:
        storage: where they are written to.
        mode: their permission bits; None leaves them to the umask.
    """

    def __init__(self, storage: ResultStorage, *, mode: int | None) -> None:
        self._storage = storage
        self._mode = mode
        self._files: list[tuple[str, bytes]] = []
        self._size = 0
        self._working: set[asyncio.Future[None]] = set()

    async def add(self, path: str, content: bytes) -> None:
        """Keep a file, or write it with those that are kept.

        Raises:
            NoSpaceError, MediaNotWritableError: the file system fails.
        """
        self._files.append((path, content))
        self._size += len(content)
        if self._size >= _TOGETHER or len(self._files) >= _MOST_TOGETHER:
            await self.write()

    async def write(self) -> None:
        """Write what is kept; the errors are those of ``add``."""
        # Taken out before they are written: others are added meanwhile.
        files, self._files, self._size = self._files, [], 0
        if not files:
            return
        working = asyncio.ensure_future(
            self._storage.run(lambda: self._storage.write_files(files, self._mode), is_long=True)
        )
        self._working.add(working)
        try:
            # Shielded: a thread cannot be cancelled.
            await asyncio.shield(working)
        except OSError as error:
            raise disk_error(error, f"Files in {self._storage} cannot be written") from error
        finally:
            # One that goes on, after a cancellation, is waited for by ``close``.
            if working.done():
                self._working.discard(working)

    async def close(self) -> None:
        """Wait a while for threads that are still at it; what comes of that does not matter any more."""
        if self._working:
            done, late = await asyncio.wait(self._working, timeout=_ENDED_WITHIN)
            for working in late:
                working.cancel()
            for working in done:
                working.cancelled() or working.exception()

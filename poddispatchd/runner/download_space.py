"""How much a download may still take: bytes of its result, and space on the disk."""

from collections.abc import Callable

from msgspec import Struct

from poddispatchd.config.units import format_size, rounded_size
from poddispatchd.errors import NoSpaceError, ResultRefusedError
from poddispatchd.file_errors import disk_error
from poddispatchd.runner.download_limits import DownloadLimits
from poddispatchd.runner.result_storage import ResultStorage

_CHECK_EVERY = 64 * 2**20
"""Bytes received between two looks at the free space."""


class DownloadSpace:
    """Counts what the files of one download take, and refuses what would be too much.

    Args:
        into: where the files are written to; it knows the free space.
        limits: to their bytes, and to what is left free.
        received: told the number of bytes, whenever some have arrived.
    """

    def __init__(self, into: ResultStorage, limits: DownloadLimits, received: Callable[[int], None]) -> None:
        self._into = into
        self._max_size = limits.max_size
        self._keep_free = limits.keep_free
        self._count = received
        self._kept = 0
        self.received = 0
        """Bytes that have come, thrown away again or not."""
        self._unchecked = 0
        self._room = 0
        """Bytes that were free when the disk was looked at last, without those announced since."""
        self._to_come: dict[str, int] = {}
        """Bytes announced and not yet received, by file: what arrives at once must fit together."""

    def of(self, path: str) -> "FileSpace":
        """What one of the files takes."""
        return FileSpace(self, path)

    async def expect(self, path: str, size: int) -> None:
        """So many bytes of a file are announced.

        Raises:
            ResultRefusedError: the result is too large.
            NoSpaceError: there is no room for them, and for what is announced of other files.
        """
        self._check_size(size)
        self._to_come[path] = size
        self._room -= size
        # Small files are counted against the last look: each look at the disk takes a thread.
        if self._room < 0 or size >= _CHECK_EVERY:
            await self.check_space()

    async def take(self, path: str, size: int) -> None:
        """So many bytes of a file have come, announced or not.

        Raises:
            ResultRefusedError: the result is too large.
            NoSpaceError: the disk has filled up meanwhile.
        """
        self._check_size(size)
        # Below zero where no length was announced, or more comes than was.
        self._to_come[path] = max(0, self._to_come.get(path, 0) - size)
        self._kept += size
        self._unchecked += size
        self.received += size
        self._count(size)
        if self._unchecked >= _CHECK_EVERY:
            self._unchecked = 0
            await self.check_space()

    def drop(self, size: int) -> None:
        """So many bytes have been thrown away again."""
        self._kept -= size

    async def begin(self) -> None:
        """Prepare the storage, and look at the disk.

        Raises:
            NoSpaceError: less than ``keep_free`` would be left.
            MediaNotWritableError: it cannot be written or looked at.
        """
        try:
            free = await self._into.run(self._prepare, is_long=True)
        except OSError as error:
            raise disk_error(error, f"{self._into} cannot be written") from error
        self._judge(free)

    async def check_space(self) -> None:
        """Look at the disk.

        Raises:
            NoSpaceError: less than ``keep_free`` would be left.
            MediaNotWritableError: it cannot be looked at.
        """
        try:
            free = await self._into.run(self._into.free_space)
        except OSError as error:
            raise disk_error(error, f"{self._into} cannot be looked at") from error
        self._judge(free)

    def _prepare(self) -> int:
        self._into.prepare()
        return self._into.free_space()

    def _judge(self, free: int) -> None:
        self._room = free - sum(self._to_come.values()) - self._keep_free
        if self._room < 0:
            raise NoSpaceError(
                f"{rounded_size(free)} are free for {self._into}: not enough for the result and the "
                f"{format_size(self._keep_free)} to be left free (imports.keep_free). Make room there."
            )

    def _check_size(self, more: int) -> None:
        if self._kept + more > self._max_size:
            raise ResultRefusedError(f"The result is larger than {self._max_size} bytes (imports.max_size).")


class FileSpace(Struct, frozen=True):
    """What one file of a download takes; its calls raise what those of ``DownloadSpace`` raise."""

    all: DownloadSpace
    path: str

    async def expect(self, size: int) -> None:
        """So many bytes are still to come, an answer says."""
        await self.all.expect(self.path, size)

    async def take(self, size: int) -> None:
        """So many bytes came."""
        await self.all.take(self.path, size)

    def drop(self, size: int) -> None:
        """So many of them were thrown away again."""
        self.all.drop(size)

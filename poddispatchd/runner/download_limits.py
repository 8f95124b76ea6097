"""What a download may take: bytes of its result, space on the disk, and time for what comes."""

from collections.abc import Callable

from msgspec import Struct

from poddispatchd.config.units import format_size, rounded_size
from poddispatchd.errors import NoSpaceError, ResultRefusedError
from poddispatchd.file_errors import disk_error
from poddispatchd.runner.result_storage import ResultStorage

_CHECK_EVERY = 64 * 2**20
"""Bytes received between two looks at the free space."""


class DownloadLimits(Struct, frozen=True):
    """What a download may take.

    Args:
        max_size: bytes of all files together (``imports.max_size``).
        keep_free: bytes left free on the file system (``imports.keep_free``).
        parallel: files of any size fetched at once; few: a manager that proxies holds each whole in memory.
        parallel_small: those that are small by their names, beside them: mostly they wait for an answer.
        attempts: tries of one file.
        backoff_base: limit of the first random wait between tries, in seconds; it doubles (as Pod's).
        backoff_cap: limit of the longest one, in seconds.
        first_byte_timeout: seconds that the first byte of a file may take (``imports.first_byte_timeout``): a
            manager that proxies reads all of it from its runner before.
        min_rate: bytes a second that must come from then on (``imports.min_rate``); 0: any.
        rate_window: seconds over which they are counted.
        allowance: seconds that a whole result may take besides its bytes at ``min_rate``.
    """

    max_size: int
    keep_free: int
    parallel: int = 2
    parallel_small: int = 4
    attempts: int = 5
    backoff_base: float = 0.5
    backoff_cap: float = 8.0
    first_byte_timeout: float = 300.0
    min_rate: int = 64 * 2**10
    rate_window: float = 60.0
    allowance: float = 1800.0


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


class TransferRate(Struct):
    """Judges one window of waiting after another.

    Only time spent waiting for the sender counts: a slow disk of ours is not its fault.

    Args:
        minimum: bytes a second that must come on average in each window; 0: any.
        window: seconds of waiting judged together.
    """

    minimum: int
    window: float
    _waited: float = 0.0
    _received: int = 0

    @property
    def left(self) -> float:
        """Seconds that the next bytes may take at most."""
        return max(0.001, self.window - self._waited)

    def is_too_low(self, size: int, waited: float) -> bool:
        """Count bytes that came after so many seconds of waiting; whether they came too slowly."""
        self._received += size
        self._waited += waited
        if self._waited < self.window:
            return False
        is_too_low = self._received < self.minimum * self.window
        self._received, self._waited = 0, 0.0
        return is_too_low

    def __str__(self) -> str:
        """What is asked for, in words."""
        return f"{self.minimum} bytes a second over {self.window:g} s"


def longest_transfer(size: int, *, minimum: int, allowance: float) -> float:
    """Seconds that a whole result of so many bytes may take.

    Args:
        size: bytes received so far.
        minimum: bytes a second that must come on average; 0: there is no limit.
        allowance: seconds for what takes long whatever its size: first bytes, small files, new attempts.
    """
    return allowance + size / minimum if minimum else float("inf")

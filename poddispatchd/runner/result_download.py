"""Fetching the files of a result: whole or not at all, in little memory, with resume where it is offered."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.domain.backoff import full_jitter
from poddispatchd.domain.file_policy import is_small
from poddispatchd.domain.manifest import ResultFile
from poddispatchd.errors import (
    DownloadError,
    MediaSlowError,
    PoddispatchdError,
    RunnerManagerBusyError,
    RunnerManagerError,
    RunnerManagerUnavailableError,
    RunnerUnreachableError,
)
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.download_limits import DownloadLimits, DownloadSpace, longest_transfer
from poddispatchd.runner.file_download import BrokenOffError, FileDownload, RemoteResult, TooSlowError
from poddispatchd.runner.filesink import FileSink, SmallFiles
from poddispatchd.runner.result_storage import ResultStorage

_WORTH_ANOTHER_TRY = (
    BrokenOffError,
    RunnerManagerUnavailableError,
    RunnerManagerBusyError,
    RunnerUnreachableError,
)

_REFUSED_FOR_NOW = (RunnerManagerUnavailableError, RunnerManagerBusyError)
"""How a limit of requests before a manager is told: 503 or 429."""

_SLOW_ATTEMPTS = 2
"""A manager that is too slow so often gives its place to others; the import is tried again later."""


class DownloadedFile(Struct, frozen=True):
    """A file in its place. ``sha256`` is of what was written, whether or not the manager gave one."""

    path: str
    size: int
    sha256: str


class ResultDownloader:
    """Fetches files of results; one object serves all of them.

    Args:
        client: asks the managers.
        clock: waits between tries, and chooses for how long.
        received: told the number of bytes, whenever some have arrived.
    """

    def __init__(self, client: RunnerClient, clock: Clock, received: Callable[[int], None]) -> None:
        self.client = client
        self.clock = clock
        self.received = received

    async def download(
        self,
        result: RemoteResult,
        files: tuple[ResultFile, ...],
        into: ResultStorage,
        *,
        limits: DownloadLimits,
        mode: int | None,
    ) -> tuple[DownloadedFile, ...]:
        """Fetch files of a result into a directory; the first one that cannot be had ends it all.

        A file appears under its name only when it is whole and verified. Nothing of an earlier download is
        reused: files of the same names are replaced, half-written ones removed. Whoever puts the files in
        their place brings them to stable storage.

        Args:
            result: on its manager.
            files: from ``wanted(manifest, …)``: their names have been found safe.
            into: a directory for this result alone.
            limits: of size, space, time and tries.
            mode: permission bits of the files (FILE_UPLOAD_PERMISSIONS); None leaves them to the umask.

        Returns:
            The files, in the order asked.

        Raises:
            DownloadError: a file did not arrive whole in so many attempts, or cannot be written.
            RunnerManagerUnavailableError: the manager went away for longer than the attempts took; so do
                RunnerManagerBusyError and RunnerUnreachableError tell of a state that passes.
            ResultGoneError: the manager cannot give a file (404); asking again changes nothing.
            ResultNotReadyError: the task has no result (any more, after a restart of it).
            RunnerTaskUnknownError: the manager has forgotten the task.
            RunnerManagerMisconfiguredError: the token or the URL was changed meanwhile.
            ResultRefusedError: the result is larger than ``limits.max_size``.
            NoSpaceError: less than ``limits.keep_free`` would be left.
        """
        download = _ResultDownload(self, result, into, limits, mode)
        try:
            return await download.fetch_all(files)
        finally:
            await download.close()


class _ResultDownload:
    """One download: what its parallel fetches share."""

    def __init__(
        self,
        downloader: ResultDownloader,
        result: RemoteResult,
        into: ResultStorage,
        limits: DownloadLimits,
        mode: int | None,
    ) -> None:
        self._client = downloader.client
        self._clock = downloader.clock
        self._result = result
        self._into = into
        self._limits = limits
        self._mode = mode
        self._small = SmallFiles(into, mode=mode)
        self._time = asyncio.get_running_loop().time
        self._begun = self._time()
        self._arrived = 0
        """Files that have come."""
        self._space = DownloadSpace(into, limits, downloader.received)

    async def fetch_all(self, files: tuple[ResultFile, ...]) -> tuple[DownloadedFile, ...]:
        await self._space.begin()
        limits = self._limits
        small = [(index, file) for index, file in enumerate(files) if is_small(file.path)]
        large = [(index, file) for index, file in enumerate(files) if not is_small(file.path)]
        done: dict[int, DownloadedFile] = {}

        async def work(waiting: Iterator[tuple[int, ResultFile]]) -> None:
            for index, file in waiting:
                done[index] = await self._fetch(file, str(index))
                self._arrived += 1

        first: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for some, at_once in ((large, limits.parallel), (small, limits.parallel_small)):
                    waiting = iter(some)
                    for _ in range(min(at_once, len(some))):
                        group.create_task(work(waiting))
        except BaseExceptionGroup as failures:
            first = failures.exceptions[0]
        if first is not None:
            # Raised outside of the handler, so that its own cause stays the only one it shows.
            raise first
        await self._small.write()
        return tuple(done[index] for index in range(len(files)))

    async def close(self) -> None:
        """Leave nothing half-written."""
        await self._small.close()
        if not self._into.is_clean:
            with suppress(MediaSlowError, OSError):
                await self._into.run(self._into.clean)

    async def _fetch(self, file: ResultFile, temporary: str) -> DownloadedFile:
        sink = FileSink(self._into, temporary, mode=self._mode)
        download = FileDownload(
            self._client, self._result, file, sink, limits=self._limits, space=self._space
        )
        try:
            digest = await self._attempted(file, download)
            if (content := sink.take_small()) is None:
                await sink.finish(file.path)
            else:
                await self._small.add(file.path, content)
            return DownloadedFile(file.path, sink.size, digest)
        finally:
            await sink.close()

    async def _attempted(self, file: ResultFile, download: FileDownload) -> str:
        failed = in_vain = slow = arrived = 0
        while in_vain < self._limits.attempts:
            if failed:
                await self._wait(failed - 1)
            self._check_time()
            try:
                return await download.attempt()
            except _WORTH_ANOTHER_TRY as error:
                last: PoddispatchdError = error
            failed += 1
            # Others have come since the last try: a limit before the manager puts this one off. For what the
            # manager itself cannot give all the others would be fetched in vain, time and again.
            is_put_off = isinstance(last, _REFUSED_FOR_NOW) and self._arrived > arrived
            in_vain, arrived = 1 if is_put_off else in_vain + 1, self._arrived
            # Not in a row: a manager may be slow, break off, and be slow again.
            slow += _is_slow(last)
            if slow >= _SLOW_ATTEMPTS:
                break
        if isinstance(last, RunnerManagerError):
            # A file that keeps breaking off counts against the result; a manager that is away does not.
            raise last
        raise DownloadError(
            f"The file {file.path!r} did not arrive in {failed} attempts: {last}"
        ) from last.__cause__

    def _check_time(self) -> None:
        limits = self._limits
        longest = longest_transfer(self._space.received, minimum=limits.min_rate, allowance=limits.allowance)
        if self._time() - self._begun > longest:
            raise DownloadError(
                f"The result takes too long: {self._space.received} bytes have come in "
                f"{self._time() - self._begun:.0f} s."
            )

    async def _wait(self, attempt: int) -> None:
        limits = self._limits
        await self._clock.sleep(
            full_jitter(attempt, base=limits.backoff_base, cap=limits.backoff_cap, random=self._clock.random)
        )


def _is_slow(error: PoddispatchdError) -> bool:
    """Whether an attempt ended because too little came, or no first byte in time."""
    is_late = isinstance(error, RunnerManagerUnavailableError) and isinstance(error.__cause__, TimeoutError)
    return is_late or isinstance(error, TooSlowError)

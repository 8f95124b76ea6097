"""One result file over as many answers as it takes, each going on where the last one broke off if it can."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import assert_never

import aiohttp
from msgspec import Struct

from poddispatchd.domain.completeness import Completeness
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import ResultFile
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import DownloadError, ResultGoneError, ResultUnfetchableError
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.download_limits import DownloadLimits, DownloadSpace, TransferRate
from poddispatchd.runner.filesink import FileSink
from poddispatchd.runner.http_errors import detail_of, result_refusal
from poddispatchd.runner.transport import content_type, read_answer

_CHUNK = 2**20
"""Bytes from which what has come is handed to the file: large enough that a thread per chunk costs little."""

_MOST_PIECES = 1024
"""However small they are: each costs memory of its own."""

_LONGEST_REFUSAL = 10.0  # seconds in which its body is read: its status says enough
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
# A weak one (W/) may stay the same while bytes change (RFC 9110); other characters no request can carry.
_STRONG_TAG = re.compile(r'"[!#-~]*"')
_PROXIED_NAME = re.compile(r"[A-Za-z0-9._ -]+")
"""The only names that a manager without shared storage passes on to its runner."""

_SAID_BY_A_PROXYING_MANAGER = "Error fetching result from runner"
_CLOSE_ENDED_PROXIES = ("nginx", "openresty", "tengine")
"""Proxies that speak HTTP/1.0 to the manager by default: they end chunks well wherever it breaks off."""


class BrokenOffError(DownloadError):
    """A try at a file failed in a way that another one may mend."""


class TooSlowError(BrokenOffError):
    """The manager sends so slowly that it would keep an import for ever."""


class RemoteResult(Struct, frozen=True):
    """A result where it is: at this manager, under this id."""

    manager: RunnerManager
    task_id: RunnerTaskId


class FileDownload:
    """Fetches one file into a sink.

    Args:
        client: asks the manager.
        result: what the file belongs to.
        file: which one, and its sha256 if the manager gave one.
        sink: opened; what it holds between tries is what the next one goes on from.
        limits: to the time of an answer.
        space: told of every byte; may refuse.
    """

    def __init__(
        self,
        client: RunnerClient,
        result: RemoteResult,
        file: ResultFile,
        sink: FileSink,
        *,
        limits: DownloadLimits,
        space: DownloadSpace,
    ) -> None:
        self._client = client
        self._result = result
        self._file = file
        self._sink = sink
        self._limits = limits
        self._space = space
        self._etag: str | None = None
        """Of the answer that the sink's content comes from, if it can be gone on with; and its length."""
        self._whole: int | None = None
        self._unproven: str | None = None
        """The sum of the last copy, when nothing could show that it was whole."""

    async def attempt(self) -> str:
        """Try once; return the file's sha256 in hexadecimal when all of it is in the sink.

        Raises:
            BrokenOffError, RunnerManagerUnavailableError, RunnerManagerBusyError, RunnerUnreachableError:
                another try may succeed, and goes on from here if the manager allows it.
            PoddispatchdError: any other is final.
        """
        headers: dict[str, str] = {}
        if self._sink.size and self._etag is not None:
            # If-Range: should the file have changed, the whole new one is sent instead of its end.
            headers = {"Range": f"bytes={self._sink.size}-", "If-Range": self._etag}
        async with self._client.result_file(
            self._result.manager,
            self._result.task_id,
            self._file.path,
            headers=headers,
            first_byte_timeout=self._limits.first_byte_timeout,
        ) as response:
            whole = await self._begin(response, resuming=bool(headers))
            await self._receive(response)
        digest = await self._verified(whole)
        if whole is None and self._file.sha256 is None and not _vouches_by_chunks(response):
            await self._check_end(digest)
        return digest

    async def _begin(self, response: aiohttp.ClientResponse, *, resuming: bool) -> int | None:
        """Judge the head of an answer; return the size of the whole file if it is known.

        On return the sink holds exactly what comes before the answer's body.
        """
        if response.status == 206 and resuming:
            return await self._continue(response)
        if response.status == 416 and resuming:
            await self._start_over()
            raise BrokenOffError(f"{self._name} has become shorter than what was received of it.")
        if not 200 <= response.status < 300:
            raise await self._refused(response)
        # Any other 2xx is no whole file: a part of it was not asked for.
        if response.status != 200:
            raise DownloadError(f"{self._name} was answered with status {response.status}.")
        kind = content_type(response)
        if kind == "text/html" and not self._file.path.lower().endswith((".html", ".htm")):
            raise DownloadError(f"{self._name} came as a web page: something else answers there.")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadError(f"{self._name} came compressed, which was not asked for.")
        await self._start_over()
        etag = response.headers.get("ETag", "")
        has_ranges = response.headers.get("Accept-Ranges", "").lower() == "bytes"
        is_resumable = has_ranges and _STRONG_TAG.fullmatch(etag)
        self._etag, self._whole = etag if is_resumable else None, response.content_length
        if response.content_length is not None:
            await self._space.expect(self._file.path, response.content_length)
        return response.content_length

    async def _continue(self, response: aiohttp.ClientResponse) -> int:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        first, last, total = map(int, match.groups()) if match is not None else (-1, -1, -1)
        # Whoever knows nothing of If-Range gives the end of whatever file is there now.
        is_same = response.headers.get("ETag", self._etag) == self._etag and self._whole in (None, total)
        if (first, last + 1) != (self._sink.size, total) or not is_same:
            await self._start_over()
            raise BrokenOffError(f"Another part of {self._name} came than the one asked for.")
        await self._space.expect(self._file.path, total - first)
        return total

    async def _receive(self, response: aiohttp.ClientResponse) -> None:
        content = response.content
        if content.is_eof() and content.exception() is None:
            # A small file came with its head: there is nothing to wait for.
            await self._keep([content.read_nowait()])
            return
        rate = TransferRate(self._limits.min_rate, self._limits.rate_window)
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in pieces_in_time(content, rate, name=self._name):
                pieces.append(piece)
                size += len(piece)
                if size >= _CHUNK or len(pieces) >= _MOST_PIECES:
                    chunk, pieces, size = pieces, [], 0
                    await self._keep(chunk)
        except TooSlowError:
            await self._keep(pieces)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # What has come is good, TCP and the framing vouch for it: the next try may go on from it.
            await self._keep(pieces)
            raise BrokenOffError(f"{self._name} broke off after {self._sink.size} bytes.") from error
        await self._keep(pieces)

    async def _keep(self, pieces: Sequence[bytes]) -> None:
        await self._space.take(self._file.path, sum(map(len, pieces)))
        await self._sink.write(pieces)

    async def _verified(self, whole: int | None) -> str:
        digest = await self._sink.digest()
        problem = None
        if whole is not None and self._sink.size != whole:
            problem = f"has {self._sink.size} bytes instead of {whole}"
        elif self._file.sha256 is not None and digest != self._file.sha256:
            problem = "does not have the sha256 that was announced"
        if problem is None:
            return digest
        await self._start_over()
        raise BrokenOffError(f"{self._name} {problem}.")

    async def _check_end(self, digest: str) -> None:
        """Whether a body is whole that has neither a length nor a sum, nor chunks that vouch for its end.

        It is proved by its form or, if its form has no end, by a second copy.

        Raises:
            BrokenOffError: it is cut short, or nothing shows that it is not.
        """
        found = await self._sink.completeness(self._file.path)
        match found:
            case Completeness.COMPLETE:
                return
            case Completeness.CUT:
                problem = "is cut short"
            case Completeness.OPEN if digest == self._unproven:
                return
            case Completeness.OPEN:
                self._unproven = digest
                problem = "is fetched twice, to compare"
            case Completeness.UNLIKELY:
                problem = "is not what its name says, or cut short"
            case _:
                assert_never(found)
        await self._start_over()
        raise BrokenOffError(
            f"{self._name} {problem}: its answer had no length, so that nothing says where it ends (where "
            "nginx stands before the manager, set proxy_http_version 1.1 there)."
        )

    async def _start_over(self) -> None:
        self._etag = None
        if self._sink.size:
            self._space.drop(self._sink.size)
            await self._sink.restart()

    async def _refused(self, response: aiohttp.ClientResponse) -> Exception:
        answer = await read_answer(response, within=_LONGEST_REFUSAL)
        error = result_refusal(self._result.manager, answer, self._name)
        is_refused_name = not _PROXIED_NAME.fullmatch(self._file.path) and (
            detail_of(answer) == _SAID_BY_A_PROXYING_MANAGER
        )
        if isinstance(error, ResultGoneError) and is_refused_name:
            return ResultUnfetchableError(
                f"{error} A manager without RUNNERS_STORAGE_ENABLED gives no file whose name holds other "
                "characters than A-Z a-z 0-9 . _ - and space, and a new run would give it the same name: "
                "rename the source file, or enable shared storage on the manager."
            )
        return error

    @property
    def _name(self) -> str:
        return f"The file {self._file.path!r}"


def _vouches_by_chunks(response: aiohttp.ClientResponse) -> bool:
    """Whether a complete chunked body means that all of the file was sent.

    It does not behind a proxy that cannot see where the manager broke off, and ends its own chunks well.
    """
    coding = response.headers.get("Transfer-Encoding", "").lower().rpartition(",")[2].strip()
    server = response.headers.get("Server", "").lower()
    return coding == "chunked" and not any(name in server for name in _CLOSE_ENDED_PROXIES)


async def pieces_in_time(
    content: aiohttp.StreamReader, rate: TransferRate, *, name: str
) -> AsyncIterator[bytes]:
    """The pieces of a body as they come, as long as they come at this rate.

    Args:
        content: of an answer whose head has come.
        rate: judges them; only waiting counts.
        name: of the file, for people.

    Raises:
        TooSlowError: they come too slowly, or not at all.
        aiohttp.ClientError, TimeoutError, OSError: the connection is lost.
    """
    time = asyncio.get_running_loop().time
    came = 0
    while True:
        piece, is_end, waited = b"", False, 0.0
        if content.total_bytes > came:
            piece, _ = await content.readchunk()  # it has come already
        else:
            begun = time()
            deadline = asyncio.timeout(rate.left if rate.minimum else None)
            try:
                async with deadline:
                    piece, ends_chunk = await content.readchunk()
                    is_end = not piece and not ends_chunk
            except TimeoutError:
                if not deadline.expired():
                    raise
            waited = time() - begun
        came += len(piece)
        if rate.is_too_low(len(piece), waited):
            raise TooSlowError(f"{name} comes too slowly: at least {rate} are expected.")
        if is_end:
            return
        if piece:
            yield piece

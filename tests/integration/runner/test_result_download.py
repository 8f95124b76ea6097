import asyncio
import errno
import hashlib
import os
import stat
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from poddispatchd.clock import Clock
from poddispatchd.domain.manifest import ResultFile
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import (
    DownloadError,
    NoSpaceError,
    PoddispatchdError,
    ResultGoneError,
    ResultNotReadyError,
    ResultRefusedError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
    RunnerUnreachableError,
)
from poddispatchd.pod.media.staging import StagingStorage
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runner import download_limits, file_download
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.download_limits import DownloadLimits, TransferRate
from poddispatchd.runner.file_download import RemoteResult, pieces_in_time
from poddispatchd.runner.result_download import DownloadedFile, ResultDownloader
from tests.integration.runner.raw_server import Answer, RawServer, Request, drop, hang, head, raw, reply
from tests.unit.runner.managers import TOKEN, manager

TASK = RunnerTaskId("golden-1")
CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(CONTENT).hexdigest()
BYTES = "application/octet-stream"
WHOLE = reply(200, CONTENT, BYTES)
ETAG = {"etag": '"v1"', "accept_ranges": "bytes"}


@dataclass
class _Clock(Clock):
    """Waits for nothing, and throws the largest number."""

    waits: list[float]

    def random(self) -> float:
        return 1.0

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@dataclass
class Downloader:
    client: RunnerClient
    into: Path
    limits: DownloadLimits = field(
        default_factory=lambda: DownloadLimits(max_size=2**40, keep_free=0, first_byte_timeout=5.0)
    )
    mode: int | None = None
    free: int = 2**50
    shrinks: bool = False
    waits: list[float] = field(default_factory=list)
    received: int = 0
    came: int = 0
    """Bytes of all bodies that have come, whether or not they have been handed to the file."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, server: RawServer, *files: ResultFile | str) -> tuple[DownloadedFile, ...]:
        def count(size: int) -> None:
            self.received += size

        return await ResultDownloader(self.client, _Clock(self.waits), count).download(
            RemoteResult(manager(server.url), TASK),
            tuple(ResultFile(file) if isinstance(file, str) else file for file in files),
            self.storage(),
            limits=self.limits,
            mode=self.mode,
        )

    async def pieces(
        self, content: aiohttp.StreamReader, rate: TransferRate, *, name: str
    ) -> AsyncIterator[bytes]:
        """Those of a body, counted."""
        async for piece in pieces_in_time(content, rate, name=name):
            self.came += len(piece)
            self.arrived.set()
            yield piece

    def storage(self) -> StagingStorage:
        """The directory, on a disk with as much free space as is said."""
        storage = StagingStorage(MediaTree(self.into.parent).path(self.into.name))
        storage.free_space = lambda: self.free - (self.received if self.shrinks else 0)  # type: ignore[method-assign] # of this one
        return storage

    def breaks(self, start: bytes, body: bytes) -> Answer:
        """An answer whose connection closes once the client has taken all of this body, and never before."""

        async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
            until = self.came + len(body)
            writer.write(start + body)
            await writer.drain()
            while self.came < until:
                self.arrived.clear()
                await self.arrived.wait()
            raise ConnectionResetError

        return answer

    def cut(self, at: int, **headers: str) -> Answer:
        """The file, broken off behind so many bytes."""
        start = head(200, content_type=BYTES, content_length=str(len(CONTENT)), **headers)
        return self.breaks(start, CONTENT[:at])

    def limit(self, **values: int | float) -> None:
        limits = {"max_size": 2**40, "keep_free": 0, "first_byte_timeout": 5.0, **values}
        self.limits = DownloadLimits(**limits)  # type: ignore[arg-type] # sizes are int, times float


@pytest.fixture
def download(client: RunnerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Downloader:
    downloader = Downloader(client, tmp_path / "result")
    monkeypatch.setattr(file_download, "pieces_in_time", downloader.pieces)
    return downloader


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def by_name(pages: dict[str, Answer]) -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await pages[request.target.rpartition("/")[2]](request, writer)

    return answer


def chunked(content: bytes, *, whole: bool) -> Answer:
    size = f"{len(content):x}".encode()
    end = b"0\r\n\r\n" if whole else b""
    return raw(
        head(200, content_type=BYTES, transfer_encoding="chunked") + size + b"\r\n" + content + b"\r\n" + end
    )


def cut(content: bytes, at: int, **headers: str) -> Answer:
    return raw(head(200, content_type=BYTES, content_length=str(len(content)), **headers) + content[:at])


def open_files() -> list[str]:
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


async def test_files_arrive_whole_under_their_names_with_nothing_else(download: Downloader) -> None:
    pages = by_name({"a%20b%23%C3%A9.ts": WHOLE, "x.vtt": reply(200, b"", BYTES)})
    async with RawServer([pages]) as server:
        files = await download(server, "a b#é.ts", "sub/dir/x.vtt")

    assert names(download.into) == ["a b#é.ts", "sub", "sub/dir", "sub/dir/x.vtt"]
    assert (download.into / "a b#é.ts").read_bytes() == CONTENT
    assert [(file.path, file.size, file.sha256) for file in files] == [
        ("a b#é.ts", len(CONTENT), SHA),
        ("sub/dir/x.vtt", 0, hashlib.sha256(b"").hexdigest()),
    ]
    assert (sum(file.size for file in files), download.received) == (len(CONTENT), len(CONTENT))
    assert {request.target for request in server.requests} == {
        "/task/result/golden-1/file/a%20b%23%C3%A9.ts",
        "/task/result/golden-1/file/sub/dir/x.vtt",
    }
    assert all(request.headers["authorization"] == f"Bearer {TOKEN}" for request in server.requests)


async def test_no_file_is_no_request(download: Downloader) -> None:
    async with RawServer([WHOLE]) as server:
        assert await download(server) == ()

    assert server.requests == []


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
async def test_files_have_the_mode_that_is_configured(download: Downloader, mode: int) -> None:
    download.mode = mode
    async with RawServer([WHOLE]) as server:
        await download(server, "a.ts")

    assert stat.S_IMODE((download.into / "a.ts").stat().st_mode) == mode


async def test_without_a_mode_the_umask_decides(download: Downloader) -> None:
    umask = os.umask(0)
    os.umask(umask)
    async with RawServer([WHOLE]) as server:
        await download(server, "a.ts")

    assert stat.S_IMODE((download.into / "a.ts").stat().st_mode) == 0o666 & ~umask


async def test_what_stood_there_before_is_replaced_or_removed_but_never_reused(download: Downloader) -> None:
    partial = download.into / ".poddispatchd-partial-x"
    partial.mkdir(parents=True)
    (partial / "0").write_bytes(CONTENT)
    (download.into / "a.ts").write_bytes(b"x" * len(CONTENT))
    async with RawServer([WHOLE]) as server:
        await download(server, "a.ts")

    assert names(download.into) == ["a.ts"]
    assert (download.into / "a.ts").read_bytes() == CONTENT


# --- broken transfers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        drop,
        cut(CONTENT, 1000),
        cut(CONTENT, 0),
        chunked(CONTENT[:5000], whole=False),
        reply(500, b"Internal Server Error", "text/plain"),
        reply(502, b'{"detail": "Error contacting runner: x"}'),
        reply(503, b"<html>", "text/html"),
        reply(429, b'{"error": "Rate limit exceeded"}'),
    ],
)
async def test_a_transfer_that_fails_is_tried_again_from_the_start(
    download: Downloader, broken: Answer
) -> None:
    async with RawServer([broken, broken, chunked(CONTENT, whole=True)]) as server:
        files = await download(server, "a.ts")

    assert (download.into / "a.ts").read_bytes() == CONTENT
    assert files[0].sha256 == SHA
    assert all("range" not in request.headers for request in server.requests)


async def test_waits_between_attempts_grow_and_have_an_end(download: Downloader) -> None:
    download.limit(attempts=7)
    async with RawServer([cut(CONTENT, 10)]) as server:
        with pytest.raises(DownloadError, match=r"'a\.ts' did not arrive in 7 attempts"):
            await download(server, "a.ts")

    assert download.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert len(server.requests) == 7
    assert names(download.into) == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(500, b"Internal Server Error", "text/plain"), RunnerManagerUnavailableError),
        (drop, RunnerManagerUnavailableError),
        (reply(502, b'{"detail": "Error contacting runner: x"}'), RunnerUnreachableError),
    ],
)
async def test_a_manager_that_stays_away_is_told_as_such(
    download: Downloader, answer: Answer, error: type[PoddispatchdError]
) -> None:
    async with RawServer([answer]) as server:
        with pytest.raises(error):
            await download(server, "a.ts")

    assert len(download.waits) == 4


_OTHERS = [f"{number}.txt" for number in range(8)]


def one_after_another(refusal: Answer, *, refusals: int) -> Answer:
    """Refuse ``last.txt`` so often, each time before one of the others comes."""
    asked, refused = asyncio.Semaphore(0), asyncio.Semaphore(0)
    left = refusals

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        if not request.target.endswith("last.txt"):
            asked.release()
            await refused.acquire()
        elif left:
            left -= 1
            # Who is asked for the next one has counted the one before.
            await asked.acquire()
            await refusal(request, writer)
            refused.release()
            return
        await reply(200, b"x", BYTES)(request, writer)

    return answer


@pytest.mark.parametrize("status", [429, 503])
async def test_a_file_that_a_rate_limit_puts_off_is_tried_for_as_long_as_others_come(
    download: Downloader, status: int
) -> None:
    """Behind a limit of two requests a second each result began anew, time and again."""
    download.limit(parallel_small=2)
    limit = one_after_another(reply(status, b"<html>", "text/html"), refusals=len(_OTHERS))

    async with RawServer([limit]) as server:
        await download(server, "last.txt", *_OTHERS)

    assert names(download.into) == sorted(["last.txt", *_OTHERS])
    assert max(download.waits) == 8.0


async def test_what_the_manager_itself_cannot_give_ends_the_try_though_others_come(
    download: Downloader,
) -> None:
    """They would all be fetched for nothing, for as long as an import is tried again."""
    download.limit(parallel_small=2)
    missing = reply(502, b'{"detail": "Error contacting runner: x"}')

    async with RawServer([one_after_another(missing, refusals=5)]) as server:
        with pytest.raises(RunnerUnreachableError):
            await download(server, "last.txt", *_OTHERS)

    assert len(download.waits) == 4


async def test_a_transfer_that_stalls_is_given_up_and_tried_again(download: Downloader) -> None:
    download.limit(first_byte_timeout=0.1)

    async def stalls(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, content_type=BYTES, content_length=str(len(CONTENT))) + CONTENT[:1000])
        await hang(request, writer)

    async with RawServer([stalls, hang, WHOLE]) as server:
        await download(server, "a.ts")

    assert (download.into / "a.ts").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(404, b'{"detail": "Error fetching result from runner"}'), ResultGoneError),
        (reply(404, b'{"detail": "Task not found"}'), RunnerTaskUnknownError),
        (reply(404, b"<html>", "text/html"), RunnerManagerMisconfiguredError),
        (reply(400, b'{"detail": "Task failed: x"}'), ResultNotReadyError),
        (reply(425, b'{"detail": "Task not completed. Status: running"}'), ResultNotReadyError),
        (reply(401, b'{"detail": "Invalid or expired token"}'), RunnerManagerMisconfiguredError),
        (reply(302, b"", location="http://elsewhere.test/"), RunnerManagerMisconfiguredError),
        (reply(200, b"<html>maintenance</html>", "text/html; charset=utf-8"), DownloadError),
        (reply(200, b"x", BYTES, content_encoding="gzip"), DownloadError),
        (reply(204), DownloadError),
        (reply(206, b"x", BYTES, content_range="bytes 0-0/1"), DownloadError),
    ],
)
async def test_an_answer_that_will_not_change_ends_the_download_at_once(
    download: Downloader, answer: Answer, error: type[PoddispatchdError]
) -> None:
    async with RawServer([answer]) as server:
        with pytest.raises(error) as caught:
            await download(server, "a.ts")

    assert type(caught.value) is error
    assert len(server.requests) == 1
    assert names(download.into) == []


async def test_a_name_that_no_proxying_manager_passes_on_is_explained(download: Downloader) -> None:
    gone = reply(404, b'{"detail": "Error fetching result from runner"}')
    async with RawServer([gone]) as server:
        with pytest.raises(ResultGoneError, match="RUNNERS_STORAGE_ENABLED"):
            await download(server, "été.vtt")


async def test_a_page_that_is_itself_a_result_is_fetched(download: Downloader) -> None:
    async with RawServer([reply(200, b"<html>", "text/html")]) as server:
        assert [file.size for file in await download(server, "report.HTML")] == [6]


async def test_the_first_file_that_cannot_be_had_stops_the_others(download: Downloader) -> None:
    gone = reply(404, b'{"detail": "Result file not found in shared storage"}')
    async with RawServer([by_name({"a.ts": gone, "b.ts": hang, "c.ts": WHOLE})]) as server:
        async with asyncio.timeout(5):
            with pytest.raises(ResultGoneError):
                await download(server, "b.ts", "a.ts", "c.ts")

    assert names(download.into) == []


# --- what was announced -------------------------------------------------------------------------------


async def test_an_announced_sum_is_checked(download: Downloader) -> None:
    wrong = b"x" + CONTENT[1:]
    async with RawServer([reply(200, wrong, BYTES, **ETAG), WHOLE]) as server:
        await download(server, ResultFile("a.ts", SHA))

    assert (download.into / "a.ts").read_bytes() == CONTENT
    assert "range" not in server.requests[1].headers


async def test_a_sum_that_is_always_wrong_fails_the_download(download: Downloader) -> None:
    async with RawServer([WHOLE]) as server:
        with pytest.raises(DownloadError, match="sha256"):
            await download(server, ResultFile("a.ts", "0" * 64))

    assert len(server.requests) == 5
    assert names(download.into) == []


# --- going on where it broke off ----------------------------------------------------------------------


def part(
    first: int, *, last: int | None = None, total: int = len(CONTENT), content: bytes = CONTENT
) -> Answer:
    last = total - 1 if last is None else last
    body = content[first : last + 1]
    return reply(206, body, BYTES, content_range=f"bytes {first}-{last}/{total}", **ETAG)


async def test_a_transfer_goes_on_where_it_broke_off_when_the_manager_offers_ranges(
    download: Downloader,
) -> None:
    async with RawServer([download.cut(600_000, **ETAG), part(600_000)]) as server:
        files = await download(server, "a.ts")

    assert (download.into / "a.ts").read_bytes() == CONTENT
    assert files[0].sha256 == SHA
    assert server.requests[1].headers["range"] == "bytes=600000-"
    assert server.requests[1].headers["if-range"] == '"v1"'
    assert download.received == len(CONTENT)


async def test_it_may_break_off_again_and_again(download: Downloader) -> None:
    def broken_part(first: int, size: int) -> Answer:
        rest = str(len(CONTENT) - first)
        content_range = f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"
        start = head(206, content_type=BYTES, content_length=rest, content_range=content_range)
        return download.breaks(start, CONTENT[first : first + size])

    steps = [download.cut(100, **ETAG), broken_part(100, 200), broken_part(300, 600_000), part(600_300)]
    async with RawServer(steps) as server:
        files = await download(server, "a.ts")

    assert files[0].sha256 == SHA


@pytest.mark.parametrize(
    "second",
    [
        WHOLE,
        chunked(CONTENT, whole=True),
        reply(416, b"", content_range="bytes */100"),
        part(599_999),
        part(600_001),
        part(600_000, last=700_000),
        reply(206, CONTENT[600_000:], BYTES),
        reply(206, CONTENT[600_000:], BYTES, content_range="bytes nonsense"),
        # Of another file, by a proxy that knows nothing of If-Range.
        reply(
            206,
            b"n" * (len(CONTENT) - 600_000),
            BYTES,
            content_range=f"bytes 600000-{len(CONTENT) - 1}/{len(CONTENT)}",
            etag='"v2"',
        ),
        part(600_000, total=len(CONTENT) + 9, content=CONTENT + b"n" * 9),
    ],
)
async def test_any_other_part_than_the_one_asked_for_means_starting_over(
    download: Downloader, second: Answer
) -> None:
    async with RawServer([download.cut(600_000, **ETAG), second, WHOLE]) as server:
        files = await download(server, "a.ts")

    assert (download.into / "a.ts").read_bytes() == CONTENT
    assert files[0].sha256 == SHA


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"etag": '"v1"'},
        {"etag": 'W/"v1"', "accept_ranges": "bytes"},
        # No request can carry this one: the import crashed.
        {"etag": '"v\v1"', "accept_ranges": "bytes"},
    ],
)
async def test_without_ranges_or_a_strong_etag_it_starts_over(
    download: Downloader, headers: dict[str, str]
) -> None:
    async with RawServer([download.cut(600_000, **headers), WHOLE]) as server:
        await download(server, "a.ts")

    assert (download.into / "a.ts").read_bytes() == CONTENT
    assert "range" not in server.requests[1].headers


async def test_a_file_that_changed_meanwhile_is_never_a_mixture(download: Downloader) -> None:
    """With If-Range the manager sends the whole new file, and the old beginning is forgotten."""
    new = b"n" * len(CONTENT)
    async with RawServer([download.cut(600_000, **ETAG), reply(200, new, BYTES, etag='"v2"')]) as server:
        await download(server, "a.ts")

    assert (download.into / "a.ts").read_bytes() == new
    assert server.requests[1].headers["if-range"] == '"v1"'


# --- limits -------------------------------------------------------------------------------------------


async def test_a_result_that_announces_too_much_is_refused_before_its_body(download: Downloader) -> None:
    download.limit(max_size=len(CONTENT) - 1)
    async with RawServer([cut(CONTENT, 0)]) as server:
        with pytest.raises(ResultRefusedError, match=r"imports\.max_size"):
            await download(server, "a.ts")

    assert names(download.into) == []


async def test_a_result_that_announces_nothing_is_refused_when_it_becomes_too_large(
    download: Downloader,
) -> None:
    download.limit(max_size=3 * len(CONTENT) // 2)
    async with RawServer([chunked(CONTENT, whole=True)]) as server:
        with pytest.raises(ResultRefusedError):
            await download(server, "a.ts", "b.ts")

    assert download.received <= 3 * len(CONTENT) // 2


async def test_bytes_thrown_away_do_not_count_against_the_limit(download: Downloader) -> None:
    download.limit(max_size=len(CONTENT))
    async with RawServer([download.cut(600_000), download.cut(700_000, **ETAG), part(700_000)]) as server:
        assert [file.size for file in await download(server, "a.ts")] == [len(CONTENT)]


async def test_a_full_disk_is_found_before_anything_is_asked(download: Downloader) -> None:
    download.limit(keep_free=1000)
    download.free = 999
    async with RawServer([WHOLE]) as server:
        with pytest.raises(NoSpaceError, match=r"imports\.keep_free"):
            await download(server, "a.ts")

    assert server.requests == []


async def test_a_file_larger_than_the_space_left_is_not_begun(download: Downloader) -> None:
    download.limit(keep_free=1000)
    download.free = len(CONTENT) + 999
    async with RawServer([WHOLE]) as server:
        with pytest.raises(NoSpaceError):
            await download(server, "a.ts")

    assert download.received == 0


async def test_a_file_that_announces_nothing_ends_when_the_space_to_be_left_free_is_met(
    download: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_limits, "_CHECK_EVERY", 1000)
    download.limit(keep_free=1000)
    download.free = 999 + len(CONTENT)
    download.shrinks = True
    async with RawServer([chunked(CONTENT, whole=True)]) as server:
        with pytest.raises(NoSpaceError, match=r"imports\.keep_free"):
            await download(server, "a.ts")

    assert 0 < download.received <= len(CONTENT)
    assert names(download.into) == []


async def test_files_that_arrive_at_once_do_not_count_on_the_same_space(download: Downloader) -> None:
    """Each of two files would have fitted; both of them filled the disk."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def first(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, content_type=BYTES, content_length=str(len(CONTENT))) + CONTENT[:1000])
        begun.set()
        await go_on.wait()

    async def second(request: Request, writer: asyncio.StreamWriter) -> None:
        await begun.wait()
        while not download.came:
            download.arrived.clear()
            await download.arrived.wait()
        await WHOLE(request, writer)

    download.free = 3 * len(CONTENT) // 2
    async with RawServer([by_name({"a.ts": first, "b.ts": second})]) as server:
        async with asyncio.timeout(20):
            with pytest.raises(NoSpaceError):
                await download(server, "a.ts", "b.ts")

    assert download.came == 1000


async def test_a_disk_that_fills_up_meanwhile_ends_the_download(
    download: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    async with RawServer([WHOLE]) as server:
        with pytest.raises(NoSpaceError):
            await download(server, "a.ts")

    assert len(server.requests) == 1
    assert names(download.into) == []


async def test_short_writes_lose_nothing(download: Downloader, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:70_000]))
    async with RawServer([WHOLE]) as server:
        await download(server, "a.ts")

    assert (download.into / "a.ts").read_bytes() == CONTENT


async def test_a_directory_that_cannot_be_written_is_told_in_words(download: Downloader) -> None:
    download.into = download.into / "missing" / "parent"
    async with RawServer([WHOLE]) as server:
        with pytest.raises(DownloadError, match="cannot be written"):
            await download(server, "a.ts")


async def test_at_most_so_many_files_are_fetched_at_once(download: Downloader) -> None:
    download.limit(parallel=2)
    running, most = 0, 0
    both = asyncio.Event()

    async def counted(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if most == 2:
            both.set()
        await both.wait()
        writer.write(head(200, content_type=BYTES, content_length="1") + b"x")
        await writer.drain()
        running -= 1

    async with RawServer([counted]) as server:
        await download(server, *(f"{number}.ts" for number in range(9)))

    assert most == 2


async def test_texts_and_pictures_do_not_wait_for_films(download: Downloader) -> None:
    """Mostly they wait for an answer: a result of many small files took a round trip for each two."""
    download.limit(parallel=2, parallel_small=3)
    running: list[str] = []
    all_there = asyncio.Event()

    async def counted(request: Request, writer: asyncio.StreamWriter) -> None:
        running.append(request.target.rpartition(".")[2])
        if len(running) == 5:
            all_there.set()
        await all_there.wait()
        await reply(200, b"x", BYTES)(request, writer)

    films, others = [f"{number}.ts" for number in range(4)], [f"{number}.vtt" for number in range(4)]
    async with RawServer([counted]) as server, asyncio.timeout(10):
        files = await download(server, *films, *others)

    assert sorted(running[:5]) == ["ts", "ts", "vtt", "vtt", "vtt"]
    assert [file.path for file in files] == [*films, *others]


async def test_memory_stays_flat_whatever_the_size(download: Downloader) -> None:
    block = b"\x55" * 2**20

    async def large(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, content_type=BYTES, content_length=str(64 * 2**20)))
        for _block in range(64):
            writer.write(block)
            await writer.drain()

    async with RawServer([large]) as server:
        tracemalloc.start()
        try:
            files = await download(server, "a.ts")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert sum(file.size for file in files) == 64 * 2**20
    assert peak < 8 * 2**20


async def test_a_cancelled_download_leaves_no_trace_and_no_open_file(download: Downloader) -> None:
    begun = asyncio.Event()

    async def stalls(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, content_type=BYTES, content_length=str(2 * len(CONTENT))) + CONTENT)
        await writer.drain()
        begun.set()
        await hang(request, writer)

    async with RawServer([stalls]) as server:
        running = asyncio.create_task(download(server, "a.ts"))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert names(download.into) == []
    assert not [target for target in open_files() if str(download.into) in target]

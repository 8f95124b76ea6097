"""A file is taken for whole only when something shows that it is, and only while it comes fast enough."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from poddispatchd.domain.manifest import ResultFile
from poddispatchd.errors import (
    DownloadError,
    ResultUnfetchableError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
)
from poddispatchd.runner.client import RunnerClient
from poddispatchd.sandbox.fake_runner_manager.results import RESULTS
from tests.integration.runner.raw_server import Answer, RawServer, Request, hang, head, raw, reply
from tests.integration.runner.test_result_download import BYTES, CONTENT, SHA, WHOLE, Downloader, chunked

MP4 = (RESULTS / "encoding" / "360p_source.mp4").read_bytes()
VTT = b"WEBVTT\n\n00:00.000 --> 00:01.000\nBonjour\n\n00:01.000 --> 00:02.000\nAu revoir\n"


@pytest.fixture
def download(client: RunnerClient, tmp_path: Path) -> Downloader:
    return Downloader(client, tmp_path / "result")


def until_closed(body: bytes, version: str = "1.0") -> Answer:
    """An answer that ends where its connection does, as HTTP/1.0 has it."""
    return raw(f"HTTP/{version} 200 OK\r\nContent-Type: {BYTES}\r\nConnection: close\r\n\r\n".encode() + body)


def behind_nginx(body: bytes) -> Answer:
    """Well-formed chunks made by a proxy that speaks HTTP/1.0 to the manager."""
    start = head(200, content_type=BYTES, server="nginx/1.22.1", transfer_encoding="chunked")
    return raw(start + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_half_a_film_in_an_answer_that_nothing_ends_is_fetched_again(
    download: Downloader, version: str
) -> None:
    """A manager that died behind nginx once left half an .mp4, which replaced the old one."""
    half = until_closed(MP4[: len(MP4) // 2], version)
    async with RawServer([half, half, until_closed(MP4, version)]) as server:
        await download(server, "360p_a.mp4")

    assert (download.into / "360p_a.mp4").read_bytes() == MP4
    assert len(server.requests) == 3


@pytest.mark.parametrize("answer", [until_closed(MP4[:5000]), behind_nginx(MP4[:5000])])
async def test_a_film_that_is_always_cut_never_arrives_and_the_words_say_what_to_change(
    download: Downloader, answer: Answer
) -> None:
    async with RawServer([answer]) as server:
        with pytest.raises(DownloadError, match=r"cut short.*proxy_http_version 1\.1"):
            await download(server, "360p_a.mp4")

    assert len(server.requests) == 5


@pytest.mark.parametrize("wrap", [until_closed, behind_nginx])
async def test_a_text_that_nothing_ends_is_believed_when_two_copies_are_the_same(
    download: Downloader, wrap: object
) -> None:
    assert callable(wrap)
    cut_at_a_caption = VTT[: VTT.index(b"\n00:01")]
    async with RawServer([wrap(cut_at_a_caption), wrap(VTT), wrap(VTT)]) as server:
        await download(server, "s.vtt")

    assert (download.into / "s.vtt").read_bytes() == VTT
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "file"),
    [
        (reply(200, b"mp4mp4mp4", BYTES), ResultFile("a.mp4")),
        (chunked(b"mp4mp4mp4", whole=True), ResultFile("a.mp4")),
        (until_closed(CONTENT), ResultFile("a.mp4", SHA)),
    ],
)
async def test_a_body_with_a_length_whole_chunks_or_a_sum_needs_no_proof(
    download: Downloader, answer: Answer, file: ResultFile
) -> None:
    async with RawServer([answer]) as server:
        await download(server, file)

    assert len(server.requests) == 1


async def test_a_placeholder_that_nothing_vouches_for_is_not_believed(download: Downloader) -> None:
    async with RawServer([until_closed(b"mp4mp4mp4")]) as server:
        with pytest.raises(DownloadError, match="not what its name says"):
            await download(server, "a.mp4")


# --- speed ----------------------------------------------------------------------------------------------


def trickle(pieces: Sequence[bytes], seconds: float) -> Answer:
    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, content_type=BYTES, content_length=str(10**6)))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(seconds)

    return answer


async def test_a_manager_that_trickles_loses_its_place_after_two_windows(download: Downloader) -> None:
    """A byte every five seconds once kept an import for as long as the manager liked."""
    download.limit(min_rate=1000, rate_window=0.2)
    async with RawServer([trickle([b"x"] * 100, 0.05)]) as server:
        async with asyncio.timeout(5):
            with pytest.raises(
                DownloadError, match=r"in 2 attempts: .* comes too slowly: at least 1000 bytes"
            ):
                await download(server, "a.ts")

    assert len(server.requests) == 2


async def test_a_manager_that_falls_silent_in_a_body_is_given_up_after_one_window(
    download: Downloader,
) -> None:
    download.limit(min_rate=1000, rate_window=0.2, first_byte_timeout=60.0)

    async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, content_type=BYTES, content_length="1000000") + b"x" * 1000)
        await hang(request, writer)

    async with RawServer([silent, WHOLE]) as server:
        async with asyncio.timeout(5):
            files = await download(server, "a.ts")

    assert files[0].sha256 == SHA


async def test_a_manager_that_sends_no_first_byte_loses_its_place_after_two_waits(
    download: Downloader,
) -> None:
    download.limit(first_byte_timeout=0.1)
    async with RawServer([hang]) as server:
        with pytest.raises(RunnerManagerUnavailableError):
            await download(server, "a.ts")

    assert len(server.requests) == 2


def dripping(beginning: bytes, piece: bytes) -> Answer:
    """A piece every hundredth of a second, for as long as somebody listens."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    return answer


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n"),
    ],
    ids=["header", "headers"],
)
async def test_a_manager_whose_head_never_ends_loses_its_place_as_one_that_says_nothing(
    download: Downloader, monkeypatch: pytest.MonkeyPatch, beginning: bytes, piece: bytes
) -> None:
    monkeypatch.setattr("poddispatchd.runner.client.CONNECT_TIMEOUT", 0.2)
    download.limit(first_byte_timeout=0.1)
    async with RawServer([dripping(beginning, piece)]) as server:
        async with asyncio.timeout(10):
            with pytest.raises(RunnerManagerUnavailableError):
                await download(server, "a.ts")

    assert len(server.requests) == 2


async def test_a_refusal_whose_words_never_end_is_understood_by_its_status(
    download: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poddispatchd.runner.file_download._LONGEST_REFUSAL", 0.1)
    download.limit(first_byte_timeout=60.0)
    async with RawServer([dripping(head(404, content_length="60000"), b"a")]) as server:
        async with asyncio.timeout(10):
            with pytest.raises(RunnerManagerMisconfiguredError):
                await download(server, "a.ts")

    assert len(server.requests) == 1


async def test_a_result_of_many_slow_files_has_an_end_of_its_own(download: Downloader) -> None:
    download.limit(allowance=0.2, parallel_small=1)

    async def late(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        await reply(200, b"x", BYTES)(request, writer)

    async with RawServer([late]) as server:
        with pytest.raises(DownloadError, match="The result takes too long"):
            await download(server, *(f"{number}.txt" for number in range(100)))

    assert len(server.requests) < 10


async def test_small_files_share_a_kept_connection(download: Downloader) -> None:
    async with RawServer([reply(200, b"x", BYTES)]) as server:
        await download(server, *(f"{number}.txt" for number in range(40)))

    assert server.connections <= download.limits.parallel_small


async def test_a_name_that_a_proxying_manager_never_gives_is_told_as_final(download: Downloader) -> None:
    gone = reply(404, b'{"detail": "Error fetching result from runner"}')
    async with RawServer([gone]) as server:
        with pytest.raises(ResultUnfetchableError, match=r"'360p_\(2\)\.mp4'.*rename the source file"):
            await download(server, "360p_(2).mp4")

    assert len(server.requests) == 1

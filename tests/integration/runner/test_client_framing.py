"""How a manager frames its answers is its own choice: none of them holds up what else is to be done."""

import asyncio
import time

import aiohttp
import pytest

from poddispatchd.config.model import RunnersSettings
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.errors import RunnerManagerUnavailableError
from poddispatchd.runner import connections
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import BoundedHandler, open_session
from tests.integration.runner.raw_server import Answer, RawServer, Request, head
from tests.unit.runner.managers import manager

TASK = RunnerTaskId("golden-1")
CHUNKED = head(200, content_type="application/octet-stream", transfer_encoding="chunked")
RECORD = b'{"task_id": "golden-1", "status": "running"}'


def for_ever(begin: bytes, piece: bytes) -> Answer:
    """An answer without an end, as fast as it is taken."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(piece * (2**16 // len(piece)))
            await writer.drain()

    return answer


def whole(content: bytes) -> Answer:
    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return answer


def chunked(content: bytes, size: int) -> bytes:
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        for_ever(b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
        for_ever(CHUNKED, b"1\r\na\r\n"),
        for_ever(CHUNKED, b"1;" + b"x" * 1000 + b"\r\na\r\n"),
        for_ever(CHUNKED + b"1;", b"x"),
        for_ever(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    ],
    ids=["continue", "hints", "chunks of a byte", "long extensions", "endless extension", "headers"],
)
async def test_a_manager_that_sends_next_to_nothing_in_many_words_is_given_up_at_once(
    session: aiohttp.ClientSession, answer: Answer
) -> None:
    """It kept the event loop for half a second at a time, until the time for an answer was over."""
    client = RunnerClient(session, request_timeout=60.0)
    async with RawServer([answer]) as server:
        begun = time.process_time()
        with pytest.raises(RunnerManagerUnavailableError):
            await client.status(manager(server.url), TASK)
        assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "unasked", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
async def test_answers_that_nobody_asked_for_end_their_connection(
    monkeypatch: pytest.MonkeyPatch, unasked: bytes
) -> None:
    """A connection that was kept took them by the ten thousands, with 3 KB of memory for each."""
    monkeypatch.setattr(connections, "_KEEP_ALIVE", 3600.0)
    is_read = asyncio.Event()
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, content_length=str(len(RECORD))) + RECORD)
        await is_read.wait()
        try:
            for _round in range(64):
                writer.write(unasked * 400)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            ends.put_nowait("ended")
            raise
        ends.put_nowait("taken")

    async with open_session(RunnersSettings()) as session, RawServer([answer]) as server:
        client = RunnerClient(session, request_timeout=5.0)
        assert (await client.status(manager(server.url), TASK)).status is RunnerStatus.RUNNING
        is_read.set()
        assert await ends.get() == "ended"


async def test_an_answer_is_read_though_one_that_nobody_asked_for_came_with_it(client: RunnerClient) -> None:
    answer = head(200, content_length=str(len(RECORD))) + RECORD
    async with RawServer([whole(answer + head(500, content_length="0"))]) as server:
        for _ in range(2):
            assert (await client.status(manager(server.url), TASK)).status is RunnerStatus.RUNNING
    assert server.connections == 2


async def test_an_answer_may_follow_an_informational_one_and_come_in_small_chunks(
    client: RunnerClient,
) -> None:
    answers = [
        whole(b"HTTP/1.1 100 Continue\r\n\r\n" + head(200, content_length=str(len(RECORD))) + RECORD),
        whole(CHUNKED + chunked(RECORD, 1)),
        whole(CHUNKED + chunked(RECORD[:-1] + b" " * 500_000 + b"}", 200)),
    ]
    async with RawServer(answers) as server:
        for _ in answers:
            assert (await client.status(manager(server.url), TASK)).status is RunnerStatus.RUNNING
    assert server.connections == 1


async def test_a_file_in_chunks_of_a_byte_breaks_off_and_one_in_honest_chunks_does_not(
    client: RunnerClient,
) -> None:
    content = b"x" * 2_000_000
    plain = head(200, content_length=str(len(content))) + content
    answers = [whole(plain), whole(CHUNKED + chunked(content, 4096)), whole(CHUNKED + chunked(content, 1))]
    async with RawServer(answers) as server:
        for is_honest in (True, True, False):
            async with client.result_file(
                manager(server.url), TASK, "a.mp4", headers={}, first_byte_timeout=5
            ) as response:
                if is_honest:
                    assert await response.read() == content
                    continue
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()


async def test_nothing_but_the_body_of_a_known_length_is_taken_in_large_pieces(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when aiohttp makes its connections in another way than the one that is bounded."""
    sizes: list[int] = []
    get_buffer = BoundedHandler.get_buffer

    def seen(self: BoundedHandler, sizehint: int) -> memoryview:
        buffer = get_buffer(self, sizehint)
        sizes.append(len(buffer))
        return buffer

    client = RunnerClient(session, request_timeout=5.0)
    content = b"x" * 4_000_000
    monkeypatch.setattr(BoundedHandler, "get_buffer", seen)
    async with (
        RawServer([whole(head(200, content_length=str(len(content))) + content)]) as server,
        client.result_file(manager(server.url), TASK, "a.mp4", headers={}, first_byte_timeout=5) as response,
    ):
        assert len(await response.read()) == len(content)
    assert sizes[0] == 2**14
    assert max(sizes) == 2**17 - 2**12

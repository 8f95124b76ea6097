"""Clients that are refused by their head alone get the answer, and cost a bounded time in each turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from aiohttp import web

from poddispatchd.config.units import Address
from poddispatchd.web import closing
from poddispatchd.web.connection_limits import ListenerLimits
from poddispatchd.web.listener import ListenerOptions, listening, serving
from poddispatchd.web.unauthenticated import Serve, Verdict
from tests.integration.web.wire import connect, ended, many, said

_POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
_ANSWER = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
_KNOWN = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def _hello(_: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


def _judge(address: str, head: bytes, looked: "asyncio.Future[None] | None" = None) -> Verdict:
    return Serve(b"a token") if head.startswith(b"GET") else _ANSWER


@asynccontextmanager
async def _listener(most: int = 8000) -> AsyncIterator[Address]:
    limits = ListenerLimits(most=most, most_of_one=None)
    async with listening(
        _hello, Address("127.0.0.1", 0), "webhook.listen", ListenerOptions(limits=limits, early=_judge)
    ) as address:
        yield address


@pytest.mark.parametrize(
    "request_",
    [
        _POST + b"Content-Length: 150000\r\n\r\n" + b"a" * 150_000,
        _POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 25_000,
        _POST + b"Content-Length: 2\r\n\r\n{}",
        _POST + b"\r\n",
    ],
    ids=["large", "chunks of one byte", "small", "no body"],
)
async def test_a_client_who_sends_all_of_a_body_before_it_listens_hears_the_answer(request_: bytes) -> None:
    """A connection that is closed with something unread is reset, and the answer lost with it."""
    async with _listener() as address:
        reader, writer = await connect(address)
        for begin in range(0, len(request_), 10_000):
            writer.write(request_[begin : begin + 10_000])
            await writer.drain()
            await asyncio.sleep(0.001)
        async with asyncio.timeout(20):
            assert await reader.read() == _ANSWER
        writer.close()


async def test_a_body_that_comes_after_its_answer_takes_nothing_back() -> None:
    """As many clients send them: the head first, the body in another piece."""
    async with _listener() as address:
        reader, writer = await connect(address)
        writer.write(_POST + b"Content-Length: 2\r\n\r\n")
        async with asyncio.timeout(20):
            await reader.readexactly(1)
            writer.write(b"{}")
            await writer.drain()
            await asyncio.sleep(0.05)
            assert await reader.read() == _ANSWER[1:]
        writer.close()


async def _send_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"a" * 2**16)
        await writer.drain()


async def test_whoever_goes_on_for_ever_is_cut_off() -> None:
    async with _listener() as address:
        _, writer = await connect(address)
        writer.write(_POST + b"Content-Length: 99999999\r\n\r\n")
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_send_for_ever(writer), 20)


async def test_whoever_has_its_answer_and_neither_sends_nor_closes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(closing, "_LINGER_SECONDS", 0.1)
    opened = serving(_hello, Address("127.0.0.1", 0), "webhook.listen", ListenerOptions(early=_judge))
    async with (
        opened as listener,
        many(listener.address, 50, _POST + b"Content-Length: 5\r\n\r\n") as readers,
    ):
        for reader in readers:
            assert await reader.read() == _ANSWER
        async with asyncio.timeout(20):
            while len(listener.site.table):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)


async def test_refused_clients_have_their_turns_and_everybody_else_goes_on_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a refused client costs: in each turn of the loop time is up after it."""
    clock = count()
    answered: list[float] = []
    monkeypatch.setattr(closing, "thread_time", lambda: float(next(clock)))
    original = closing.Closer._answer

    def answer(self: closing.Closer, refused: closing._RefusedPeer) -> None:
        answered.append(turns)
        original(self, refused)

    monkeypatch.setattr(closing.Closer, "_answer", answer)
    async with _listener() as address, many(address, 40, _POST + b"\r\n") as readers:
        turns = 0.0
        while len(answered) < 40:
            turns += 1
            await asyncio.sleep(0)
        assert max(map(answered.count, answered)) == 1
        assert await ended(readers) == 40


async def test_refused_clients_that_wait_for_their_answer_make_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(closing.Closer, "_answer_some", lambda _: None)
    async with _listener(most=20) as address, many(address, 50, _POST + b"\r\n") as readers:
        assert await ended(readers, within=2) == 30
        assert (await said(address, _KNOWN)).startswith(b"HTTP/1.1 200 ")


async def test_the_end_of_the_listener_waits_for_no_refused_client() -> None:
    async with _listener() as address:
        reader, writer = await connect(address)
        writer.write(_POST + b"Content-Length: 5\r\n\r\n")
        await reader.readexactly(1)
    async with asyncio.timeout(20):
        assert await reader.read() == _ANSWER[1:]
    writer.close()

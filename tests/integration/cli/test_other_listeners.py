"""Something else listens where the daemon should: a command says so, soon, whatever it is."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from poddispatchd.cli import local_http
from poddispatchd.cli.daemon_state import DaemonAwayError, State, ask_daemon
from poddispatchd.config.units import Address
from poddispatchd.web.listener_site import FULL

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _says(data: bytes, *, then: bytes = b"", pause: float = 0.0) -> Answer:
    """One that says something, and then something else for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        while then:
            writer.write(then)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


_STATE = b'{"version": "0.0.9", "instance": "x", "queue": [], "problems": [], "managers": %s}'


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def _listening(answer: Answer) -> AsyncIterator[Address]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_silent, "No daemon answers"),
        (_says(_HEAD, then=b"X-More: \r\n", pause=0.01), "No daemon answers"),
        (_says(b"", then=b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.01), "No daemon answers"),
        (_says(_HEAD + b"\r\n[", then=b"[" * 2**16), "is no poddispatchd"),
        (_says(b"", then=b"x" * 2**16), "is no poddispatchd"),
        (_says(_HEAD + b"\r\n" + b"[" * 10**6), "is no poddispatchd"),
        (_says(_HEAD + b"\r\n[]"), "is no poddispatchd"),
        (_says(_HEAD + b'\r\n{"version": "1"}'), "is no poddispatchd"),
        (_says(_HEAD + b"\r\n" + _STATE % b"[1]"), "is no poddispatchd"),
        (_says(_HEAD + b"\r\n" + _STATE % b"null"), "is no poddispatchd"),
        # 'status' of this release ended with a traceback while the daemon of an older one ran on.
        (_says(_HEAD + b"\r\n" + _STATE % b"[]"), r"is of another release \(0.0.9\) .*: restart it"),
        (_says(_HEAD + b"Content-Length: 9\r\n\r\n{}"), "is no poddispatchd"),
        (_says(b"220 smtp.example.org\r\n"), "is no poddispatchd"),
        (_says(os.urandom(5000)), "is no poddispatchd"),
        (_says(b"HTTP/1.1 404 Not Found\r\n\r\n"), "answers 404: is that poddispatchd"),
        (_says(b"HTTP/1.1 503 No\r\n\r\n" + b"[" * 10**6), "The daemon is not ready."),
        (_says(FULL), "All connections are in use: ask again in some seconds."),
    ],
)
async def test_whatever_answers_there_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, words: str
) -> None:
    """Any other service at its port ended 'status' with a traceback, an endless one took all memory."""
    monkeypatch.setattr(local_http, "_SECONDS", 1.0)
    async with asyncio.timeout(20), _listening(answer) as address:
        with pytest.raises(DaemonAwayError, match=words):
            await asyncio.to_thread(ask_daemon, address)


async def test_no_proxy_is_asked_for_what_listens_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Universities set HTTP_PROXY for everybody, and it answers for machines of its own."""
    state = dict.fromkeys(State.__required_keys__) | {"queue": [], "managers": []}
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with _listening(_says(_HEAD + b"\r\n" + json.dumps(state).encode())) as address:
        assert dict(await asyncio.to_thread(ask_daemon, address)) == state

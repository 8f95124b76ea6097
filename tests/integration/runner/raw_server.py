"""A server that writes exactly the bytes a test wants, and remembers what it was asked."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class RawServer:
    """Answers the n-th request with the n-th of ``answers``; the last one repeats."""

    answers: list[Answer]
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _handlers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        connection = self.connections
        try:
            while (request := await self._read(reader, connection)) is not None:
                answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
                self.requests.append(request)
                await answer(request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._handlers.discard(task)

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        headers.pop("", None)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, target, headers, body, connection)


def reply(
    status: int = 200,
    body: bytes = b"",
    kind: str = "application/json",
    **headers: str,
) -> Answer:
    """A well-formed answer. Names of headers are written with ``_`` for ``-``."""
    named = {"content-type": kind, "content-length": str(len(body)), **_names(headers)}

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, **named) + body)

    return answer


def head(status: int, **headers: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in _names(headers).items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def raw(content: bytes) -> Answer:
    """These bytes, then the connection closes."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        raise ConnectionResetError

    return answer


async def drop(_: Request, writer: asyncio.StreamWriter) -> None:
    """No answer: the connection closes."""
    raise ConnectionResetError


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    """No answer, and the connection stays."""
    await asyncio.Event().wait()


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

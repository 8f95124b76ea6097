"""A TCP proxy before a database or a runner manager, which can be cut, stalled, half open or slow."""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from poddispatchd.domain.secret import SecretStr

_CHUNK = 65536


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.near = near
        self.far = far
        self.flows = asyncio.Event()
        self.flows.set()

    def reset(self) -> None:
        """End both sides at once, with RST rather than FIN."""
        for _, writer in (self.near, self.far):
            abort(writer)


def through(dsn: SecretStr, port: int) -> SecretStr:
    """The address of a database behind a proxy, or a pooler, that listens on this port of this machine."""
    parts = urlsplit(dsn.get_secret_value())
    login = parts.netloc.rpartition("@")[0]
    return SecretStr(urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}")))


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    held = writer.get_extra_info("socket")
    if held is not None:
        with suppress(OSError):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport = writer.transport
    transport.abort()


class Proxy:
    """Forwards connections to ``port``; use it with ``async with``.

    Attributes:
        delay: seconds that every chunk is late.
        accepted: connections taken so far, those refused by a cut included: shows a busy loop.
        hurt: connections that were reset or refused, and chunks that were late, held back or lost: shows
            that a fault met somebody.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self._host, self._far_port = host, port
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._is_cut = False
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.delay = 0.0
        self.accepted = 0
        self.hurt = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.reset()
        for serving in list(self._serving):
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    # --- faults --------------------------------------------------------------------------------------

    def cut(self) -> None:
        """End every connection and refuse new ones until ``heal``."""
        self._is_cut = True
        for link in list(self._links):
            self.hurt += 1
            link.reset()

    def stall(self) -> None:
        """Let nothing through on any connection, new ones included, until ``heal``."""
        self._passing.clear()

    def half_open(self) -> "list[_Link]":
        """Let nothing through any more on the present connections, as if the peer had vanished.

        New connections work. The far side of the present ones stays open until ``forget`` ends it, as a
        server's own keep-alive would.
        """
        links = list(self._links)
        for link in links:
            link.flows.clear()
        return links

    @staticmethod
    def forget(links: "list[_Link]") -> None:
        """The server finds out that the peer of half-open connections is gone; the near side never hears."""
        for link in links:
            abort(link.far[1])

    def heal(self) -> None:
        """Undo ``cut``, ``stall`` and the delay; half-open connections stay dead."""
        self._is_cut = False
        self.delay = 0.0
        self._passing.set()

    # --- traffic -------------------------------------------------------------------------------------

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._serving.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._is_cut:
            self.hurt += 1
            abort(writer)
            return
        try:
            far = await asyncio.open_connection(self._host, self._far_port)
        except OSError:
            abort(writer)
            return
        link = _Link((reader, writer), far)
        self._links.add(link)
        try:
            pumps = (
                asyncio.create_task(self._pump(link, reader, far[1])),
                asyncio.create_task(self._pump(link, far[0], writer)),
            )
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                if not link.flows.is_set():
                    # Half open: the side that is left hears nothing of the other one's end.
                    await asyncio.wait(pumps)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._links.discard(link)
            for end in (writer, far[1]):
                end.close()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                is_hurt = self.delay or not self._passing.is_set() or not link.flows.is_set()
                self.hurt += bool(is_hurt)
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._passing.wait()
                if not link.flows.is_set():
                    continue
                writer.write(data)
                await writer.drain()

"""A way to PostgreSQL that can be shut: what a stopped or restarted server looks like to its clients."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from poddispatchd.domain.secret import SecretStr


class Gate:
    """Forwards a port of its own to the server of an address; starts shut."""

    def __init__(self, dsn: SecretStr) -> None:
        self._parts = urlsplit(dsn.get_secret_value())
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def dsn(self) -> SecretStr:
        """The address through the gate."""
        login = self._parts.netloc.rpartition("@")[0]
        return SecretStr(urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self.port}")))

    async def reserve(self) -> None:
        """Choose the port, and stay shut."""
        await self.open()
        await self.shut()

    async def open(self) -> None:
        """Let everyone through."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse connections, and cut those there are."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._open |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

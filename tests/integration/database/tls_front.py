"""TLS before a PostgreSQL that has none: the handshake is a real one, and behind it is the real server."""

import asyncio
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from poddispatchd.domain.secret import SecretStr

_SSL_REQUEST = 8


class TlsFront:
    """Speaks TLS for the server of an address; ``context`` can be changed, and counts for who comes next.

    ``taken``: how many connections there have been.
    """

    def __init__(self, dsn: SecretStr, context: ssl.SSLContext) -> None:
        self._dsn = urlsplit(dsn.get_secret_value())
        self.context = context
        self.taken = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def dsn(self, query: str, *, host: str = "localhost") -> SecretStr:
        """The same database behind TLS."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        login = self._dsn.netloc.rpartition("@")[0]
        return SecretStr(urlunsplit(self._dsn._replace(netloc=f"{login}@{host}:{port}", query=query)))

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        self.taken += 1
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            await reader.readexactly(_SSL_REQUEST)
            writer.write(b"S")
            await writer.start_tls(self.context)
            answers, far = await asyncio.open_connection(self._dsn.hostname, self._dsn.port)
            await asyncio.gather(_pass_on(reader, far), _pass_on(answers, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            for each in filter(None, (far, writer)):
                each.transport.abort()
            self._writers.discard(writer)
            self._handlers.discard(handler)


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
    to.close()

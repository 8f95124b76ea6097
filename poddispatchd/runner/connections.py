"""Connections by HTTP, bounded in what a parser has to do for a server; and the session for runner managers.

Whatever else is asked by HTTP, push services and receivers of events, is asked over bounded ones, too.
"""

import asyncio
from functools import partial
from typing import Any, TypeVar

import aiohttp
from aiohttp import ClientPayloadError, StreamReader, TCPConnector, client_reqrep
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from multidict import CIMultiDict

from poddispatchd import __version__
from poddispatchd.config.model import RunnersSettings
from poddispatchd.runner.authorities import TrustedAuthorities, TrustingConnector

_KEEP_ALIVE = 1.5
"""Seconds. A manager closes idle connections after 2.0 s: one must never be taken up again near that moment,
because a POST that meets it leaves open whether it was carried out."""

_CONNECTIONS_PER_HOST = 256
"""More than the downloads of 32 imports together, so that they never keep a submission waiting."""

_SLICE = 2**14
"""Bytes that are taken of a connection in one turn of the event loop, of heads and of chunks: a parser that
is given chunks of one byte is done with so many of them in some milliseconds."""

_LARGE_SLICE = 2**17 - 2**12
"""The same of a body whose length is known: nothing of it is parsed. A little less than what is mapped and
unmapped each by itself (``runtime.memory``): new pages would cost more than the copy into them."""

_MOST_INTERIM = 8
"""Informational answers (1xx) before the one that counts; honest servers give one or two."""

_FRAMING = 2**14
"""Bytes of the framing of a body which are always allowed: sizes of chunks, their extensions, trailers."""

_WINDOW = 2**20
"""Bytes after which framing and body are counted anew, so that nobody saves up for later."""


class BoundedHandler(ResponseHandler, asyncio.BufferedProtocol):
    """A connection to a server.

    One that sends informational answers for ever, its body in chunks of a byte, or answers that nobody has
    asked for, would keep the event loop from everything else.
    """

    def __init__(self, space: memoryview, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._space = space
        self._interim = 0
        self._is_asked = False
        self._body: StreamReader | None = None
        self._is_chunked = True
        self._came = 0
        self._counted = 0

    def set_response_params(self, **parameters: Any) -> None:  # noqa: ANN401 - aiohttp's own
        """A request is about to be sent: one answer is wanted."""
        self._is_asked = True
        super().set_response_params(**parameters)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Where the kernel puts what has arrived."""
        is_plain = self._body is not None and not self._is_chunked and not self._body.is_eof()
        return self._space if is_plain else self._space[:_SLICE]

    def buffer_updated(self, nbytes: int) -> None:
        """So much of it has arrived."""
        # A copy: the space is the same for all connections.
        self.data_received(bytes(self._space[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """As aiohttp, and see whether it was worth it."""
        super().data_received(data)
        self._came += len(data)
        body = self._body
        if body is None or body.is_eof():
            return
        carried = body.total_bytes - self._counted
        if self._came > _FRAMING + carried * 5 // 4:
            error = ClientPayloadError("more framing than body")
            body.set_exception(error)
            self._end(error)
        elif self._came > _WINDOW:
            self._came, self._counted = 0, body.total_bytes

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """The head of an answer is there."""
        message, body = data
        if not self._is_asked:
            # The answer before it may have come a moment ago, and is read all the same.
            self.force_close()
            if self.transport is not None:
                self.transport.abort()
            return
        if 100 <= message.code < 200 and message.code != 101:
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                self._buffer.clear()
                self._end(HttpProcessingError(code=message.code, message="too many informational answers"))
            else:
                super().feed_data(data, size)
            return
        self._is_asked = False
        # A kept connection begins anew with each answer.
        self._interim = self._came = self._counted = 0
        self._body, self._is_chunked = body, message.chunked
        super().feed_data(data, size)

    def _end(self, error: Exception) -> None:
        self.set_exception(error)
        if self.transport is not None:
            self.transport.abort()


_Connector = TypeVar("_Connector", bound=TCPConnector)


def bound(connector: _Connector) -> _Connector:
    """The same connector, whose connections are bounded; called once, in the running loop."""
    space = memoryview(bytearray(_LARGE_SLICE))
    make = partial(BoundedHandler, space, asyncio.get_running_loop())
    # aiohttp has no other place for it; a test fails when this one is gone.
    connector._factory = make  # type: ignore[assignment] # noqa: SLF001 - what it makes is a ResponseHandler
    return connector


class _HeaderWriter(StreamWriter):
    """Writes an ``Authorization`` header in latin-1, as every other client does; aiohttp knows UTF-8 only."""

    async def write_headers(self, status_line: str, headers: "CIMultiDict[str]") -> None:
        """Write the head of a request."""
        await super().write_headers(status_line, headers)
        token = headers.get("Authorization", "")
        if not token.isascii() and self._headers_buf is not None:
            self._headers_buf = self._headers_buf.replace(token.encode(), token.encode("latin-1"), 1)


# aiohttp takes no other writer: requests without such a header are written as before.
client_reqrep.StreamWriter = _HeaderWriter  # type: ignore[attr-defined]


def open_session(settings: RunnersSettings) -> aiohttp.ClientSession:
    """The HTTP session for all runner managers; the caller closes it. Called once, in the running loop.

    Environment variables (proxies, netrc) are ignored: a netrc entry would replace the token.

    Raises:
        ConfigurationError: runners.ca_file cannot be read.
    """
    connector = bound(
        TrustingConnector(
            TrustedAuthorities(settings.ca_file),
            limit_per_host=_CONNECTIONS_PER_HOST,
            keepalive_timeout=_KEEP_ALIVE,
        )
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        # A compressed answer could be small on the wire and endless in memory; managers never compress.
        headers={"User-Agent": f"poddispatchd/{__version__}", "Accept-Encoding": "identity"},
    )

"""The client's side of a connection: aiohttp's, with bounds to what a parser has to do for a server.

For runner managers, and for whatever else is asked by HTTP: push services, receivers of events.
"""

import asyncio
from functools import partial

from aiohttp import ClientPayloadError, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage

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

    One that sends informational answers for ever, or its body in chunks of a byte, would keep the event
    loop from everything else.
    """

    def __init__(self, space: memoryview, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._space = space
        self._interim = 0
        self._body: StreamReader | None = None
        self._is_chunked = True
        self._came = 0
        self._counted = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Where the kernel puts what has arrived."""
        is_plain = self._body is not None and not self._is_chunked and not self._body.is_eof()
        return self._space if is_plain else self._space[:_SLICE]

    def buffer_updated(self, nbytes: int) -> None:
        """So much of it has arrived."""
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
        if 100 <= message.code < 200 and message.code != 101:
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                self._buffer.clear()
                self._end(HttpProcessingError(code=message.code, message="too many informational answers"))
            else:
                super().feed_data(data, size)
            return
        self._interim = self._came = self._counted = 0
        self._body, self._is_chunked = body, message.chunked
        super().feed_data(data, size)

    def _end(self, error: Exception) -> None:
        self.set_exception(error)
        if self.transport is not None:
            self.transport.abort()


def bound(connector: TCPConnector) -> TCPConnector:
    """The same connector, whose connections are bounded; called once, in the running loop."""
    space = memoryview(bytearray(_LARGE_SLICE))
    make = partial(BoundedHandler, space, asyncio.get_running_loop())
    # aiohttp has no other place for it; a test fails when this one is gone.
    connector._factory = make  # type: ignore[assignment] # noqa: SLF001 - what it makes is a ResponseHandler
    return connector

"""The server's side of a connection: aiohttp's, with limits in front and nothing of a peer in its words."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestHandler

from poddispatchd.observability.events import Event
from poddispatchd.web.bodies import drain
from poddispatchd.web.connection_limits import ConnectionTable, Peer
from poddispatchd.web.fixed_answer import FixedAnswer
from poddispatchd.web.listener_site import SLICE, WORDS, ListenerSite, canned

_LONGEST_LINE = 8190
_MOST_HEADERS = 64
_WRITE_SECONDS = 10.0
"""Whoever does not read an answer for so long does not get it."""

_MOST_HELD = SLICE
"""Bytes of a body that are kept, unread, until it is known who speaks."""

_CHUNKED_SLICE = 2**12
"""Bytes of a chunked body that are parsed at a time: a chunk costs some microseconds, however small it is."""

_FRAMING = 2**12
"""Bytes of the framing of a body which are always allowed: sizes of chunks, their extensions, trailers."""


class Connection(RequestHandler, asyncio.BufferedProtocol):
    """A connection whose first request is there: its ``head``, and what has arrived behind it.

    Where tokens are asked for, nothing behind the head of the first request reaches a parser before a valid
    one was shown (invariant I13): not even the framing of the body.
    """

    __slots__ = (
        "_answered",
        "_came",
        "_first",
        "_held",
        "_is_chunked",
        "_is_half_closed",
        "_linger",
        "_raw",
        "_request",
        "_site",
        "is_recognised",
        "peer",
    )

    def __init__(
        self,
        site: ListenerSite,
        peer: Peer,
        head: bytes,
        rest: bytes,
        *,
        linger: Callable[[socket.socket, str], None],
    ) -> None:
        super().__init__(
            site.server,
            loop=site.loop,
            access_log=None,  # type: ignore[arg-type] # as web.AppRunner is given it
            auto_decompress=False,
            lingering_time=0,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            max_headers=_MOST_HEADERS,
        )
        self._site = site
        self._raw: asyncio.Transport | None = None
        self._held: bytearray | None = None
        self._linger = linger
        self._request: web.BaseRequest | None = None
        self._came = 0
        self._is_chunked = False
        self.is_recognised = False
        """Whether the request that is served was made with a valid token."""
        self.peer = peer
        self._first = head, rest
        self._answered = 0
        self._is_half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As aiohttp, which forgets its transport before the kernel does; and serve the first request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listener's sockets are streams
        self._raw = transport
        self.peer.drop = self.drop
        super().connection_made(transport)
        head, rest = self._first
        self._first = b"", b""
        holds = self._site.holds_bodies
        if self._parse(head if holds else head + rest) and not self._request_count:
            self._give_up("no request")  # as HTTP/2: whoever waits for it would be waited for, for ever
        if holds:
            self._held = bytearray(rest)

    def connection_lost(self, exc: BaseException | None) -> None:
        """As aiohttp, and make room."""
        self._raw = self._request = None
        self._site.table.remove(self.peer)
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Where the kernel puts what has arrived."""
        return self._site.slice[:_CHUNKED_SLICE] if self._is_chunked else self._site.slice

    def buffer_updated(self, nbytes: int) -> None:
        """So much of it has arrived."""
        self.data_received(bytes(self._site.slice[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Give the parser what has arrived, or keep it."""
        if self._held is None or not data:
            self._parse(data)
        else:
            self._held += data
            if len(self._held) >= _MOST_HELD and self._raw is not None:
                self._raw.pause_reading()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio takes an answer; aiohttp gives none
        """The peer sends nothing more; what it has asked for it hears all the same.

        Returns:
            Whether the connection goes on, until all is answered.
        """
        if self._request_count == self._answered:
            return False
        self._is_half_closed = True
        self._end_body()
        return True

    def _end_body(self) -> None:
        """Of a body that is wanted nothing more will come."""
        body = None if self._request is None else self._request.content
        if body is not None and not body.is_eof():
            body.set_exception(web.RequestPayloadError("the body is not whole"))

    def pause_writing(self) -> None:
        """The peer does not read: we wait for it, and when the listener is full, it makes room."""
        super().pause_writing()
        self._site.table.waits(self.peer, self._site.loop.time())

    def let_in(self, request: web.BaseRequest) -> None:
        """A valid token was shown: its body may be read."""
        self.is_recognised, self._request, self._came = True, request, 0
        self._is_chunked = "Transfer-Encoding" in request.headers
        held, self._held = self._held, None
        if held is None:
            if self._is_half_closed:
                self._end_body()  # it was cut off behind requests that were served first
            return
        if len(held) >= _MOST_HELD and self._raw is not None:
            self._raw.resume_reading()
        for at in range(0, len(held), _CHUNKED_SLICE):
            if not self._parse(bytes(held[at : at + _CHUNKED_SLICE])):
                return
        if self._is_half_closed:
            self._end_body()

    def _parse(self, data: bytes) -> bool:
        """As aiohttp; what its parser stumbles over is refused, not shown. False: the peer was given up."""
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, a peer made it and hears so
            self._give_up(type(error).__name__)
            return False
        self._came += len(data)
        body = None if self._request is None else self._request.content
        if body is not None and not body.is_eof() and self._came > _FRAMING + body.total_bytes * 5 // 4:
            # Chunks of a few bytes cost more to read than megabytes of others.
            self._give_up("framing")
            return False
        return True

    def _give_up(self, reason: str) -> None:
        self._request = None
        self._site.refuse(self.peer.address, 400, reason)
        if self._raw is not None:
            self._raw.write(canned(400))
        self.force_close()

    @property
    def table(self) -> ConnectionTable:
        """Where all connections of the listener stand."""
        return self._site.table

    def drop(self) -> None:
        """End the connection at once; an answer that nobody reads is not waited for."""
        raw = self._raw
        self.force_close()
        if raw is not None:
            raw.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer, within limits; then we wait for the peer."""
        if isinstance(resp, FixedAnswer):
            if self._goes_on(request) and self._raw is not None:
                self._answered += 1
                self._raw.write(resp.whole(self._site.headers))
                self._is_answered()
                return resp, False
            resp = resp.ordinary()
        for name, value in self._site.headers.items():
            resp.headers.setdefault(name, value)
        is_unread = not request.content.is_eof()
        self._answered += 1
        # What came behind an upgrade that is not made may be lost in the parser: the client is to know.
        is_last = self._is_half_closed and self._answered == self._request_count
        is_last = is_last or "Upgrade" in request.headers
        if is_unread or is_last or resp.status >= 400 or self._site.is_ending:
            resp.force_close()
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                finished = await super().finish_response(request, resp, start_time)
            if self._held is not None:
                self._leave(request)
            elif is_unread:
                # We wait for the peer, not it for us: when the listener is full, it makes room.
                self._site.table.waits(self.peer, self._site.loop.time())
                await drain(request)
        except TimeoutError:
            self.drop()
            return resp, True
        self._is_answered()
        return finished

    def _goes_on(self, request: web.BaseRequest) -> bool:
        """Whether the connection goes on after this request, and takes an answer without a wait."""
        return (
            request.keep_alive
            and request.version == HttpVersion11
            and request.content.is_eof()
            and "Upgrade" not in request.headers
            and not (self._is_half_closed or self._site.is_ending)
            and self._held is None
            and self._raw is not None
            and not self._raw.is_closing()
            and self._raw.get_write_buffer_size() == 0
        )

    def _is_answered(self) -> None:
        self.is_recognised, self._is_chunked, self._request = False, False, None
        self._site.table.waits(self.peer, self._site.loop.time())

    def _leave(self, request: web.BaseRequest) -> None:
        """End our side; what the client still sends, until it has the answer and closes, nobody reads."""
        held = b"" if self._held is None else self._held
        announced = request.headers.get("Content-Length", "0")
        is_all_here = "Transfer-Encoding" not in request.headers and str(len(held)) == announced
        if is_all_here or self._raw is None or self._raw.is_closing() or self._raw.get_write_buffer_size():
            return
        with suppress(OSError):
            self._linger(self._raw.get_extra_info("socket").dup(), self.peer.address)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what came
    ) -> web.StreamResponse:
        """Answer what is no request with a word of ours; a bug of ours is answered 503.

        Raises:
            ConnectionError: the peer has gone, or a part of another answer is out.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= 500:
            self._log_bug(exc)
            status = 503
        else:
            self._site.refuse(self.peer.address, status, type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        answer = web.Response(status=status, text=WORDS.get(status, "Bad request.") + "\n")
        answer.force_close()
        return answer

    def log_exception(self, *_: object, exc_info: object = None, **__: object) -> None:
        """Note a bug of ours, or of aiohttp's, without the text of the error."""
        self._log_bug(exc_info if isinstance(exc_info, BaseException) else None)

    def log_debug(self, *_: object, **__: object) -> None:
        """Say nothing."""

    def _log_bug(self, error: BaseException | None) -> None:
        where = error.__traceback__ if error is not None else None
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = None if where is None else f"{where.tb_frame.f_code.co_qualname}:{where.tb_lineno}"
        self._site.refusals.tell(
            Event.SERVICE_CRASHED, job=self._site.refusals.listener, error=type(error).__name__, place=place
        )

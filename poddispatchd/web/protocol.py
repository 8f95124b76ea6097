"""The server's side of a connection: aiohttp's, with limits in front and nothing of a peer in its words."""

import asyncio

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from poddispatchd.observability.events import Event
from poddispatchd.web.connection_limits import ConnectionTable, Peer
from poddispatchd.web.refusal_log import RefusalLog
from poddispatchd.web.strangers import Early

_LONGEST_HEAD = 16 * 2**10
_LONGEST_LINE = 8190
_MOST_HEADERS = 64
_WRITE_SECONDS = 10.0
"""Whoever does not read an answer for so long does not get it."""

_DRAINED = {False: (2**16, 1.0), True: (32 * 2**20, 5.0)}
"""Bytes, and seconds, of a body that nobody wants which are thrown away, lest the answer is lost with a reset
connection; more of somebody's who has shown a valid token."""

_SERVER = "poddispatchd"
_WORDS = {400: "Bad request.", 431: "The head of the request is too long.", 503: "Try again later."}
_REASONS = {400: "Bad Request", 431: "Request Header Fields Too Large"}

HEADERS = {"Server": _SERVER, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Of every answer; its ``Server`` has no version."""


class Site:
    """What all connections of a listener share."""

    def __init__(
        self,
        server: web.Server,
        table: ConnectionTable,
        refusals: RefusalLog,
        headers: dict[str, str],
        early: Early | None = None,
    ) -> None:
        self.server = server
        self.table = table
        self.refusals = refusals
        self.headers = HEADERS | headers
        self.is_ending = False
        self._early = early
        self.loop = asyncio.get_running_loop()

    def refuse(self, address: str, status: int, reason: str) -> None:
        """Note that a request was none."""
        self.refusals.tell(Event.REQUESTS_REFUSED, remote=address, status=status, reason=reason)

    def answers(self, address: str, data: bytes) -> bytes | None:
        """The whole answer to the beginning of a connection; None when aiohttp, or more of it, is needed."""
        if not (b"A" <= data[:1] <= b"Z" or data[:1] in b"\r\n"):
            self.refuse(address, 400, "not HTTP")
            return canned(400)
        if self._early is None or self.is_ending:
            return None
        return self._early(address, data)


class Gate(asyncio.Protocol):
    """A connection until the head of its first request is there.

    It costs little: no task, no parser. Whoever connects and says nothing, or next to nothing, stays here
    until its time is over or others need the room.
    """

    __slots__ = ("_first", "_head", "_site", "_transport", "peer")

    def __init__(self, site: Site, address: str, first: bytes = b"", *, is_exempt: bool) -> None:
        self._site = site
        self._head = b""
        self._first = first
        self._transport: asyncio.Transport | None = None
        self.peer = Peer(address, self.drop, is_exempt)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there: its first request is waited for."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listener's sockets are streams
        self._transport = transport
        self._site.table.add(self.peer, self._site.loop.time())
        first, self._first = self._first, b""
        if first:
            self._take(first, is_judged=True)

    def data_received(self, data: bytes) -> None:
        """A piece of the head; with the last one, aiohttp takes over."""
        self._take(data)

    def _take(self, data: bytes, *, is_judged: bool = False) -> None:
        seen = max(0, len(self._head) - 3)
        is_begun, self._head = bool(self._head), self._head + data
        is_whole = self._head.find(b"\r\n\r\n", seen) >= 0
        answer = None
        if not is_judged and (is_whole or not is_begun):
            answer = self._site.answers(self.peer.address, self._head)
        if answer is not None:
            self._refuse(answer)
        elif is_whole:
            self._hand_over()
        elif len(self._head) > _LONGEST_HEAD:
            self._site.refuse(self.peer.address, 431, "head too long")
            self._refuse(canned(431))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """It has ended before its first request was there."""
        self._transport = None
        self._site.table.remove(self.peer)

    def drop(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _hand_over(self) -> None:
        """Let aiohttp do the rest."""
        transport, head = self._transport, self._head
        self._transport, self._head = None, b""
        if transport is None or transport.is_closing():
            return
        connection = Connection(self._site, self.peer)
        self.peer.drop = connection.drop
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(head)

    def _refuse(self, answer: bytes) -> None:
        self._head = b""
        if self._transport is not None:
            self._transport.write(answer)
            self._transport.close()


class Connection(RequestHandler):
    """A connection whose first request is there."""

    __slots__ = ("_raw", "_site", "peer")

    def __init__(self, site: Site, peer: Peer) -> None:
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
        self.peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As aiohttp, which forgets its transport before the kernel does."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listener's sockets are streams
        self._raw = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """As aiohttp, and make room."""
        self._raw = None
        self._site.table.remove(self.peer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As aiohttp; what its parser stumbles over is refused, not shown."""
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, a peer made it and hears so
            self._site.refuse(self.peer.address, 400, type(error).__name__)
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
        for name, value in self._site.headers.items():
            resp.headers.setdefault(name, value)
        is_unread = not request.content.is_eof()
        if is_unread or resp.status >= 400 or self._site.is_ending:
            resp.force_close()
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                finished = await super().finish_response(request, resp, start_time)
            if is_unread:
                await _drain(request, *_DRAINED[self.peer.is_known])
        except TimeoutError:
            self.drop()
            return resp, True
        self._site.table.waits(self.peer, self._site.loop.time())
        return finished

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
        answer = web.Response(status=status, text=_WORDS.get(status, "Bad request.") + "\n")
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


def peer_of(request: web.BaseRequest) -> Peer | None:
    """The other end of a request's connection; None in a server that is not ours."""
    protocol = request.protocol
    return protocol.peer if isinstance(protocol, Connection) else None


def speaks_for(request: web.BaseRequest, address: str) -> bool:
    """A request is made on behalf of an address; whether that has not too many strangers here already."""
    protocol = request.protocol
    return not isinstance(protocol, Connection) or protocol.table.speaks_for(protocol.peer, address)


def recognise(request: web.BaseRequest) -> None:
    """The peer has shown a valid token: it is no stranger any more."""
    protocol = request.protocol
    if isinstance(protocol, Connection):
        protocol.table.knows(protocol.peer)


def canned(status: int) -> bytes:
    """A whole answer, without any parser's help."""
    words = (_WORDS[status] + "\n").encode()
    return (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nServer: {_SERVER}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(words)}\r\nConnection: close\r\n\r\n"
    ).encode() + words


async def _drain(request: web.BaseRequest, left: int, seconds: float) -> None:
    """Throw away a part of a body, which nobody looks at."""
    try:
        async with asyncio.timeout(seconds):
            while left > 0 and not request.content.is_eof():
                left -= len(await request.content.readany())
    except (TimeoutError, OSError, RuntimeError, web.RequestPayloadError, web.PayloadAccessError):
        return  # a RuntimeError: the connection is closed

"""A connection until the head of its first request is there."""

import asyncio

from poddispatchd.web.connection_limits import Peer
from poddispatchd.web.protocol import Connection
from poddispatchd.web.site import LONGEST_HEAD, Site, canned

_END = b"\r\n\r\n"


class Gate(asyncio.BufferedProtocol):
    """Takes the head of a request, and lets aiohttp do the rest.

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

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Where the kernel puts what has arrived."""
        return self._site.slice

    def buffer_updated(self, nbytes: int) -> None:
        """So much of the head has arrived; with the last piece, aiohttp takes over."""
        self._take(bytes(self._site.slice[:nbytes]))

    def _take(self, data: bytes, *, is_judged: bool = False) -> None:
        seen = max(0, len(self._head) - len(_END) + 1)
        is_begun, self._head = bool(self._head), self._head + data
        if not is_begun:
            self._head = self._head.lstrip(b"\r\n")  # as HTTP allows before a request
        end = self._head.find(_END, seen)
        answer = None
        if not is_judged and (end >= 0 or not is_begun):
            answer = self._site.answers(self.peer.address, self._head)
        if answer is not None:
            self._refuse(answer)
        elif max(end, len(self._head) if end < 0 else 0) > LONGEST_HEAD:
            self._site.refuse(self.peer.address, 431, "head too long")
            self._refuse(canned(431))
        elif end >= 0:
            self._hand_over(end + len(_END))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """It has ended before its first request was there."""
        self._transport = None
        self._site.table.remove(self.peer)

    def drop(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _hand_over(self, end: int) -> None:
        """Let aiohttp do the rest."""
        transport, head = self._transport, self._head
        self._transport, self._head = None, b""
        if transport is None or transport.is_closing():
            return
        connection = Connection(self._site, self.peer)
        self.peer.drop = connection.drop
        connection.begin(transport, head[:end], head[end:])

    def _refuse(self, answer: bytes) -> None:
        self._head = b""
        if self._transport is not None:
            self._transport.write(answer)
            self._transport.close()

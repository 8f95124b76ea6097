"""Answering unauthenticated clients, and closing their connections so that they get the answer.

A connection that is closed while its peer still sends is reset, and the peer may lose the answer with it. So
ours ends on our side only, and what still comes is discarded by the kernel: nothing of it is copied or looked
at. All that has its own time in each turn of the event loop, behind those who have not been heard yet: a
callback among them does not wait until they are answered.
"""

import select
import socket
import struct
from collections import deque
from contextlib import suppress
from functools import partial
from time import thread_time

from poddispatchd.web.connection_limits import Peer
from poddispatchd.web.listener_site import SLICE_SECONDS, ListenerSite

_MOST_EVENTS = 64

_DISCARDED = 2**23 + 2**16
"""Bytes that a peer may send after its answer; whoever sends more is reset. A web server in front sends the
whole of a body, as much as it lets through, before it looks for an answer."""

_AT_ONCE = 2**18
"""Bytes of one peer that are discarded in one turn of the event loop."""

_MOST_TURNED_AWAY = 64
"""Connections for which there is no room that are being answered at a time; of more, the rest is reset."""

_LINGER_SECONDS = 1.0
"""How long a peer may take to read its answer and close."""

_RESET = struct.pack("ii", 1, 0)


class _RefusedPeer:
    __slots__ = ("answer", "connection", "is_whole", "left", "peer", "until")

    def __init__(self, connection: socket.socket, peer: Peer, answer: bytes, *, is_whole: bool) -> None:
        self.connection = connection
        self.peer = peer
        self.answer = answer
        self.is_whole = is_whole
        self.left = _DISCARDED
        self.until = 0.0


class Closer:
    """Answers connections of unauthenticated clients and closes them.

    Args:
        site: what all connections of the listener share.
    """

    def __init__(self, site: ListenerSite) -> None:
        self._site = site
        self._to_answer: deque[_RefusedPeer] = deque()
        self._lingering: dict[int, _RefusedPeer] = {}
        """By descriptor, in the order of their ends."""
        self._is_looking = False
        self._nowhere = bytearray(_AT_ONCE)
        """Never written: the kernel wants to know where, though it is told to discard."""
        self._epoll = select.epoll()
        site.loop.add_reader(self._epoll.fileno(), self._discard)

    def refuse(self, connection: socket.socket, peer: Peer, answer: bytes, *, is_whole: bool) -> None:
        """Answer in its turn, and close.

        Args:
            connection: of an unauthenticated client.
            peer: the same in the table of connections, which it leaves then.
            answer: fits into the socket's buffer.
            is_whole: whether all that the peer wanted to say has been read: nothing more is waited for.
        """
        refused = _RefusedPeer(connection, peer, answer, is_whole=is_whole)
        peer.drop = partial(self._drop, refused)
        if not self._to_answer:
            self._site.loop.call_soon(self._answer_some)
        self._to_answer.append(refused)

    def turn_away(self, connection: socket.socket, address: str, answer: bytes, *, is_whole: bool) -> None:
        """Answer a connection for which no other one could make room: a reset tells nobody why.

        Args:
            connection: one that is not in the table of connections, and never will be.
            address: of its other end.
            answer: as of ``refuse``.
            is_whole: as of ``refuse``.
        """
        if len(self._to_answer) + len(self._lingering) < _MOST_TURNED_AWAY:
            self.refuse(connection, Peer(address, nothing, is_exempt=True), answer, is_whole=is_whole)
        else:
            reset(connection)

    def linger(self, connection: socket.socket, address: str) -> None:
        """End our side of a connection that has been answered, and wait for the other one.

        Args:
            connection: of an unauthenticated client.
            address: its own.
        """
        peer = Peer(address, nothing, is_exempt=True)
        refused = _RefusedPeer(connection, peer, b"", is_whole=False)
        peer.drop = partial(self._drop, refused)
        self._site.table.add(peer, self._site.loop.time())
        self._answer(refused)

    def close(self) -> None:
        """Wait for nobody any more."""
        self._site.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for refused in (*self._lingering.values(), *self._to_answer):
            refused.connection.close()
        self._lingering.clear()
        self._to_answer.clear()

    def _answer_some(self) -> None:
        until = thread_time() + SLICE_SECONDS
        while self._to_answer:
            refused = self._to_answer.popleft()
            if refused.connection.fileno() >= 0:  # not dropped meanwhile
                self._answer(refused)
            if self._to_answer and thread_time() > until:
                self._site.loop.call_soon(self._answer_some)
                return

    def _answer(self, refused: _RefusedPeer) -> None:
        try:
            if refused.answer:  # with the end in one packet
                refused.connection.send(refused.answer, socket.MSG_DONTWAIT | socket.MSG_MORE)
            refused.connection.shutdown(socket.SHUT_WR)
            refused.peer.has_asked = True
            if refused.is_whole:
                self._end(refused)
                return
            number = refused.connection.fileno()
            self._epoll.register(number, select.EPOLLIN)
        except OSError:  # of the last, too: the kernel may watch no more, and others wait behind this one
            self._end(refused)
            return
        self._lingering[number] = refused
        refused.until = self._site.loop.time() + _LINGER_SECONDS
        if not self._is_looking:
            self._is_looking = True
            self._site.loop.call_later(_LINGER_SECONDS, self._end_late)

    def _discard(self) -> None:
        until = thread_time() + SLICE_SECONDS
        for number, _ in self._epoll.poll(0, _MOST_EVENTS):
            refused = self._lingering[number]
            # Readable with nothing to read: the peer has closed.
            refused.left -= self._discarded(refused.connection) or refused.left
            if refused.left <= 0:
                self._end(refused)
            if thread_time() > until:
                return

    def _discarded(self, connection: socket.socket) -> int:
        """How many bytes had come; none: the peer has closed."""
        try:
            return connection.recv_into(self._nowhere, _AT_ONCE, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
        except OSError:
            return 0

    def _end_late(self) -> None:
        now, until = self._site.loop.time(), thread_time() + SLICE_SECONDS
        while self._lingering:
            first = next(iter(self._lingering.values()))
            if first.until > now:
                self._site.loop.call_at(first.until, self._end_late)
                return
            self._end(first)
            if thread_time() > until:
                self._site.loop.call_soon(self._end_late)
                return
        self._is_looking = False

    def _end(self, refused: _RefusedPeer) -> None:
        self._hear_no_more(refused)
        self._site.table.remove(refused.peer)
        refused.connection.close()

    def _drop(self, refused: _RefusedPeer) -> None:
        self._hear_no_more(refused)
        reset(refused.connection)

    def _hear_no_more(self, refused: _RefusedPeer) -> None:
        # Keep no circle: those are found late, when they are thousands.
        refused.peer.drop = nothing
        if self._lingering.pop(refused.connection.fileno(), None) is not None:
            self._epoll.unregister(refused.connection.fileno())


def nothing() -> None:
    """What is left to do for a connection that has ended."""


def reset(connection: socket.socket) -> None:
    """Close with a reset: nothing of it lingers in the kernel."""
    with suppress(OSError), connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

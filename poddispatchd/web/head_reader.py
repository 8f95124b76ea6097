"""Connections until the head of their first request is there: no task, no parser, no transport.

They wait at a descriptor of their own (epoll). However many of them have something to say, a few are heard in
each turn of the event loop, and callbacks go on between.
"""

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from time import thread_time

from poddispatchd.web.closing import Closer, nothing, reset
from poddispatchd.web.connection_limits import Peer
from poddispatchd.web.listener_site import FULL, LONGEST_HEAD, SLICE, SLICE_SECONDS, ListenerSite, canned
from poddispatchd.web.protocol import Connection
from poddispatchd.web.round_robin import RoundRobin
from poddispatchd.web.unauthenticated import Serve, Verdict, is_whole

_MOST_EVENTS = 64

_SERVED_AT_ONCE = 8
"""Connections of which serving begins in one turn of the event loop: each costs half a millisecond."""

_LARGE_HEAD = 2**11
"""Bytes of an unfinished head that anybody may have kept: a manager's has some hundred, and comes at once."""

_MOST_IN_LARGE_HEADS = 2**22
"""Bytes of all unfinished heads that are larger."""

_END = b"\r\n\r\n"


class _Arrival:
    __slots__ = ("connection", "head", "peer")

    def __init__(self, connection: socket.socket, peer: Peer) -> None:
        self.connection = connection
        self.peer = peer
        self.head = b""

    def end(self) -> None:
        """Keep nothing, in no circle: those are found late, when they are thousands."""
        self.head, self.peer.drop = b"", nothing


class HeadReader:
    """Reads heads, and has aiohttp serve the requests that are to be served.

    Args:
        site: what all connections of the listener share.
        admits: whether one more connection of an address is kept, given whether that counts under it; others
            may be dropped for it.
        is_exempt: whether an address is one of a web server of ours.
    """

    def __init__(
        self, site: ListenerSite, *, admits: Callable[[str, bool], bool], is_exempt: Callable[[str], bool]
    ) -> None:
        self._site = site
        self._admits = admits
        self._is_exempt = is_exempt
        self._heard: dict[int, _Arrival] = {}
        self._large: dict[_Arrival, int] = {}
        self._in_large = 0
        self._undecided: deque[_Arrival] = deque()
        self._to_serve: RoundRobin[_Arrival] = RoundRobin()
        self._making: set[asyncio.Task[None]] = set()
        self._closer = Closer(site)
        self._epoll = select.epoll()
        site.loop.add_reader(self._epoll.fileno(), self._hear)

    def take(self, connection: socket.socket, address: str) -> None:
        """A connection was accepted; under load its whole request is there already."""
        data = _received(connection)
        if data == b"":
            connection.close()  # it came and went
            return
        head = (data or b"").lstrip(b"\r\n")  # as HTTP allows before a request
        verdict = self._judge(address, head, head.find(_END))
        # Whoever has a valid token is not counted under its address.
        is_exempt = self._is_exempt(address) or (isinstance(verdict, Serve) and verdict.whose != b"")
        if not self._admits(address, is_exempt):
            self._closer.turn_away(connection, address, FULL, is_whole=is_whole(head))
            return
        peer = Peer(address, nothing, is_exempt)
        self._site.table.add(peer, self._site.loop.time())
        if isinstance(verdict, bytes):
            self._closer.refuse(connection, peer, verdict, is_whole=is_whole(head))
        else:
            arrival = _Arrival(connection, peer)
            peer.drop = partial(self._drop, arrival)
            self._go_on(arrival, head, verdict)

    def close(self) -> None:
        """Hear nobody any more."""
        self._closer.close()
        self._site.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for making in self._making:
            making.cancel()
        # The listener drops those that we wait for; these wait for us.
        while self._to_serve:
            self._to_serve.take().connection.close()

    def _hear(self) -> None:
        """Read of some that have something to say: all have their turn before one has another."""
        until = thread_time() + SLICE_SECONDS
        for number, _ in self._epoll.poll(0, _MOST_EVENTS):
            # One of them may have been dropped for another in this very turn.
            if (arrival := self._heard.get(number)) is not None:
                self._read(arrival)
            if thread_time() > until:
                return

    def _read(self, arrival: _Arrival) -> None:
        data = _received(arrival.connection)
        if data is None:
            return
        if data == b"":
            self._part_with(arrival)
            arrival.connection.close()
            return
        # The four bytes of the end may come apart.
        seen = max(0, len(arrival.head) - len(_END) + 1)
        head = arrival.head + data if arrival.head else data.lstrip(b"\r\n")
        verdict = self._judge(arrival.peer.address, head, head.find(_END, seen))
        if isinstance(verdict, bytes):
            self._refuse(arrival, head, verdict)
        else:
            self._go_on(arrival, head, verdict)

    def _judge(self, address: str, head: bytes, end: int) -> Verdict | None:
        """What is to be done with a connection that has said so much; None: its head is not whole."""
        if head and not b"A" <= head[:1] <= b"Z":
            self._site.refuse(address, 400, "not HTTP")
            return canned(400)
        if (len(head) if end < 0 else end) > LONGEST_HEAD:
            self._site.refuse(address, 431, "head too long")
            return canned(431)
        return None if end < 0 else self._site.judge(address, head)

    def _go_on(self, arrival: _Arrival, head: bytes, verdict: "Serve | asyncio.Future[None] | None") -> None:
        arrival.head = head
        if verdict is None:
            self._listen_to(arrival)
            return
        self._silence(arrival)
        if isinstance(verdict, Serve):
            self._serve(arrival, verdict.whose)
            return
        if not self._undecided:
            verdict.add_done_callback(self._decide)
        self._undecided.append(arrival)

    def _listen_to(self, arrival: _Arrival) -> None:
        """Wait for more of a head."""
        number = arrival.connection.fileno()
        if number not in self._heard:
            self._heard[number] = arrival
            self._epoll.register(number, select.EPOLLIN)
        size = len(arrival.head)
        if size > _LARGE_HEAD:
            self._in_large += size - self._large.get(arrival, 0)
            self._large[arrival] = size
            while self._in_large > _MOST_IN_LARGE_HEADS:
                self._site.table.drop(next(iter(self._large)).peer)

    def _decide(self, looked: "asyncio.Future[None]") -> None:
        """The tokens were read, or could not be: whoever waited for that is told."""
        until = thread_time() + SLICE_SECONDS
        while self._undecided:
            arrival = self._undecided.popleft()
            if arrival.connection.fileno() < 0:
                continue  # dropped meanwhile
            verdict = self._site.judge(arrival.peer.address, arrival.head, looked)
            if isinstance(verdict, bytes):
                self._refuse(arrival, arrival.head, verdict)
            elif isinstance(verdict, Serve):
                self._serve(arrival, verdict.whose)
            if self._undecided and thread_time() > until:
                self._site.loop.call_soon(self._decide, looked)
                return

    def _serve(self, arrival: _Arrival, whose: bytes) -> None:
        """Let aiohttp do the rest, in its turn."""
        # Before its turn comes: from here on it waits for us, and nobody drops it to make room.
        self._site.table.works(arrival.peer)
        if not self._to_serve:
            self._site.loop.call_soon(self._begin_to_serve)
        self._to_serve.add(whose, arrival)

    def _begin_to_serve(self) -> None:
        for _ in range(_SERVED_AT_ONCE):
            if not self._to_serve:
                return
            making = self._site.loop.create_task(self._make(self._to_serve.take()))
            self._making.add(making)
            making.add_done_callback(self._making.discard)
        if self._to_serve:
            self._site.loop.call_soon(self._begin_to_serve)

    async def _make(self, arrival: _Arrival) -> None:
        end = arrival.head.find(_END) + len(_END)
        head, rest = arrival.head[:end], arrival.head[end:]
        try:
            await self._site.loop.connect_accepted_socket(
                lambda: Connection(self._site, arrival.peer, head, rest, linger=self._closer.linger),
                arrival.connection,
            )
        except (OSError, asyncio.CancelledError) as error:
            self._part_with(arrival)
            arrival.connection.close()
            if not isinstance(error, OSError):
                raise

    def _refuse(self, arrival: _Arrival, head: bytes, answer: bytes) -> None:
        self._silence(arrival)
        arrival.end()
        self._closer.refuse(arrival.connection, arrival.peer, answer, is_whole=is_whole(head))

    def _drop(self, arrival: _Arrival) -> None:
        self._silence(arrival)
        arrival.end()
        reset(arrival.connection)

    def _part_with(self, arrival: _Arrival) -> None:
        self._silence(arrival)
        self._site.table.remove(arrival.peer)
        arrival.end()

    def _silence(self, arrival: _Arrival) -> None:
        """Hear nothing more of it here."""
        if self._heard.pop(arrival.connection.fileno(), None) is not None:
            self._epoll.unregister(arrival.connection.fileno())
            self._in_large -= self._large.pop(arrival, 0)


def _received(connection: socket.socket) -> bytes | None:
    """What has arrived: empty at its end, None while there is nothing."""
    try:
        return connection.recv(SLICE, socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""

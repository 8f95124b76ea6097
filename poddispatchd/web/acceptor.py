"""Accepting connections: a few in each turn of the event loop, and never in circles."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

_BATCH = 32
"""Connections that are taken in one turn; then everybody else has theirs."""

_BACKLOG = 4096
"""Connections that the kernel keeps for us; the system may allow fewer (net.core.somaxconn)."""

_PAUSE = 0.2
"""Seconds without a look after the system had no descriptor or memory for a connection."""

_FIRST = 2**14
"""Bytes that are looked at as soon as a connection is taken: under load its whole request is there."""

_THROWN_AWAY = 2**18
"""Bytes of a body that nobody wants which are read, lest the answer is lost with a reset connection."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RESET = struct.pack("ii", 1, 0)


class Taker(Protocol):
    """Decides about connections."""

    def answers(self, address: str, data: bytes) -> bytes | None:
        """The whole answer to what has arrived, when nothing more is to be done for this connection."""

    def takes(self, address: str, data: bytes) -> asyncio.BufferedProtocol | None:
        """What serves a new connection, of which something may have arrived; None: it is closed."""

    def exhausted(self, *, is_now: bool) -> None:
        """The system has no room for connections, or has some again."""


async def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of a host.

    Raises:
        OSError: one of them cannot be listened on, or the host is unknown.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(sockets) > 1:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])  # noqa: PLW2901 - one port for all
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
    except OSError:
        close(sockets)
        raise
    return sockets


def received(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """Sockets that listen already, made fit for the event loop."""
    for each in sockets:
        each.setblocking(False)
    return list(sockets)


def close(sockets: list[socket.socket]) -> None:
    """Close sockets."""
    for each in sockets:
        each.close()


class Acceptor:
    """Takes connections from sockets that listen, until it is closed."""

    def __init__(self, sockets: list[socket.socket], taker: Taker) -> None:
        self._sockets = sockets
        self._taker = taker
        self._loop = asyncio.get_running_loop()
        self._making: set[asyncio.Task[object]] = set()
        self._pauses: dict[int, asyncio.TimerHandle] = {}
        self._is_exhausted = False

    @property
    def is_open(self) -> bool:
        """Whether it takes connections, now or after a pause."""
        return all(listener.fileno() >= 0 for listener in self._sockets)

    def start(self) -> None:
        """Begin; once more it does no harm."""
        for listener in self._sockets:
            if listener.fileno() >= 0 and listener.fileno() not in self._pauses:
                self._loop.add_reader(listener.fileno(), self._accept, listener)

    def pause(self) -> None:
        """Take none from now on: new connections wait in the kernel."""
        for listener in self._sockets:
            if (pause := self._pauses.pop(listener.fileno(), None)) is not None:
                pause.cancel()
            if listener.fileno() >= 0:
                self._loop.remove_reader(listener.fileno())

    def close(self) -> None:
        """Take no more."""
        self.pause()
        close(self._sockets)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(listener)
                return  # of one connection that went away before it was taken
            if self._is_exhausted:
                self._is_exhausted = False
                self._taker.exhausted(is_now=False)
            connection.setblocking(False)
            self._take(connection, str(address[0]))

    def _take(self, connection: socket.socket, address: str) -> None:
        try:
            data = connection.recv(_FIRST)
        except (BlockingIOError, InterruptedError):
            data = b""
        except OSError:
            connection.close()
            return
        if data and (answer := self._taker.answers(address, data)) is not None:
            _answer(connection, answer)
            return
        protocol = self._taker.takes(address, data)
        if protocol is None:
            # With a reset: nothing of it lingers in the kernel.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.close()
            return
        making = self._loop.create_task(self._make(connection, lambda: protocol))
        self._making.add(making)
        making.add_done_callback(self._making.discard)

    async def _make(self, connection: socket.socket, factory: Callable[[], asyncio.BufferedProtocol]) -> None:
        try:
            await self._loop.connect_accepted_socket(factory, connection)
        except OSError:
            connection.close()

    def _rest(self, listener: socket.socket) -> None:
        """Look away for a moment: what cannot be taken stays readable, and would be tried without end."""
        self._loop.remove_reader(listener.fileno())
        self._pauses[listener.fileno()] = self._loop.call_later(_PAUSE, self._resume, listener)
        if not self._is_exhausted:
            self._is_exhausted = True
        self._taker.exhausted(is_now=True)

    def _resume(self, listener: socket.socket) -> None:
        del self._pauses[listener.fileno()]
        self._loop.add_reader(listener.fileno(), self._accept, listener)


def _answer(connection: socket.socket, answer: bytes) -> None:
    """Send an answer that fits into the socket's buffer, and close."""
    with suppress(OSError), connection:
        connection.send(answer)
        connection.shutdown(socket.SHUT_WR)
        left = _THROWN_AWAY
        while left > 0 and (thrown := len(connection.recv(2**16))):
            left -= thrown

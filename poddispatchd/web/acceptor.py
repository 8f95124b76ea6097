"""Accepting connections: a few in each turn of the event loop, and never in circles."""

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from time import thread_time
from typing import Any, Protocol, TypeAlias

from poddispatchd.web.listener_site import SLICE_SECONDS

_BACKLOG = 4096
"""Connections that the kernel keeps for us; the system may allow fewer (net.core.somaxconn)."""

_PAUSE = 0.2
"""Seconds without a look after the system had no descriptor or memory for a connection."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


_Found: TypeAlias = Sequence[tuple[Any, ...]]
"""What ``socket.getaddrinfo`` gives."""


class Taker(Protocol):
    """What becomes of connections."""

    def take(self, connection: socket.socket, address: str) -> None:
        """A connection was accepted; its socket is the taker's now."""

    def exhausted(self, *, is_now: bool) -> None:
        """The system has no room for connections, or has some again."""


async def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of a host.

    Raises:
        OSError: one of them cannot be listened on, or the host is unknown.
        UnicodeError: no host can have this name.
    """
    found = await _addresses(host, port)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            # A restart must not wait for connections of before that linger in the kernel (TIME_WAIT).
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # IPv4 has a socket of its own, which could not be bound beside this one.
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


async def _addresses(host: str, port: int) -> _Found:
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    with suppress(socket.gaierror, UnicodeError):
        # An address needs no name server, and no thread that asks it.
        return socket.getaddrinfo(host, port, type=kind, flags=flags | socket.AI_NUMERICHOST)
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=kind, flags=flags)


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
        until = thread_time() + SLICE_SECONDS
        while thread_time() < until:
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
            self._taker.take(connection, str(address[0]))

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

"""Opening a listener, and saying in words why it cannot be opened."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TypeAlias

import structlog
from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.config.units import Address
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.web import acceptor
from poddispatchd.web.binding import bound
from poddispatchd.web.client_address import Networks, is_trusted
from poddispatchd.web.connection_limits import ConnectionTable, ListenerLimits, PeerState
from poddispatchd.web.head_reader import HeadReader
from poddispatchd.web.listener_site import ListenerSite
from poddispatchd.web.refusal_log import RefusalLog
from poddispatchd.web.requests import peer_of
from poddispatchd.web.unauthenticated import Early

log = structlog.get_logger(__name__)

_SHUTDOWN_SECONDS = 2.0
_DRAIN_SECONDS = 3.0
_FRESH_SECONDS = 1.0
"""Within which a new connection brings its request; what is there then is answered before the end."""
_DRAIN_LOOK = 0.01

_LOOK = 1.0
"""Seconds between two looks for connections that we have waited for too long."""

_LATE_AT_ONCE = 32
"""Late connections that are dropped in one turn of the event loop: who came together is late together."""

_REMEMBERED = 1024
"""Addresses of which is known whether they are web servers of ours."""

KEPT_BACK = 256
"""File descriptors that no listener takes: for the database, runner managers, files and mail."""

_ROOM_AGAIN = 0.9
"""Of a full listener is told once, and again only after so much of it was in use at most."""

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ListenerOptions(Struct, frozen=True):
    """How the connections of a listener are treated.

    Args:
        limits: to connections; fewer are taken where the process may not open so many files.
        trusted: web servers of ours: their connections are not counted as one address'.
        headers: of every answer.
        metrics: where connections are counted.
        early: what answers unauthenticated requests by their head alone; with it, nothing behind a head is
            read before ``recognise`` was called.
        waits: is told that its address is not there yet.
    """

    limits: ListenerLimits = ListenerLimits()
    trusted: Networks = ()
    headers: Mapping[str, str] = {}
    metrics: Metrics | None = None
    early: Early | None = None
    waits: Callable[[str], None] | None = None


class Listener:
    """The connections of one listener, and who may make another one."""

    def __init__(
        self,
        site: ListenerSite,
        limits: ListenerLimits,
        *,
        trusted: Networks = (),
        metrics: Metrics | None = None,
    ) -> None:
        self._site = site
        self._limits = limits
        self._is_exempt = lru_cache(_REMEMBERED)(lambda address: is_trusted(address, trusted))
        self.arrivals = HeadReader(site, admits=self.admits, is_exempt=self._is_exempt)
        self._metrics = metrics
        self._is_full = False
        self._name = site.refusals.listener

    def take(self, connection: socket.socket, address: str) -> None:
        """A connection was accepted."""
        self.arrivals.take(connection, address)

    def admits(self, address: str, is_exempt: bool) -> bool:
        """Whether one more connection of an address is kept; others may be dropped for it."""
        table = self._site.table
        dropped = table.dropped
        has_room = table.make_room(address, is_exempt=is_exempt)
        if not has_room or table.dropped > dropped:
            self._count("crowded" if has_room else "full")
            self._tell_full()
        return has_room

    def exhausted(self, *, is_now: bool) -> None:
        """The system has no descriptor left, in spite of what is kept back, or has some again."""
        if is_now:
            self._count("exhausted")
            self._site.table.drop_one()
            self._tell_full()

    async def look(self) -> None:
        """Drop whoever lets us wait for too long, for ever."""
        table = self._site.table
        before = 0
        while True:
            await asyncio.sleep(_LOOK)
            made_room, before = table.dropped - before, table.dropped
            while late := table.drop_late(self._site.loop.time(), _LATE_AT_ONCE):
                self._count("late", late)
                before += late
                await asyncio.sleep(0)
            self._site.refusals.flush()
            if self._metrics is not None:
                self._metrics.http_connections.labels(self._name).set(len(table))
            if self._is_full and not made_room and len(table) <= _ROOM_AGAIN * self._limits.most:
                self._is_full = False
                log.info(Event.CONNECTIONS_NORMAL, listener=self._name, connections=len(table))

    def _tell_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            log.warning(
                Event.CONNECTIONS_LIMITED,
                listener=self._name,
                connections=len(self._site.table),
                most=self._limits.most,
            )

    def _count(self, reason: str, number: int = 1) -> None:
        if self._metrics is not None and number:
            self._metrics.http_connections_dropped.labels(self._name, reason).inc(number)


class Serving(Struct, frozen=True):
    """A listener that serves; ``address`` is the one in effect."""

    address: Address
    acceptor: acceptor.Acceptor
    looking: "asyncio.Task[None]"
    site: ListenerSite
    is_received: bool = False
    """Whether its sockets were handed over: whoever did keeps them open, and connections wait there."""

    def is_serving(self) -> bool:
        """Whether it still takes connections, and drops late ones."""
        return self.acceptor.is_open and not self.looking.done()

    def accept(self) -> None:
        """Take connections, those that have waited first; not any more after ``drain``."""
        if not self.site.is_ending:
            self.acceptor.start()

    async def drain(self) -> None:
        """Take no more connections, and answer what those that are there ask."""
        # New connections wait in the kernel: with a socket of systemd's for the daemon that comes next.
        self.acceptor.pause()
        self.site.is_ending = True
        table, loop = self.site.table, self.site.loop
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while table.awaits_answers(loop.time(), _FRESH_SECONDS):  # noqa: ASYNC110 - the age counts, too
                    await asyncio.sleep(_DRAIN_LOOK)


@asynccontextmanager
async def listening(
    served: web.Application | Handler, address: Address, key: str, options: ListenerOptions | None = None
) -> AsyncIterator[Address]:
    """The same as ``serving``; gives the address in effect."""
    async with serving(served, address, key, options) as listener:
        yield listener.address


@asynccontextmanager
async def serving(
    served: web.Application | Handler,
    where: Address | Sequence[socket.socket],
    key: str,
    options: ListenerOptions | None = None,
) -> AsyncIterator[Serving]:
    """Serve an application, or one handler, until the end of the block.

    Args:
        served: what is served.
        where: an address (port 0 lets the kernel choose), or sockets that listen already: of these no
            connection is taken before ``accept`` is called.
        key: of the setting, for the error's words.
        options: how its connections are treated.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    options = options or ListenerOptions()
    limits = _within_descriptors(options.limits)
    runner: web.BaseRunner = (
        web.AppRunner(served, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        if isinstance(served, web.Application)
        else web.ServerRunner(web.Server(served), shutdown_timeout=_SHUTDOWN_SECONDS)
    )
    await runner.setup()
    try:
        server = runner.server
        assert server is not None  # noqa: S101 - it is set up
        table = ConnectionTable(limits)
        server.request_handler = _guarded(server.request_handler, table)
        refusals = RefusalLog(key.partition(".")[0], asyncio.get_running_loop().time)
        site = ListenerSite(server, table, refusals, dict(options.headers), options.early)
        listener = Listener(site, limits, trusted=options.trusted, metrics=options.metrics)
        sockets = (
            await bound(where, key, options.waits) if isinstance(where, Address) else acceptor.received(where)
        )
        host, port = sockets[0].getsockname()[:2]
        address = Address(where.host if isinstance(where, Address) else host, port)
        accepting = acceptor.Acceptor(sockets, listener)
        if isinstance(where, Address):
            accepting.start()
        looking = asyncio.create_task(listener.look(), name=f"connections of {refusals.listener}")
        try:
            yield Serving(address, accepting, looking, site, is_received=not isinstance(where, Address))
        finally:
            accepting.close()
            looking.cancel()
            # Those that wait for an answer get the time that ``cleanup`` gives.
            for peer in table:
                if peer.state is not PeerState.BUSY:
                    peer.drop()
            listener.arrivals.close()
    finally:
        await runner.cleanup()


def _guarded(handler: Handler, table: ConnectionTable) -> Handler:
    """The same, while which a peer waits for us and not we for it."""

    async def guarded(request: web.BaseRequest) -> web.StreamResponse:
        if (peer := peer_of(request)) is not None:
            table.works(peer)
        expectation = request.headers.get("Expect")
        if expectation is not None and (expectation.lower() != "100-continue" or request.version < (1, 1)):
            return web.json_response({"error": "Unknown expectation."}, status=417)
        return await handler(request)

    return guarded


def _within_descriptors(limits: ListenerLimits) -> ListenerLimits:
    """As many connections as there are file descriptors for, some kept back."""
    try:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:
        allowed = 1024
    if allowed == resource.RLIM_INFINITY:
        return limits
    # Two listeners share what few there are, and leave a half.
    return replace(limits, most=max(8, min(limits.most, max(allowed - KEPT_BACK, allowed // 4))))

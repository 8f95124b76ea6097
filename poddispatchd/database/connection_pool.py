"""The driver's pool of connections, and those of them that were used a moment ago."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from poddispatchd.database.sqlstates import DRIVER_ERRORS

if TYPE_CHECKING:
    DriverPool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    PooledConnection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
else:
    DriverPool, PooledConnection = asyncpg.Pool, PoolConnectionProxy

_KEPT_FOR = 1.0
"""Seconds for which a connection that nobody uses is kept for whoever comes next: a burst goes on meanwhile.
The pool closes what is idle for long."""

_MOST_USES = 1000
"""Uses after which a connection goes back to the pool all the same, which renews old ones."""

_CLOSED_WITHIN = 5.0


class ConnectionPool:
    """A pool whose connections go from one user to the next without a way through the driver's pool.

    To take one out of it and to give it back costs as much as a short statement: a task, two shields and
    three timers. Kept is only what was used without any error; whoever waits for the pool goes before.

    Args:
        pool: the driver's, open.
    """

    def __init__(self, pool: DriverPool) -> None:
        self._pool = pool
        self._in_use: dict[PooledConnection, int] = {}
        """With the generation of which they are."""
        self._idle: list[tuple[PooledConnection, float]] = []
        """With the time since when. The last one is used next, so that the first ones stay unused."""
        self._uses: dict[PooledConnection, int] = {}
        self._waiting = 0
        """Those who wait for the driver's pool."""
        self._generation = 0
        self._is_closing = False
        self._returning: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> int:
        """Connections that somebody uses."""
        return len(self._in_use)

    async def take(self, *, within: float) -> PooledConnection:
        """A connection, to be given back; ``within`` so many seconds.

        Raises: what the driver raises when there is none, or none can be made.
        """
        # As it is now: one that is made while all expire may be one of those.
        generation = self._generation
        connection = self._unused()
        if connection is None:
            self._waiting += 1
            try:
                connection = await self._pool.acquire(timeout=within)
            finally:
                self._waiting -= 1
        self._in_use[connection] = generation
        return connection

    def is_current(self, connection: PooledConnection) -> bool:
        """Whether a connection that is used may be used again, as far as it depends on us."""
        return self._in_use.get(connection) == self._generation

    async def give_back(self, connection: PooledConnection, *, is_sound: bool) -> None:
        """Keep a connection for the next one, or return it, though we are cancelled meanwhile.

        The driver's pool sees to that, too; but what goes wrong then is nobody's, and logged as a bug.

        Args:
            connection: that was taken.
            is_sound: whether nothing went wrong while it was used.
        """
        generation = self._in_use.pop(connection)
        is_kept = is_sound and generation == self._generation and not self._waiting and not self._is_closing
        if not is_kept or not self._keep(connection):
            await asyncio.shield(self._begin_return(connection))

    async def expire(self, *, silent: bool = False) -> None:
        """Use no connection again that there is now.

        Args:
            silent: nobody answers on them: what waits for an answer would wait for long, and is ended.
        """
        self._generation += 1
        await self._pool.expire_connections()
        if silent:
            for connection, _ in self._idle:
                _end(connection)
            for connection in self._in_use:
                _end(connection)
        self._return_idle()

    async def close(self) -> None:
        """Close every connection, at once if they do not end by themselves."""
        self._is_closing = True
        try:
            async with asyncio.timeout(_CLOSED_WITHIN):
                self._return_idle()
                # Waits for what is returned, and ends all if it is cancelled.
                await self._pool.close()
        except DRIVER_ERRORS:
            self._pool.terminate()

    # --- those that nobody uses -------------------------------------------------------------------------

    def _unused(self) -> PooledConnection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if not _is_lost(connection):
                return connection
            self._begin_return(connection)
        return None

    def _keep(self, connection: PooledConnection) -> bool:
        """Whether a connection may be used again as it is; then it is kept."""
        uses = self._uses.get(connection, 0) + 1
        if uses >= _MOST_USES or _is_lost(connection) or connection.is_in_transaction():
            return False
        loop = asyncio.get_running_loop()
        self._uses[connection] = uses
        self._idle.append((connection, loop.time()))
        if self._timer is None:
            self._timer = loop.call_later(_KEPT_FOR, self._return_unused)
        return True

    def _return_unused(self) -> None:
        """Leave to the driver's pool what was not used for a while."""
        self._timer, loop = None, asyncio.get_running_loop()
        while self._idle and self._idle[0][1] + _KEPT_FOR <= loop.time():
            self._begin_return(self._idle.pop(0)[0])
        if self._idle:
            self._timer = loop.call_at(self._idle[0][1] + _KEPT_FOR, self._return_unused)

    def _return_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._begin_return(self._idle.pop()[0])

    # --- back to the driver's pool ----------------------------------------------------------------------

    def _begin_return(self, connection: PooledConnection) -> "asyncio.Task[None]":
        returning = asyncio.create_task(self._return(connection), name="return of a connection")
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)
        return returning

    async def _return(self, connection: PooledConnection) -> None:
        self._uses.pop(connection, None)
        try:
            await self._pool.release(connection)
        except (*DRIVER_ERRORS, AttributeError):
            # Nothing is lost with it: whatever was done on it has been committed, or never will be.
            _end(connection)


def _is_lost(connection: PooledConnection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has found out, and has taken it back
        return True


def _end(connection: PooledConnection) -> None:
    """End a connection at once, unless the pool has taken it back by itself because it was lost."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()

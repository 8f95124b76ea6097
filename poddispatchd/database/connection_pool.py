"""The driver's pool of connections, and those of them that were used a moment ago."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from poddispatchd.database.handover import Handover
from poddispatchd.database.sqlstates import DRIVER_ERRORS, NoAnswerError

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

_FULL_FOR = 20.0
"""Seconds for which a server without room for another connection is not asked again while we have one."""

_FULL = (asyncpg.TooManyConnectionsError, asyncpg.ProtocolViolationError, NoAnswerError)
"""What PostgreSQL and PgBouncer say to a connection too many: the latter has no code of its own for that, and
says nothing for long where it has a client more than servers."""

_ALONE_AFTER = (0.05, 0.2)
"""Pauses in seconds before the last one that was refused tries by itself: a server counts those, too, that it
refuses at the same moment, and may so refuse all."""

_NONE_FOR = 1.0
"""Seconds for which whoever is refused then does not try again by itself: the server lets nobody in."""

_CLOSED_WITHIN = 5.0


class ConnectionPool:
    """A pool whose connections go from one user to the next without a way through the driver's pool.

    To take one out of it and to give it back costs as much as a short statement: a task, two shields and
    three timers. Kept is only what was used without any error; whoever waits for the pool goes before.

    Where the server has no room for another one, those that we have serve all, one after the other: others
    may have used up ``max_connections``, and one connection is enough for everything.

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
        self._full_until = self._none_until = float("-inf")
        self._queue: Handover[PooledConnection] = Handover(self._keep_or_return)
        """Those who wait for one of ours; None: one may be had of the driver's pool."""
        self._gathering: asyncio.Task[None] | None = None
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
            connection = await self._another(asyncio.get_running_loop().time() + within)
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
            returning = self._begin_return(connection)
            returning.add_done_callback(lambda _: self._queue.give(None))
            await asyncio.shield(returning)

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
        # Whoever left a transaction open would have the next one work in it, and lose all with it.
        if uses >= _MOST_USES or _is_lost(connection) or connection.is_in_transaction():
            return False
        loop = asyncio.get_running_loop()
        self._uses[connection] = uses
        if self._queue.give(connection):
            return True
        self._idle.append((connection, loop.time()))
        if self._timer is None:
            self._timer = loop.call_later(_KEPT_FOR, self._return_unused)
        return True

    def _return_unused(self) -> None:
        """Leave to the driver's pool what was not used for a while."""
        self._timer, loop = None, asyncio.get_running_loop()
        # While the server is full they stay: in the driver's pool they may lie below one still to be made.
        while self._full_until < loop.time() and self._idle and self._idle[0][1] + _KEPT_FOR <= loop.time():
            self._begin_return(self._idle.pop(0)[0])
        if self._idle:
            after = max(self._idle[0][1] + _KEPT_FOR, self._full_until)
            self._timer = loop.call_at(after, self._return_unused)

    def _return_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._begin_return(self._idle.pop()[0])

    # --- a server without room --------------------------------------------------------------------------

    async def _another(self, until: float) -> PooledConnection:
        """One of the driver's pool; where no more can be made, the next one of ours.

        Raises: as ``take``.
        """
        loop = asyncio.get_running_loop()
        may_be_made = self._full_until <= loop.time()
        pauses = iter(_ALONE_AFTER)
        try:
            while True:
                if may_be_made or not self._in_use:
                    try:
                        return await self._acquired(until - loop.time())
                    except DRIVER_ERRORS as error:
                        if not _is_full(error):
                            raise
                        self._full_until = loop.time() + _FULL_FOR
                        async with asyncio.timeout_at(until):
                            await self._gather()
                        if (connection := self._unused()) is not None:
                            return connection
                        if not self._in_use and not self._waiting:
                            pause = next(pauses, None) if self._none_until <= loop.time() else None
                            if pause is None:
                                self._none_until = loop.time() + _NONE_FOR
                                raise
                            await self._rest(pause)
                            continue
                if (connection := await self._queue.wait(until)) is not None:
                    return connection
                may_be_made = True
        except BaseException:
            if not self._in_use and not self._waiting:
                # None will be given back: whoever waits for that hears why, too.
                self._queue.give(None)
            raise

    async def _acquired(self, within: float) -> PooledConnection:
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=max(within, 0.0))
        finally:
            self._waiting -= 1

    async def _rest(self, seconds: float) -> None:
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1

    def _keep_or_return(self, connection: PooledConnection) -> None:
        if not self._keep(connection):
            self._begin_return(connection)

    async def _gather(self) -> None:
        """Take out of the driver's pool what it has: it tries to make one even if another one is unused."""
        if not self._pool.get_idle_size() and not self._returning:
            return
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather_all(), name="unused connections")
        await asyncio.shield(self._gathering)

    async def _gather_all(self) -> None:
        try:
            free = self._pool.get_max_size() - len(self._in_use)
            found = await asyncio.gather(
                *(self._pool.acquire(timeout=_CLOSED_WITHIN) for _ in range(free)), return_exceptions=True
            )
            for connection in found:
                if isinstance(connection, BaseException):
                    continue
                if self._is_closing:
                    self._begin_return(connection)
                else:
                    self._keep_or_return(connection)
        finally:
            self._gathering = None

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


def _is_full(error: BaseException) -> bool:
    """Whether a connection could not be made because there are too many."""
    return isinstance(error, _FULL) or isinstance(error.__cause__, _FULL)


def _is_lost(connection: PooledConnection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has found out, and has taken it back
        return True


def _end(connection: PooledConnection) -> None:
    """End a connection at once, unless the pool has taken it back by itself because it was lost."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()

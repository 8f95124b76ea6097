"""The pool of connections to Pod's PostgreSQL, and the translation of its errors into ours."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar

import asyncpg

from poddispatchd.database import moments, poolers
from poddispatchd.database.certificates import CertificateEnds, ends_of, require_files
from poddispatchd.database.connect_errors import CONNECT_ERRORS, DSN, Setting, at_the_start, while_running
from poddispatchd.database.connection_pool import ConnectionPool
from poddispatchd.database.connections import Connection, DatabaseConnection, GuardedConnection, keep_alive
from poddispatchd.database.hosts import Hosts
from poddispatchd.database.poolers import Pooling
from poddispatchd.database.session_ends import SessionEnds
from poddispatchd.database.session_parameters import LIMITS, OWN_SESSION, STARTUP
from poddispatchd.database.sqlstates import NoAnswerError
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    RowLockedError,
    SessionEndedError,
)

__all__ = ["Connection", "Database"]

_COMMAND_TIMEOUT = 60.0
"""Seconds: a statement that takes longer is cancelled; every one of ours is bounded and indexed or paged."""

_CONNECT_TIMEOUT = 10.0
_PREPARE_TIMEOUT = 5.0

_LET_IN_ONLY = (
    "it lets us in and answers nothing, as a pooler does that has no server free; "
    "a pooler in session mode needs a server for each of our connections: database.pool_size and one more"
)

_PROTOCOL_VIOLATION = "08P01"
"""What PgBouncer says to a transaction while it pools statements."""

_STATEMENTS_KEPT = 100
"""Prepared statements of a connection."""


async def _leave_as_it_is(_connection: object) -> None:
    """Return a connection to the pool without a round trip."""


class Database:
    """A pool of connections; every error it lets out is one of ours.

    Invariant I1 is the callers': no connection is held across a network call.
    """

    _session: ClassVar[Mapping[str, str]] = OWN_SESSION

    def __init__(self, dsn: SecretStr, *, pool_size: int = 5, setting: Setting = DSN) -> None:
        self._dsn = dsn
        self._setting = setting
        self._hosts = Hosts(dsn.get_secret_value())
        self._pool_size = pool_size
        self._pool: ConnectionPool | None = None
        self._is_pooled = False
        self._ends = SessionEnds()
        self.on_locked: Callable[[int | None], None] | None = None
        """Is told the primary key of a task whose row could not be had; None where it is not known whose."""
        self.last_certificate_ends = CertificateEnds()
        """When the certificates end by which the latest connection was made."""

    @property
    def setting(self) -> str:
        """Where its address is written, for whoever has to correct it."""
        return self._setting.name

    @property
    def is_open(self) -> bool:
        """Whether there is a pool; its connections may be lost all the same."""
        return self._pool is not None

    @property
    def connections_in_use(self) -> int:
        """Connections that are held right now: none while something takes long (invariant I1)."""
        return 0 if self._pool is None else self._pool.in_use

    @property
    def overtaken(self) -> tuple[str, ...]:
        """Of several servers those that take writes, though another one has taken their place."""
        return self._hosts.overtaken

    async def open(self) -> None:
        """Connect.

        Raises:
            ConfigurationError: the DSN, the password or the database's name is wrong.
            DatabaseUnavailableError: no server answers; worth another try.
        """
        try:
            pool = await asyncpg.create_pool(
                self._dsn.get_secret_value(),
                min_size=1,
                max_size=self._pool_size,
                max_inactive_connection_lifetime=300,
                connect=self._connect,
                # Our statements leave nothing in a session: the usual reset would double the queries.
                reset=_leave_as_it_is,
            )
        except CONNECT_ERRORS as error:
            raise at_the_start(error, self._dsn, self._setting) from None
        self._pool = ConnectionPool(pool)
        if self._is_pooled:
            # Statement mode refuses transactions: that is told at the start, and not by the first submission.
            await self._try_transaction()

    async def close(self) -> None:
        """Close every connection, at once if they do not end by themselves."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[GuardedConnection]:
        """One connection of the pool, for a statement or a few.

        What the block raises by itself is let out as it is: only the driver's errors become ours.

        Raises:
            DatabaseUnavailableError: the connection is lost or cannot be had.
            SessionEndedError: it is lost over what is done on it: the database answers.
            DatabaseError: a statement was refused.
        """
        if self._pool is None:
            raise DatabaseUnavailableError
        pool = self._pool
        try:
            raw = await pool.take(within=_CONNECT_TIMEOUT)
        except CONNECT_ERRORS as error:
            raise while_running(error, self._dsn, self._setting) from None
        guarded, is_sound = GuardedConnection(raw, is_pooled=self._is_pooled), False
        try:
            yield guarded
            is_sound = True
        except RowLockedError as error:
            if self.on_locked is not None:
                self.on_locked(error.task)
            raise
        except DatabaseUnavailableError as error:
            self._hosts.look_anew()
            # Not one that we have given up ourselves.
            if type(error) is DatabaseUnavailableError and guarded.is_closed() and pool.is_current(raw):
                raise await self._of_session(error) from None
            raise
        finally:
            if guarded.met_read_only:
                # A session that began under such a setting does not find out that it is over.
                await pool.expire()
            await pool.give_back(raw, is_sound=is_sound)

    async def expire(self, *, silent: bool) -> None:
        """The database was lost: make new connections rather than try the old ones, a minute each.

        Args:
            silent: it went without a word. What waits for an answer would wait for long, and is ended.
        """
        self._hosts.look_anew()
        if self._pool is not None:
            await self._pool.expire(silent=silent)

    @asynccontextmanager
    async def transaction(
        self, *, impatient: bool = True, hurried: bool = False
    ) -> AsyncIterator[GuardedConnection]:
        """One transaction: committed at the end, rolled back by any exception.

        Args:
            impatient: give up a statement that waits for a lock for longer than a second.
            hurried: hardly wait for locks: somebody may hold very many rows, and a second for each adds up.

        Raises:
            RowLockedError: a row or a table is held by another session.
            DatabaseUnavailableError: the connection is lost or cannot be had.
            DatabaseError: a statement was refused.
        """
        async with self.connection() as connection, connection.transaction():
            if self._is_pooled:
                await connection.execute(LIMITS)
            if not impatient:
                await connection.execute("SET LOCAL lock_timeout = 0")
            elif hurried:
                await connection.execute("SET LOCAL lock_timeout = 50")
            yield connection

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows of one statement."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """The first row of one statement."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> int:
        """Carry out one statement and return how many rows it touched."""
        async with self.connection() as connection:
            status = await connection.execute(query, *arguments)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def dedicated_connection(self) -> GuardedConnection:
        """A connection of its own outside the pool, for LISTEN and the lease; the caller closes it."""
        try:
            return GuardedConnection(await self._connect())
        except CONNECT_ERRORS as error:
            raise while_running(error, self._dsn, self._setting) from None

    async def certificate_ends(self) -> CertificateEnds:
        """When the certificates end by which a new connection is made.

        Raises:
            DatabaseUnavailableError: none can be made, though others may serve.
        """
        try:
            raw = await self._connect()
            await raw.close()
        except CONNECT_ERRORS as error:
            raise while_running(error, self._dsn, self._setting) from None
        return self.last_certificate_ends

    async def pooling_of(self, connection: GuardedConnection) -> Pooling:
        """What a dedicated connection leads to."""
        if not self._is_pooled:
            return Pooling.NONE
        async with self.connection() as other:
            keeps = await poolers.keeps_sessions(connection, other)
        return Pooling.SESSION if keeps else Pooling.TRANSACTION

    async def _of_session(self, error: DatabaseUnavailableError) -> DatabaseError:
        """What a lost session is to be taken for: a lost database, or something about what was done on it.

        Whatever waits for a lost database waits for nothing then, and is done again at once (invariant I12).
        """
        if not self._ends.is_usual():
            return error
        try:
            other = await self._connect()
            await other.close()
        except CONNECT_ERRORS:
            return error
        return SessionEndedError(sqlstate=error.sqlstate)

    async def _try_transaction(self) -> None:
        try:
            async with self.transaction():
                return
        except DatabaseError as error:
            await self.close()
            if error.sqlstate == _PROTOCOL_VIOLATION:
                raise ConfigurationError(
                    f"{self._setting.name}: the pooler there is in statement mode, without transactions: let "
                    "it pool sessions or transactions for this database (PgBouncer's pool_mode)."
                ) from None
            raise

    async def _connect(self, *_: object, **__: object) -> "asyncpg.Connection[asyncpg.Record]":
        """A new connection, for the pool or not.

        Prepared statements are not kept behind a pooler: the next transaction may not find them.
        """
        require_files(self._dsn.get_secret_value())
        was_pooled = self._is_pooled
        connect = partial(
            asyncpg.connect,
            self._dsn.get_secret_value(),
            command_timeout=_COMMAND_TIMEOUT,
            connection_class=DatabaseConnection,
            server_settings=STARTUP,
            statement_cache_size=0 if was_pooled else _STATEMENTS_KEPT,
        )
        connection = await self._hosts.connect(connect, within=_CONNECT_TIMEOUT)
        try:
            keep_alive(connection)
            await moments.read_all(connection)
            is_own = await poolers.prepare(connection, self._session, within=_PREPARE_TIMEOUT)
        except TimeoutError:
            connection.terminate()
            raise NoAnswerError(_LET_IN_ONLY) from None
        except BaseException:
            connection.terminate()
            raise
        self._is_pooled = not is_own
        # This one was made to keep prepared statements, which the driver is told at the beginning only.
        if self._is_pooled and not was_pooled:
            await connection.close()
            return await self._connect()
        self.last_certificate_ends = ends_of(connection, self._dsn.get_secret_value())
        return connection

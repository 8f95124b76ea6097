"""The pool of connections to Pod's PostgreSQL, and the translation of its errors into ours."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from pydantic import SecretStr

from poddispatchd.database import poolers
from poddispatchd.database.connections import DatabaseConnection, keep_alive
from poddispatchd.database.poolers import Pooling
from poddispatchd.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_COMMAND_TIMEOUT = 60.0
"""Seconds: a statement that takes longer is cancelled; every one of ours is bounded and indexed or paged."""

_CONNECT_TIMEOUT = 10.0
_SETTLE_TIMEOUT = 5.0

_LET_IN_ONLY = (
    "it lets us in and answers nothing, as a pooler does that has no server free; "
    "a pooler in session mode needs a server for each of our connections: database.pool_size and one more"
)

_STARTUP = {"application_name": "poddispatchd", "timezone": "UTC"}
"""Server parameters that poolers keep for each client; they refuse clients that begin with others."""

_IDLE_IN_TRANSACTION = "20000"
"""Milliseconds. Nothing is waited for between two of our statements; who is frozen or gone holds locks."""

_OWN_SESSION = {
    # The server notices within 20 s, instead of two hours, that this machine has vanished from the network:
    # only then does it give the scheduler lock to another one.
    "tcp_keepalives_idle": "8",
    "tcp_keepalives_interval": "4",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION,
    # Reading a long table looks dear enough to be compiled, every time, which takes longer than reading it.
    "jit": "off",
}
"""Server parameters of a session that nobody else ever has."""

_END_IF_IDLE = f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_IN_TRANSACTION}"

_STATEMENTS_KEPT = 100
"""Prepared statements of a connection."""

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What the driver says when the server ends a session between two messages of a statement.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

_MISCONFIGURED = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.exceptions.ClientConfigurationError,
    ValueError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Let out the errors of asyncpg as ours.

    Raises:
        DatabaseUnavailableError: the connection is lost or cannot be had.
        DatabaseError: a statement was refused.
    """
    try:
        yield
    except _UNAVAILABLE as error:
        raise DatabaseUnavailableError(f"The database cannot be reached: {_words(error)}.") from error
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"The database refused a statement: {_words(error)}.") from error


def _words(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Let a connection be given back, though we are cancelled; then nobody waits for what comes of it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


async def _leave_as_it_is(_connection: object) -> None:
    """Return a connection to the pool without a round trip."""


class Database:
    """A pool of connections; every error it lets out is one of ours.

    Invariant I1 is the callers': no connection is held across a network call.
    """

    _session: ClassVar[Mapping[str, str]] = _OWN_SESSION

    def __init__(self, dsn: SecretStr, *, pool_size: int = 5) -> None:
        self._dsn = dsn
        self._pool_size = pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._is_pooled = False
        self._in_use: set[PoolConnectionProxy[asyncpg.Record]] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is a pool; its connections may be lost all the same."""
        return self._pool is not None

    async def open(self) -> None:
        """Connect.

        Raises:
            ConfigurationError: the DSN, the password or the database's name is wrong.
            DatabaseUnavailableError: no server answers; worth another try.
        """
        try:
            with translated():
                self._pool = await asyncpg.create_pool(
                    self._dsn.get_secret_value(),
                    min_size=1,
                    max_size=self._pool_size,
                    max_inactive_connection_lifetime=300,
                    connect=self._connect,
                    # Our statements leave nothing in a session: the usual reset would double the queries.
                    reset=_leave_as_it_is,
                )
            if self._is_pooled:
                await self._try_transaction()
        except DatabaseError as error:
            cause = error.__cause__
            if isinstance(cause, PermissionError) and ".postgresql" in str(cause.filename):
                raise ConfigurationError(
                    f"database.dsn: the client's certificate {cause.filename} cannot be read by this user: "
                    "set HOME to a directory that it can read, or none."
                ) from None
            if isinstance(cause, _MISCONFIGURED):
                raise ConfigurationError(f"database.dsn: {_words(cause)}.") from None
            raise
        except ValueError as error:
            raise ConfigurationError(
                "database.dsn: it is not a PostgreSQL address (postgresql://user@host/name)."
            ) from error

    async def close(self) -> None:
        """Close every connection, at once if they do not end by themselves."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except (TimeoutError, *_UNAVAILABLE):
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection of the pool, for a statement or a few.

        Raises:
            DatabaseUnavailableError: the connection is lost or cannot be had.
            DatabaseError: a statement was refused.
        """
        if self._pool is None:
            raise DatabaseUnavailableError
        pool = self._pool
        with translated():
            connection = await pool.acquire(timeout=_CONNECT_TIMEOUT)
            self._in_use.add(connection)
            try:
                yield connection
            finally:
                self._in_use.discard(connection)
                await _to_its_end(pool.release(connection))

    async def expire(self, *, silent: bool) -> None:
        """The database was lost: make new connections rather than try the old ones, a minute each.

        Args:
            silent: it went without a word. What waits for an answer would wait for long, and is ended.
        """
        if self._pool is None:
            return
        await self._pool.expire_connections()
        if silent:
            for connection in tuple(self._in_use):
                connection.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back by any exception."""
        async with self.connection() as connection, connection.transaction():
            if self._is_pooled:
                # A pooler goes on holding the server, and its locks, for a client that has vanished.
                await connection.execute(_END_IF_IDLE)
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

    async def dedicated_connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of its own outside the pool, for LISTEN and session locks; the caller closes it."""
        with translated():
            return await self._connect()

    async def pooling_of(self, connection: "asyncpg.Connection[asyncpg.Record]") -> Pooling:
        """What a dedicated connection leads to."""
        if not self._is_pooled:
            return Pooling.NONE
        async with self.connection() as other:
            keeps = await poolers.keeps_sessions(connection, other)
        return Pooling.SESSION if keeps else Pooling.TRANSACTION

    async def _try_transaction(self) -> None:
        try:
            async with self.transaction():
                return
        except DatabaseError as error:
            await self.close()
            if "statement pooling" in str(error):
                raise ConfigurationError(
                    "database.dsn: the pooler there is in statement mode, without transactions: let it pool "
                    "sessions or transactions for this database (PgBouncer's pool_mode)."
                ) from None
            raise

    async def _connect(self, *_: object, **__: object) -> "asyncpg.Connection[asyncpg.Record]":
        """A new connection, for the pool or not.

        Prepared statements are not kept behind a pooler: the next transaction may not find them.
        """
        was_pooled = self._is_pooled
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            self._dsn.get_secret_value(),
            timeout=_CONNECT_TIMEOUT,
            command_timeout=_COMMAND_TIMEOUT,
            connection_class=DatabaseConnection,
            server_settings=_STARTUP,
            statement_cache_size=0 if was_pooled else _STATEMENTS_KEPT,
        )
        try:
            keep_alive(connection)
            is_own = await poolers.settle(connection, self._session, within=_SETTLE_TIMEOUT)
        except TimeoutError:
            connection.terminate()
            raise TimeoutError(_LET_IN_ONLY) from None
        except BaseException:
            connection.terminate()
            raise
        self._is_pooled = not is_own
        if self._is_pooled and not was_pooled:
            await connection.close()
            return await self._connect()
        return connection


class ReadOnlyDatabase(Database):
    """A database in which nothing can be changed: PostgreSQL refuses, whatever the role may do.

    Every statement runs in a read-only transaction, which cannot become another one once it has read: behind
    a pooler there is no session whose parameter would do.
    """

    _session: ClassVar[Mapping[str, str]] = {**_OWN_SESSION, "default_transaction_read_only": "on"}

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection of the pool, in a read-only transaction."""
        async with super().connection() as connection, connection.transaction(readonly=True):
            yield connection

    async def dedicated_connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        """None is to be had.

        Raises:
            NotImplementedError: whoever only reads has nothing to hold.
        """
        raise NotImplementedError

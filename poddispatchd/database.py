"""The pool of connections to Pod's PostgreSQL, and the translation of its errors into ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from pydantic import SecretStr

from poddispatchd.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_COMMAND_TIMEOUT = 60.0
"""Seconds: a statement that takes longer is cancelled; every one of ours is bounded and indexed or paged."""

_CONNECT_TIMEOUT = 10.0

_SERVER_SETTINGS = {
    "application_name": "poddispatchd",
    # The kernel notices a half-open link within about a minute instead of two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "60000",
    "timezone": "UTC",
}

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
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


async def _leave_as_it_is(_connection: object) -> None:
    """Return a connection to the pool without a round trip."""


class Database:
    """A pool of connections; every error it lets out is one of ours.

    Invariant I1 is the callers': no connection is held across a network call.
    """

    def __init__(self, dsn: SecretStr, *, pool_size: int = 5) -> None:
        self._dsn = dsn
        self._pool_size = pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

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
                    command_timeout=_COMMAND_TIMEOUT,
                    timeout=_CONNECT_TIMEOUT,
                    server_settings=_SERVER_SETTINGS,
                    # Our statements leave nothing in a session: the usual reset would double the queries.
                    reset=_leave_as_it_is,
                )
        except DatabaseError as error:
            if isinstance(error.__cause__, _MISCONFIGURED):
                raise ConfigurationError(f"database.dsn: {_words(error.__cause__)}.") from None
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
        with translated():
            async with self._pool.acquire(timeout=_CONNECT_TIMEOUT) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back by any exception."""
        async with self.connection() as connection, connection.transaction():
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
            return await asyncpg.connect(
                self._dsn.get_secret_value(),
                timeout=_CONNECT_TIMEOUT,
                command_timeout=_COMMAND_TIMEOUT,
                server_settings=_SERVER_SETTINGS,
            )

"""Single connections to PostgreSQL as we want them: watched by the kernel, soon ended, their errors ours."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from poddispatchd.database.known_types import KNOWN, NOTHING_PREPARED, is_everywhere
from poddispatchd.database.session_parameters import LIMITS
from poddispatchd.database.sqlstates import DRIVER_ERRORS, READ_ONLY, translate
from poddispatchd.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
    from asyncpg.transaction import Transaction
else:
    _Connection = asyncpg.Connection

_RawConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_FAILURES = (*DRIVER_ERRORS, AttributeError)
"""What a call of the driver raises. It takes a connection apart that is ended, and stumbles over what is
missing when that happens between two steps of its own."""

_CLOSED_WITHIN = 2.0
"""Seconds in which the other side can say that it has heard of the end of a connection."""

# 8 s of silence and three probes, 4 s apart: 20 s, as for what was sent and is not acknowledged.
_KEEPALIVE = {"TCP_KEEPIDLE": 8, "TCP_KEEPINTVL": 4, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
"""Names of the socket module, which not every system has; asyncpg sets none of them."""

NO_ANSWER = "The database cannot be reached: no answer in time."

_MAY_WAIT = re.compile(r"\b(?:INSERT|UPDATE|DELETE|SHARE)\b")
"""In the text of statements that may wait for a row; in a comment, too, which does no harm."""


class DatabaseConnection(_Connection):
    """A connection whose end is certain, and that asks nothing which an earlier one has been told."""

    async def _introspect_types(self, typeoids: Iterable[int], *arguments: object) -> tuple[object, object]:
        """What types consist of. asyncpg's own method; if it calls it no more, each connection asks again."""
        wanted = frozenset(typeoids)
        ask = super()._introspect_types  # type: ignore[misc]  # it has no public name
        if not is_everywhere(wanted):
            return cast("tuple[object, object]", await ask(wanted, *arguments))
        if (known := KNOWN.of(wanted)) is not None:
            return known, NOTHING_PREPARED
        types, statement = await ask(KNOWN.worth_asking(wanted), *arguments)
        KNOWN.keep(types)
        return types, statement

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's name
        """End it politely, or at once if nobody answers: that is no error, and takes no minute.

        A pool closes connections that it does not trust any more in tasks whose errors nobody would see.
        """
        with suppress(OSError, TimeoutError):
            await super().close(timeout=_CLOSED_WITHIN if timeout is None else timeout)


class GuardedConnection:
    """A connection of which every call raises our errors, and nothing else is taken for one of the database.

    What the code between two calls raises (a full disk, a timeout, a bug) stays what it is.

    Args:
        raw: of the driver.
        is_pooled: whether a pooler stands before the server. Its sessions have no limits of ours, so that
            each statement that may wait for a row, and is in no transaction, gets one of its own with them.

    Raises:
        DatabaseUnavailableError: by every call: the connection is lost.
        DatabaseError: by every call: the statement was refused; see ``sqlstates``.
    """

    def __init__(self, raw: _RawConnection, *, is_pooled: bool = False) -> None:
        self._raw = raw
        self._is_pooled = is_pooled
        self.met_read_only = False
        """Whether a statement was refused because nothing can be written: the session may stay so."""

    async def execute(
        self,
        query: str,
        *arguments: object,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's name
    ) -> str:
        """Carry out a statement; its command tag, such as ``UPDATE 1``.

        ``timeout``: the seconds that it may take, where that is not what all others may.
        """
        if self._wants_limits(query):
            async with self._limited():
                return await self.execute(query, *arguments, timeout=timeout)
        try:
            return str(await self._raw.execute(query, *arguments, timeout=timeout))
        except _FAILURES as error:
            raise self._translated(error) from None

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows of a statement."""
        if self._wants_limits(query):
            async with self._limited():
                return await self.fetch(query, *arguments)
        try:
            return await self._raw.fetch(query, *arguments)
        except _FAILURES as error:
            raise self._translated(error) from None

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """The first row of a statement."""
        if self._wants_limits(query):
            async with self._limited():
                return await self.fetchrow(query, *arguments)
        try:
            return await self._raw.fetchrow(query, *arguments)
        except _FAILURES as error:
            raise self._translated(error) from None

    async def fetchval(self, query: str, *arguments: object) -> Any:  # noqa: ANN401 - what a column holds
        """The first column of the first row of a statement."""
        if self._wants_limits(query):
            async with self._limited():
                return await self.fetchval(query, *arguments)
        try:
            return await self._raw.fetchval(query, *arguments)
        except _FAILURES as error:
            raise self._translated(error) from None

    async def executemany(self, query: str, arguments: Sequence[Sequence[object]]) -> None:
        """Carry out a statement for each row of arguments."""
        if self._wants_limits(query):
            async with self._limited():
                return await self.executemany(query, arguments)
        try:
            await self._raw.executemany(query, arguments)
        except _FAILURES as error:
            raise self._translated(error) from None

    def transaction(self, *, readonly: bool = False) -> "GuardedTransaction":
        """A transaction, or a savepoint within one; committed at a block's end, rolled back by an error."""
        return GuardedTransaction(self, lambda: self._raw.transaction(readonly=readonly))

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        async with self.transaction():
            await self.execute(LIMITS)
            yield

    def _wants_limits(self, query: str) -> bool:
        # Reading waits for no row, and most statements read: they are spared three messages.
        if not self._is_pooled or _MAY_WAIT.search(query) is None:
            return False
        return not (self.is_closed() or self._raw.is_in_transaction())

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        """Hear the notifications of a channel."""
        try:
            await self._raw.add_listener(channel, callback)
        except _FAILURES as error:
            raise self._translated(error) from None

    async def remove_listener(self, channel: str, callback: Callable[..., None]) -> None:
        """Hear them no longer."""
        try:
            await self._raw.remove_listener(channel, callback)
        except _FAILURES as error:
            raise self._translated(error) from None

    def add_termination_listener(self, callback: Callable[..., None]) -> None:
        """Be told when the connection ends."""
        self._raw.add_termination_listener(callback)

    def is_closed(self) -> bool:
        """Whether it has ended."""
        try:
            return self._raw.is_closed()
        except asyncpg.InterfaceError:  # it was given back to the pool
            return True

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's name
        """End it."""
        try:
            await self._raw.close(timeout=timeout)
        except _FAILURES as error:
            raise self._translated(error) from None

    def terminate(self) -> None:
        """End it at once."""
        with suppress(asyncpg.InterfaceError):  # given back to the pool, which knows what to do with it
            self._raw.terminate()

    def _translated(self, error: BaseException) -> Exception:
        is_closed = self.is_closed()
        if isinstance(error, AttributeError):
            return _lost() if is_closed else error
        if getattr(error, "sqlstate", None) == READ_ONLY:
            self.met_read_only = True
        return translate(error, is_closed=is_closed)


class GuardedTransaction:
    """A transaction whose beginning and end raise our errors."""

    def __init__(self, connection: GuardedConnection, begin: "Callable[[], Transaction]") -> None:
        self._connection = connection
        self._begin = begin
        self._raw: Transaction | None = None

    async def __aenter__(self) -> None:
        try:
            self._raw = self._begin()
            await self._raw.start()
        except _FAILURES as error:
            raise self._connection._translated(error) from None  # noqa: SLF001 - one module
        except BaseException:
            # Cut off: nobody knows whether it began, and nobody may go on in it.
            self._connection.terminate()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._raw is not None  # noqa: S101 - it was entered
        try:
            if error is None:
                await self._raw.commit()
            else:
                await self._raw.rollback()
        except _FAILURES as own:
            if error is None:
                raise self._connection._translated(own) from None  # noqa: SLF001 - one module
            # What happened in the block says more than that it could not be rolled back. Nobody may go on in
            # this transaction: the server rolls it back when the connection ends.
            self._connection.terminate()
        except BaseException:
            self._connection.terminate()
            raise


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """Take a server that answers nothing for lost.

    Raises:
        DatabaseUnavailableError: what is in the block takes longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DatabaseUnavailableError(NO_ANSWER) from None


def _lost() -> DatabaseUnavailableError:
    return DatabaseUnavailableError("The database cannot be reached: the connection is lost.")


Connection: TypeAlias = (
    "GuardedConnection | asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
)
"""What statements are carried out on: of the pool, guarded; in tests and tools also one of the driver."""


def keep_alive(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Have the kernel find out that the server has vanished from the network."""
    transport = getattr(connection, "_transport", None)  # asyncpg tells it nowhere else
    held = None if transport is None else transport.get_extra_info("socket")
    if held is None or held.family not in (socket.AF_INET, socket.AF_INET6):
        return
    held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            held.setsockopt(socket.IPPROTO_TCP, option, value)

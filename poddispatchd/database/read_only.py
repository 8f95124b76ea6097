"""A database in which nothing can be changed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from poddispatchd.database.connections import GuardedConnection
from poddispatchd.database.pool import Database
from poddispatchd.database.session_parameters import OWN_SESSION


class ReadOnlyDatabase(Database):
    """A database in which nothing can be changed: PostgreSQL refuses, whatever the role may do.

    Every statement runs in a read-only transaction, which cannot become another one once it has read: behind
    a pooler there is no session whose parameter would do.
    """

    _session: ClassVar[Mapping[str, str]] = {**OWN_SESSION, "default_transaction_read_only": "on"}

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[GuardedConnection]:
        """One connection of the pool, in a read-only transaction."""
        async with super().connection() as connection, connection.transaction(readonly=True):
            yield connection

    async def dedicated_connection(self) -> GuardedConnection:
        """None is to be had.

        Raises:
            NotImplementedError: whoever only reads has nothing to hold.
        """
        raise NotImplementedError

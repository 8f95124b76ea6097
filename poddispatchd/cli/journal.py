"""A database with a journal of our version, for commands that are of no use without one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from poddispatchd.cli.common import OLDER_SCHEMA, open_database
from poddispatchd.config.model import Settings
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.errors import PoddispatchdError


@asynccontextmanager
async def open_journal(settings: Settings) -> AsyncIterator[Database]:
    """The database, for one command.

    Raises:
        PoddispatchdError: our schema is missing or of an older release.
    """
    async with open_database(settings) as database:
        async with database.connection() as connection:
            version = await migration.checked_version(connection)
        if version < migration.LATEST:
            raise PoddispatchdError(OLDER_SCHEMA)
        yield database

"""How old something is before it is deleted for its age: no single clock decides about that."""

from datetime import datetime, timedelta

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries

_QUERIES = load_queries(__package__, "ages.sql")

_FAR = timedelta(days=1)


async def days_ago(database: Database, clock: Clock, days: int) -> datetime:
    """The moment so many days ago, by the clock of this machine and by the database's: the earlier one.

    What a clock that runs ahead takes for old would be deleted for good.
    """
    async with database.connection() as connection:
        by_database: datetime = await connection.fetchval(*_QUERIES["days_ago"](days=days))
    return min(clock.now() - timedelta(days=days), by_database)


async def is_ahead(database: Database, clock: Clock) -> bool:
    """Whether the database's clock is a day or more ahead of ours: what it takes for old may be of today."""
    async with database.connection() as connection:
        by_database: datetime = await connection.fetchval(*_QUERIES["days_ago"](days=0))
    return by_database - clock.now() >= _FAR

"""Which entries of ``opencast-files`` a recording may still be imported from."""

from collections.abc import Collection

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries

_QUERIES = load_queries("poddispatchd.pod", "opencast.sql")


async def needed_entries(connection: Connection, names: Collection[str]) -> frozenset[str]:
    """Those of these entries that a recording may still be imported from.

    That one was imported is shown by a completed task alone; wherever a recording's path has the name of an
    entry as a part, that entry counts as its own.
    """
    rows = await connection.fetch(*_QUERIES["needed"](names=list(names)))
    return frozenset(row["name"] for row in rows)

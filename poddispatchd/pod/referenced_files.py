"""Which files Pod's rows still need: what is asked before anything is deleted."""

from collections.abc import Collection

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries, render
from poddispatchd.pod.capabilities import Capabilities

_QUERIES = load_queries("poddispatchd.pod", "referenced_files.sql")


async def referenced_files(
    connection: Connection, capabilities: Capabilities, paths: Collection[str]
) -> frozenset[str]:
    """Those of these paths, relative to MEDIA_ROOT, that some row names: they may not be deleted.

    The columns have no index: ask rarely, and about many paths at once.
    """
    query = render(
        _QUERIES["referenced_files"], image_table=capabilities.image_table, file_table=capabilities.file_table
    )
    return frozenset(row["path"] for row in await connection.fetch(*query(paths=list(paths))))


async def needed_entries(connection: Connection, names: Collection[str]) -> frozenset[str]:
    """Those of these entries of ``opencast-files`` that a recording may still be imported from.

    That one was imported is shown by a completed task alone; wherever a recording's path has the name of an
    entry as a part, that entry counts as its own.
    """
    rows = await connection.fetch(*_QUERIES["needed_entries"](names=list(names)))
    return frozenset(row["name"] for row in rows)

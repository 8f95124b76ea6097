"""Which files Pod's rows name."""

from collections.abc import Collection

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries, render
from poddispatchd.pod.capabilities import Capabilities

_NAMED_FILES = load_queries("poddispatchd.pod", "referenced_files.sql")["referenced_files"]


async def referenced_files(
    connection: Connection, capabilities: Capabilities, paths: Collection[str]
) -> frozenset[str]:
    """Those of these paths, relative to MEDIA_ROOT, that some row names: they may not be deleted.

    The columns have no index: ask rarely, and about many paths at once.
    """
    query = render(_NAMED_FILES, image_table=capabilities.image_table, file_table=capabilities.file_table)
    return frozenset(row["path"] for row in await connection.fetch(*query(paths=list(paths))))

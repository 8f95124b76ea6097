"""Every row of Pod's tables at one moment, asked for at once."""

import json
from collections.abc import Collection, Mapping

import asyncpg

_TABLES = (
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL ($1::text[]) ORDER BY 1"
)


async def all_rows(
    connection: "asyncpg.Connection[asyncpg.Record]", *, without: Collection[str] = ()
) -> Mapping[str, list[dict[str, object]]]:
    """The rows of each table, in the order in which they lie there; an empty table is there, too."""
    rows: dict[str, list[dict[str, object]]] = {
        table: [] for (table,) in await connection.fetch(_TABLES, list(without))
    }
    query = " UNION ALL ".join(
        f"SELECT '{table}' AS name, row_to_json(t)::text AS row FROM public.\"{table}\" AS t"
        for table in rows
    )
    for name, row in await connection.fetch(query):
        rows[name].append(json.loads(row))
    return rows

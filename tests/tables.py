"""Every row of Pod's tables at one moment, asked for at once."""

import json
from collections.abc import Collection, Mapping

import asyncpg

_TABLES = """
    SELECT relname::text AS name, pg_relation_size(oid) > 0 AS has_pages FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> ALL ($1::text[])
     ORDER BY relname
"""
"""A table without pages has never had a row: to plan to read it costs more than to read most others."""


async def all_rows(
    connection: "asyncpg.Connection[asyncpg.Record]", *, without: Collection[str] = ()
) -> Mapping[str, list[dict[str, object]]]:
    """The rows of each table, in the order in which they lie there; an empty table is there, too."""
    tables = await connection.fetch(_TABLES, list(without))
    rows: dict[str, list[dict[str, object]]] = {table["name"]: [] for table in tables}
    query = " UNION ALL ".join(
        f"SELECT '{table}' AS name, row_to_json(t)::text AS row FROM public.\"{table}\" AS t"
        for table in (table["name"] for table in tables if table["has_pages"])
    )
    for name, row in await connection.fetch(query):
        rows[name].append(json.loads(row))
    return rows

"""Databases of tests are brought back to the state of their template, and used again.

To copy and to drop one costs 15 ms of processor time, and what is new is read into the server's memory anew.
Here the rows of the tables that a test has written to are put back, and sequences: 3 ms. A database is not
used again when anything else differs from its template: its catalog (a test altered a table, granted a
right, made a function or a trigger), its settings, a role that was made for it; nor when somebody stays
connected. Every session has ended by then, and each tells at its end what it has written: at once, since
PostgreSQL 15; with an older one every test has a copy.
"""

import asyncio
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poddispatchd.database.connections import Connection

_MOST_ROWS = 2000
"""Of a table: more of them are quicker copied, or dropped with their database."""

_MOST_USES = 60
"""What was deleted stays in the files until somebody vacuums: then it is time for a fresh copy."""

LOOKS = 25
_PAUSE = 0.002
"""Seconds: a closed connection's server process takes a moment to leave."""

_PLACE = """
SELECT pg_stat_get_db_numbackends(oid) AS sessions,
       concat_ws(' ', datdba, datacl, datconnlimit, datallowconn, (
           SELECT count(*) FROM pg_catalog.pg_db_role_setting WHERE setdatabase = pg_database.oid
       ), (
           SELECT count(*) FROM pg_catalog.pg_roles WHERE strpos(rolname, datname) > 0
       )) AS rights
  FROM pg_catalog.pg_database WHERE datname = current_database()
"""

_WRITTEN = """
SELECT oid::regclass::text AS name, oid < 16384 AS is_catalog, writes
  FROM pg_catalog.pg_class, LATERAL (
           SELECT CASE WHEN relkind = 'S' THEN pg_stat_get_blocks_fetched(oid)
                       ELSE pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid)
                                + pg_stat_get_tuples_deleted(oid) END AS writes
       ) AS counted
 WHERE relkind IN ('r', 'S') AND NOT relisshared AND writes <> 0
"""
"""How often each table was written to since the database was as its template, whatever was rolled back.

A sequence that gave a number has been read.
"""

_RESET = (
    "SELECT pg_stat_reset_single_table_counters(name::regclass) FROM unnest($1::text[]) AS written (name)"
)

_TABLES = """
SELECT oid::regclass::text AS name,
       ARRAY(SELECT quote_ident(attname) FROM pg_catalog.pg_attribute
              WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
              ORDER BY attnum) AS columns
  FROM pg_catalog.pg_class
 WHERE relkind = 'r' AND oid >= 16384
"""

_SEQUENCES = """
SELECT seqrelid::regclass::text AS name,
       coalesce(pg_sequence_last_value(seqrelid), seqstart) AS number,
       pg_sequence_last_value(seqrelid) IS NOT NULL AS is_given
  FROM pg_catalog.pg_sequence
"""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a template has: the rights to it, and how each table and sequence is put back."""

    rights: str
    statements: Mapping[str, str]

    @classmethod
    async def of(cls, connection: Connection) -> "Beginning | None":
        """That of the database of a connection; None if it is too large to be put back."""
        statements = {}
        for name, columns in await connection.fetch(_TABLES):
            few = f"SELECT count(*) FROM (SELECT FROM {name} LIMIT {_MOST_ROWS + 1}) AS first_rows"
            if (count := await connection.fetchval(few)) > _MOST_ROWS:
                return None
            statements[name] = f"DELETE FROM {name}"
            if count:
                rows = await connection.fetchval(f"SELECT array_agg(t)::text FROM {name} AS t")
                named, quoted = ", ".join(columns), rows.replace("'", "''")
                statements[name] += (
                    f"; INSERT INTO {name} ({named}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {named} FROM unnest('{quoted}'::{name}[])"
                )
        for name, number, is_given in await connection.fetch(_SEQUENCES):
            quoted = name.replace("'", "''")
            statements[name] = f"SELECT setval('{quoted}', {number}, {is_given})"
        place = await connection.fetchrow(_PLACE)
        assert place is not None
        return cls(place["rights"], statements)


@dataclass(slots=True)
class Rewound:
    """A database that is as its template."""

    name: str
    beginning: Beginning | None
    """None for one that cannot be put back."""
    uses: int = 0


async def rewind(connection: Connection, database: Rewound) -> bool:
    """Bring it back; whether it is as its template."""
    database.uses += 1
    beginning = database.beginning
    if beginning is None or database.uses > _MOST_USES:
        return False
    # What this session has written itself.
    await connection.execute("SELECT pg_stat_force_next_flush()")
    if await _rights(connection) != beginning.rights:
        return False
    written = await connection.fetch(_WRITTEN)
    for name, is_catalog, writes in written:
        if is_catalog or not 0 < writes <= _MOST_ROWS or name not in beginning.statements:
            return False
    if written:
        names = [name for name, _, _ in written]
        # No trigger and no foreign key: what is put back fits together, and nobody is told of it.
        await connection.execute(
            "BEGIN; SET LOCAL session_replication_role = replica;"
            f" {'; '.join(beginning.statements[name] for name in names)};"
            " SELECT pg_stat_force_next_flush(); COMMIT"
        )
        await connection.execute(_RESET, names)
    return True


async def _rights(connection: Connection) -> str | None:
    """The rights to a database in which nobody else is connected; None if somebody stays."""
    for _ in range(LOOKS):
        place = await connection.fetchrow(_PLACE)
        assert place is not None
        if place["sessions"] == 1:
            return str(place["rights"])
        await asyncio.sleep(_PAUSE)
    return None


def keep(path: Path, beginning: Beginning | None) -> None:
    """For other workers."""
    path.write_bytes(pickle.dumps(beginning))


def kept(path: Path) -> Beginning | None:
    """What another worker has kept; None for a template of which nothing is."""
    return pickle.loads(path.read_bytes()) if path.exists() else None

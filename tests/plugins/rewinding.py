"""Databases of tests are brought back to the state of their template, and used again.

To copy and to drop one costs 15 ms of processor time, and what is new is read into the server's memory anew.
Here the rows of the tables that a test has written to are put back, and sequences: 5 ms. A database is not
used again when anything else differs from its template: its catalog (a test altered a table, granted a
right, made a function or a trigger), its settings, a role that was made for it; nor when somebody stays
connected. Every session has ended by then, and each tells at its end what it has written.
"""

import asyncio
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poddispatchd.database.connections import Connection

_MOST_ROWS = 2000
"""Of a table: more of them are quicker copied, or dropped with their database."""

_MOST_USES = 60
"""What was deleted stays in the files until somebody vacuums: then it is time for a fresh copy."""

_LOOKS = 25
_PAUSE = 0.002
"""Seconds: a closed connection's server process takes a moment to leave."""

_OTHERS = """
SELECT count(*) FROM pg_catalog.pg_stat_activity
 WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
"""

_PLACE = """
SELECT pg_catalog.concat_ws(' ', datdba, datacl, datconnlimit, datallowconn, (
           SELECT count(*) FROM pg_catalog.pg_db_role_setting WHERE setdatabase = pg_database.oid
       ), (
           SELECT count(*) FROM pg_catalog.pg_roles WHERE strpos(rolname, datname) > 0
       )) AS rights,
       ARRAY(SELECT pg_sequence_last_value(seqrelid) FROM pg_catalog.pg_sequence ORDER BY seqrelid) AS numbers
  FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""

_WRITTEN = """
SELECT oid::regclass::text AS name, oid < 16384 AS is_catalog, writes
  FROM pg_catalog.pg_class, LATERAL (
           SELECT pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid)
                      + pg_stat_get_tuples_deleted(oid) AS writes
       ) AS counted
 WHERE relkind = 'r' AND NOT relisshared AND writes <> 0
"""
"""How often each table was written to since the database was as its template, whatever was rolled back."""

_TABLES = """
SELECT oid::regclass::text AS name,
       ARRAY(SELECT quote_ident(attname) FROM pg_catalog.pg_attribute
              WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
              ORDER BY attnum) AS columns
  FROM pg_catalog.pg_class
 WHERE relkind = 'r' AND oid >= 16384
"""

_SEQUENCES = "SELECT seqrelid::regclass::text AS name, seqstart FROM pg_catalog.pg_sequence ORDER BY seqrelid"


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a template has: the rights to it, and the statements that put back rows and sequences."""

    rights: str
    tables: Mapping[str, str]
    numbers: Sequence[int | None]
    """The last ones of all sequences."""
    sequences: Sequence[str]

    @classmethod
    async def of(cls, connection: Connection) -> "Beginning | None":
        """That of the database of a connection; None if it is too large to be put back."""
        tables = {}
        for name, columns in await connection.fetch(_TABLES):
            row = await connection.fetchrow(f"SELECT count(*), array_agg(t)::text AS rows FROM {name} AS t")
            assert row is not None
            if row["count"] > _MOST_ROWS:
                return None
            statements = [f"DELETE FROM {name}"]
            if row["count"]:
                named, quoted = ", ".join(columns), row["rows"].replace("'", "''")
                statements.append(
                    f"INSERT INTO {name} ({named}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {named} FROM unnest('{quoted}'::{name}[])"
                )
            tables[name] = "; ".join(statements)
        place = await connection.fetchrow(_PLACE)
        assert place is not None
        sequences = [
            f"SELECT setval('{name}', {start if last is None else last}, {last is not None})"
            for (name, start), last in zip(await connection.fetch(_SEQUENCES), place["numbers"], strict=True)
        ]
        return cls(place["rights"], tables, place["numbers"], sequences)


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
    if beginning is None or database.uses > _MOST_USES or not await _is_alone(connection):
        return False
    # What this session has written itself.
    await connection.execute("SELECT pg_stat_force_next_flush()")
    place = await connection.fetchrow(_PLACE)
    assert place is not None
    if place["rights"] != beginning.rights or len(place["numbers"]) != len(beginning.numbers):
        return False
    statements = []
    for name, is_catalog, writes in await connection.fetch(_WRITTEN):
        if is_catalog or not 0 < writes <= _MOST_ROWS or name not in beginning.tables:
            return False
        statements.append(beginning.tables[name])
    statements += [
        statement
        for statement, first, last in zip(
            beginning.sequences, beginning.numbers, place["numbers"], strict=True
        )
        if first != last
    ]
    if statements:
        # No trigger and no foreign key: what is put back fits together, and nobody is told of it.
        await connection.execute(
            "BEGIN; SET LOCAL session_replication_role = replica;"
            f" {'; '.join(statements)}; SELECT pg_stat_force_next_flush(); COMMIT"
        )
        await connection.execute("SELECT pg_stat_reset()")
    return True


async def _is_alone(connection: Connection) -> bool:
    for _ in range(_LOOKS):
        if not await connection.fetchval(_OTHERS):
            return True
        await asyncio.sleep(_PAUSE)
    return False


def keep(path: Path, beginning: Beginning | None) -> None:
    """For other workers."""
    path.write_bytes(pickle.dumps(beginning))


def kept(path: Path) -> Beginning | None:
    """What another worker has kept; None for a template of which nothing is."""
    return pickle.loads(path.read_bytes()) if path.exists() else None

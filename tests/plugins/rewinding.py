"""Databases of tests are brought back to the state of their template, and used again.

To copy and to drop one costs 20 ms of processor time, and a fresh one is read into the server's memory anew.
Here the rows of the tables that a test has changed are put back, and sequences: 3 ms. A database whose
catalog is not that of its template any more (a test altered a table, granted a right, made a trigger) is
not used again, nor is one in which somebody else is still connected, or which has grown.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poddispatchd.database.connections import Connection

_MOST_ROWS = 2000
"""Of a table: more of them are quicker copied, or dropped with their database."""

_MOST_USES = 60
"""What was deleted stays in the files until somebody vacuums: then it is time for a fresh copy."""

_WRITES = """
SELECT oid::regclass::text AS name, oid < 16384 AS is_catalog,
       pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid)
           + pg_stat_get_tuples_deleted(oid) AS writes
  FROM pg_catalog.pg_class WHERE relkind = 'r' AND NOT relisshared
"""
"""How often each table was written, as every session has told when it was emptied or ended."""

_PLACE = """
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
           AND application_name <> 'kept for the next test') AS others,
       concat_ws(' ', datacl, datconnlimit, datallowconn, (
           SELECT count(*) FROM pg_catalog.pg_db_role_setting WHERE setdatabase = pg_database.oid
       )) AS rights,
       ARRAY(SELECT pg_sequence_last_value(seqrelid) FROM pg_catalog.pg_sequence ORDER BY seqrelid) AS numbers
  FROM pg_catalog.pg_database WHERE datname = current_database()
"""

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
            count, rows = await connection.fetchrow(  # type: ignore[misc]  # there is one
                f"SELECT count(*), json_agg(row_to_json(t))::text FROM {name} AS t"
            )
            if count > _MOST_ROWS:
                return None
            statements = [f"DELETE FROM {name}"]
            if count:
                named, quoted = ", ".join(columns), rows.replace("'", "''")
                statements.append(
                    f"INSERT INTO {name} ({named}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {named} FROM json_populate_recordset(NULL::{name}, '{quoted}')"
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
    writes: Mapping[str, int] = field(default_factory=dict)
    """How often each table had been written when it was so."""
    uses: int = 0


async def rewind(connection: Connection, database: Rewound) -> bool:
    """Bring it back; whether it is as its template."""
    database.uses += 1
    beginning, place = database.beginning, await connection.fetchrow(_PLACE)
    assert beginning is not None
    assert place is not None
    if database.uses > _MOST_USES or place["others"] or place["rights"] != beginning.rights:
        return False
    changed = []
    for name, is_catalog, writes in await connection.fetch(_WRITES):
        more = writes - database.writes.get(name, 0)
        if more and (is_catalog or more > _MOST_ROWS or name not in beginning.tables):
            return False
        if more:
            changed.append(name)
    back = [
        statement
        for statement, first, last in zip(
            beginning.sequences, beginning.numbers, place["numbers"], strict=False
        )
        if first != last
    ]
    if changed or back:
        await connection.execute(
            "; ".join(
                (
                    "BEGIN",
                    "SET LOCAL session_replication_role = replica",
                    *(beginning.tables[name] for name in changed),
                    *back,
                    "SELECT pg_stat_force_next_flush()",
                    "COMMIT",
                )
            )
        )
        database.writes = {name: writes for name, _, writes in await connection.fetch(_WRITES)}
    return True


def keep(path: Path, beginning: Beginning | None) -> None:
    """For other workers."""
    path.write_bytes(pickle.dumps(beginning))


def kept(path: Path) -> Beginning | None:
    """What another worker has kept."""
    return pickle.loads(path.read_bytes()) if path.exists() else None

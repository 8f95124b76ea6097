"""What a DBA can do to Pod's tables that keeps statements on them from being taken, in words.

PostgreSQL's own words for it are not shown, and its codes name no cause. The catalogue knows it.
"""

from collections.abc import Sequence

from poddispatchd.database.connections import Connection
from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.database.sqlstates import taken_id_words
from poddispatchd.pod import grants

_QUERIES = load_queries("poddispatchd.pod", "table_faults.sql")

_SOON = 1000
"""Ids that a sequence gives before it meets one that is taken, from which on that is told."""

_EVENTS = {"UPDATE": "2", "INSERT": "3", "DELETE": "4"}
"""How PostgreSQL's catalogue calls what a rule is for."""


async def every_fault(database: Database) -> Sequence[str]:
    """All that is known to keep this role from reading or writing Pod's tables, a sentence or two for each.

    Raises:
        DatabaseError: it cannot be found out.
    """
    missing = await grants.missing_rights(database)
    return [
        *([grants.words_of(missing)] if missing else []),
        *await reading_faults(database),
        *await writing_faults(database),
    ]


async def reading_faults(database: Database) -> Sequence[str]:
    """What keeps this role from reading, beside rights: a shadow notices by itself what it may not read."""
    hidden = await grants.hidden_rows(database)
    return [] if hidden is None else [hidden]


async def writing_faults(database: Database) -> Sequence[str]:
    """What keeps rows of some tables from being written: rules, publications, sequences of ids.

    Raises:
        DatabaseError: it cannot be found out.
    """
    written = [right for right in grants.needed_rights() if right.privilege in _EVENTS]
    wanted = {
        "tables": [right.table for right in written],
        "events": [_EVENTS[right.privilege] for right in written],
    }
    async with database.connection() as connection:
        rules = await connection.fetch(*_QUERIES["rules"](**wanted))
        unidentified = await connection.fetch(*_QUERIES["unidentified"](**wanted))
        lacking = await grants.missing_sequences(connection)
        return [
            *([grants.words_of(lacking)] if lacking else []),
            *(_rule_words(row["name"], row["rules"]) for row in rules),
            *(_unidentified_words(row["name"]) for row in unidentified),
            *await _sequence_faults(connection),
        ]


async def _sequence_faults(connection: Connection) -> list[str]:
    faults = []
    for row in await connection.fetch(*_QUERIES["sequences"](tables=list(grants.INSERTED))):
        table, sequence = row["name"], row["sequence"]
        # The table's name is one of ours, and none that was read.
        ids = await connection.fetchrow(*_QUERIES["ids"].fill(table=table)(sequence=row["sequence_id"]))
        assert ids is not None  # noqa: S101 - an aggregate has a row
        beyond, given = ids["beyond"], ids["given"]
        if given == row["last"]:
            faults.append(
                f"The sequence {sequence} has given its last id ({given}), and nothing can be inserted into "
                f"{table}: let a DBA make the column of these ids a bigint."
            )
        # A row far beyond, that somebody gave an id of its own, is in nobody's way for long.
        elif beyond is not None and beyond - given <= _SOON:
            faults.append(f"{taken_id_words(table)} (it has given {given}, and {beyond} is taken).")
    return faults


def _rule_words(table: str, rules: Sequence[str]) -> str:
    named = ", ".join(rules)
    return (
        f"PostgreSQL takes no statement of several steps on {table}, for it has rules ({named}): let a "
        "DBA make triggers of them, or drop them (DROP RULE)."
    )


def _unidentified_words(table: str) -> str:
    return (
        f"PostgreSQL refuses to change rows of {table}, which is published without a replica identity: let a "
        f"DBA give it its primary key again, or run ALTER TABLE {table} REPLICA IDENTITY FULL."
    )

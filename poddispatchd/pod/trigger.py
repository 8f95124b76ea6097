"""What may be added to Pod's task table, if its owner wants it: a trigger that announces tasks, and an index.

Nothing here happens by itself: Pod's tables are not ours (invariant I2).
"""

from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries, render
from poddispatchd.database.sqlstates import INSUFFICIENT_PRIVILEGE, INVALID_SCHEMA_NAME
from poddispatchd.errors import DatabaseError

_QUERIES = load_queries("poddispatchd.pod", "trigger.sql")
_SCHEMA = "poddispatchd"

INDEX_SQL = f"{_QUERIES['index'].sql};"
"""The index that a long task table wants; CONCURRENTLY, so that Pod goes on meanwhile."""


class TableFacts(Struct, frozen=True):
    """Rows of Pod's task table, those not ended yet, and whether the advised index is there and valid."""

    tasks: int
    unfinished: int
    has_index: bool


def install_script() -> str:
    """The SQL that installs the trigger: all of it or, in one transaction, nothing; it may be run again."""
    return _script("install")


def remove_script() -> str:
    """The SQL that removes the trigger and its function."""
    return _script("remove")


async def install(database: Database) -> None:
    """Install the trigger.

    Raises:
        DatabaseError: the role lacks the rights, or there is no schema yet; the words say what to do.
    """
    await _run(database, "install", "install-trigger")


async def remove(database: Database) -> None:
    """Remove the trigger.

    Raises:
        DatabaseError: the role lacks the rights; the words say what to do.
    """
    await _run(database, "remove", "remove-trigger")


async def facts(database: Database) -> TableFacts:
    """Count the tasks and look for the index."""
    record = await database.fetchrow(*_QUERIES["facts"]())
    assert record is not None  # noqa: S101 - an aggregate without GROUP BY always has a row
    return TableFacts(**record)


def _script(name: str) -> str:
    return f"BEGIN;\n{_statements(name)};\nCOMMIT;\n"


def _statements(name: str) -> str:
    return render(_QUERIES[name], schema=_SCHEMA).sql


async def _run(database: Database, name: str, command: str) -> None:
    try:
        async with database.transaction() as connection:
            await connection.execute(_statements(name))
    except DatabaseError as error:
        if error.sqlstate == INVALID_SCHEMA_NAME:
            raise DatabaseError(
                f"There is no schema {_SCHEMA} yet: run 'poddispatchd db init' first."
            ) from error
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        row = await database.fetchrow(*_QUERIES["owner"]())
        owner, is_ours, schema_owner, function_owner = row or ("its owner", False, "", None)
        by_superuser = f"poddispatchd db {command} --print-sql | sudo -u postgres psql <Pod's database>"
        if is_ours and function_owner is not None:
            raise DatabaseError(
                f"{owner}, who owns Pod's task table, may not replace or drop the function "
                f"{_SCHEMA}.announce_task(), which belongs to {function_owner}: let a superuser do this: "
                f"{by_superuser}"
            ) from error
        if is_ours:
            raise DatabaseError(
                f"{owner}, who owns Pod's task table, may not do this in the schema {_SCHEMA}, which belongs "
                f"to {schema_owner}: let that role run GRANT USAGE, CREATE ON SCHEMA {_SCHEMA} TO {owner}, "
                f"or a superuser: {by_superuser}"
            ) from error
        raise DatabaseError(
            f"Only {owner}, who owns Pod's task table, or a superuser may do this: {by_superuser}"
        ) from error

"""Versions of poddispatchd's own schema and the way from one to the next."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from poddispatchd.database.connections import Connection
from poddispatchd.database.pool import Database
from poddispatchd.database.sqlstates import INSUFFICIENT_PRIVILEGE, UNDEFINED_TABLE
from poddispatchd.errors import (
    DatabaseError,
    RowLockedError,
    SchemaChangedError,
    SchemaError,
    SchemaNewerError,
)

SCHEMA = "poddispatchd"

_MAKE_SCHEMA = f"""\
DO $$ BEGIN IF to_regnamespace('{SCHEMA}') IS NULL THEN CREATE SCHEMA {SCHEMA}; END IF; END $$;
"""
# Not IF NOT EXISTS: that wants the right to create schemas even where this one is there.

_HAS_SCHEMA = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)"

_MAKE_VERSIONS = f"""\
CREATE TABLE IF NOT EXISTS {SCHEMA}.schema_version (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""

_OWNER = """\
SELECT pg_catalog.pg_get_userbyid(nspowner)
  FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
 WHERE nspname = $1 AND relname = 'schema_version'
"""
# Not to_regclass: in a transaction that has waited for the lock it may still say what was before.

_LOCK = f"SELECT pg_advisory_xact_lock(hashtextextended('{SCHEMA}.migrations', 0))"

_LOCKED_WITHIN = 10_000
"""Milliseconds that another daemon's upgrade is waited for at once: it may take an hour, and a statement that
waits so long is cut off as if the database were lost."""

_HARDLY_WAIT = "SET LOCAL lock_timeout = 500"
"""For a table that a step alters: half of what others wait for a row. Behind a step that waits for one, as
for the end of a backup, everybody else waits, too: other daemons, and callbacks."""

LONGEST_STEP = 3600.0
"""Seconds that a step may take: one that is cut off begins anew, and is cut off again."""

_ANNOUNCE = f"SELECT pg_notify('{SCHEMA}_task', 'schema upgraded')"
"""Daemons of an older release look at the version, and stop."""


class Migration(Struct, frozen=True):
    """One step of the schema."""

    version: int
    name: str
    sql: str

    def script(self) -> str:
        """The statements of this step, its version recorded at the end."""
        record = f"INSERT INTO {SCHEMA}.schema_version (version) VALUES ({self.version});"  # noqa: S608 - constants
        return f"-- {self.version:04d} {self.name}\n{self.sql.strip()}\n{record}\n"


def _known() -> tuple[Migration, ...]:
    found = []
    for file in Path(__file__).with_name("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match is not None:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))


MIGRATIONS = _known()
LATEST = MIGRATIONS[-1].version


async def current_version(connection: Connection) -> int:
    """The version of the schema in this database; 0 when there is none.

    Raises:
        SchemaError: it is there, and this role may not use it.
    """
    owner = await connection.fetchval(_OWNER, SCHEMA)
    if owner is None:
        return 0
    with _rights_explained(
        f"The database role may not use the schema {SCHEMA!r}, which belongs to role {owner}: use that role "
        "in database.dsn, or let 'poddispatchd db setup' give it to this one."
    ):
        found = await connection.fetchval(f"SELECT coalesce(max(version), 0) FROM {SCHEMA}.schema_version")  # noqa: S608 - a constant
    return int(found)


def pending(version: int) -> tuple[Migration, ...]:
    """The steps from a version to the latest."""
    return tuple(migration for migration in MIGRATIONS if migration.version > version)


def script(version: int) -> str:
    """The SQL that ``upgrade`` would carry out on a schema of this version, for a person to read or run."""
    statements = statements_from(version)
    return f"BEGIN;\n{statements}\nCOMMIT;\n\n" if statements else ""


def statements_from(version: int) -> str:
    """The same without its transaction."""
    steps = pending(version)
    if not steps:
        return ""
    return "\n".join([_MAKE_SCHEMA + _MAKE_VERSIONS, *(step.script() for step in steps)])


async def upgrade(
    database: Database, begins: Callable[[Migration], object] = lambda _: None
) -> tuple[Migration, ...]:
    """Bring the schema to the latest version and return the steps taken; none when it is there already.

    Safe when several daemons start at once: one migrates, the others wait and find nothing to do. All steps
    are one transaction.

    Args:
        database: Pod's.
        begins: is told of each step before it, which may take ``LONGEST_STEP``.

    Raises:
        SchemaError: the schema is newer than this program, or the role may not create it.
        RowLockedError: somebody reads, or writes, a table that is to be altered, or is at an upgrade; worth
            another try.
    """
    # First without the lock, and without the right to create anything: mostly there is nothing to do.
    async with database.connection() as connection:
        if await checked_version(connection) == LATEST:
            return ()
    with _rights_explained(
        f"The database role may not create the schema {SCHEMA!r}: run 'poddispatchd db init' once "
        "with a role that may (the database's owner), or give --print-sql's output to your DBA."
    ):
        # Whoever is at it may take longer than a second; it is waited for.
        async with database.transaction(impatient=False) as connection:
            return await upgrade_within(connection, begins)


async def upgrade_within(
    connection: Connection, begins: Callable[[Migration], object] = lambda _: None
) -> tuple[Migration, ...]:
    """The same as a part of somebody's transaction, as the role that is in effect there."""
    await connection.execute(f"SET LOCAL lock_timeout = {_LOCKED_WITHIN}")
    try:
        await connection.execute(_LOCK)
    except RowLockedError as error:
        raise RowLockedError(
            "Another poddispatchd is upgrading the schema.", sqlstate=error.sqlstate
        ) from None
    # Under the lock the version is read anew: another daemon may have done it meanwhile.
    steps = pending(await checked_version(connection))
    if steps:
        await connection.execute(_HARDLY_WAIT)
        # Without PL/pgSQL: behind a pooler its settings would stay on a server that others use, too.
        if not await connection.fetchval(_HAS_SCHEMA, SCHEMA):
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(_MAKE_VERSIONS)
    for step in steps:
        begins(step)
        await connection.execute(step.script(), timeout=LONGEST_STEP)
    if steps:
        # Within the transaction: PostgreSQL tells it at the commit, or never.
        await connection.execute(_ANNOUNCE)
    return steps


@contextmanager
def _rights_explained(words: str) -> Iterator[None]:
    """Say in words what to do where the role lacks a right."""
    try:
        yield
    except DatabaseError as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise SchemaError(words) from None
        raise


async def checked_version(connection: Connection) -> int:
    """The version of the schema in this database, which this program can use or upgrade.

    Raises:
        SchemaNewerError: it was made by a newer poddispatchd.
    """
    version = await current_version(connection)
    check_version(version)
    return version


def check_version(version: int) -> None:
    """Refuse a schema that a newer release has made: what it means there is not known here.

    Raises:
        SchemaNewerError: the version is newer than ``LATEST``.
    """
    if version > LATEST:
        raise SchemaNewerError(
            f"The schema {SCHEMA!r} has version {version}, this poddispatchd knows up to {LATEST}: "
            "install the newer poddispatchd on this machine, too, or see 'Downgrade' in docs/upgrade.md."
        )


def check_upgraded(version: int) -> None:
    """Refuse an older schema than the one that this daemon has upgraded at its start.

    Raises:
        SchemaChangedError: an older backup was restored while the daemon ran.
    """
    if version < LATEST:
        raise SchemaChangedError(
            f"The schema {SCHEMA!r} has version {version} instead of {LATEST}, as after an older backup was "
            "restored: restart poddispatchd, which upgrades it."
        )


@contextmanager
def loss_explained() -> Iterator[None]:
    """Say in words what to do where our schema, which was there at the start, is not any more."""
    try:
        yield
    except SchemaChangedError as error:
        if error.sqlstate == UNDEFINED_TABLE:
            raise SchemaChangedError(
                f"The schema {SCHEMA!r} is gone from the database, as after a restore without it: when Pod's "
                "tables are there, restart poddispatchd, which makes it anew.",
                sqlstate=error.sqlstate,
            ) from None
        raise

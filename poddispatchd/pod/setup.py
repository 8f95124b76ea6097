"""What the owner of Pod's database does once for poddispatchd: a role, its rights, and the schema."""

import base64
import hashlib
import hmac
import os
from urllib.parse import parse_qs, quote, unquote, urlsplit

from msgspec import Struct

from poddispatchd.database import migration
from poddispatchd.database.connections import Connection
from poddispatchd.database.pool import Database
from poddispatchd.database.sqlstates import INSUFFICIENT_PRIVILEGE
from poddispatchd.errors import ConfigurationError, DatabaseError
from poddispatchd.pod.capabilities import hidden_tables
from poddispatchd.pod.grants import (
    grants_script,
    joining,
    leaving,
    missing_rights,
    missing_sequences,
    words_of,
)

_ITERATIONS = 4096
"""PostgreSQL's own number (scram_iterations)."""

_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1"})

_ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)"
_IS_POD = "SELECT to_regclass('runner_manager_task') IS NOT NULL"

_IS_LET_IN = """
    SELECT has_database_privilege($1::name, current_database()::text, 'CONNECT')
           AND has_schema_privilege($1::name, relnamespace, 'USAGE')
      FROM pg_catalog.pg_class WHERE oid = to_regclass('runner_manager_task')
"""

_STRANGER = """
    SELECT pg_get_userbyid(nspowner)
      FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = $1 AND relname = 'schema_version'
           AND NOT (has_schema_privilege($2::name, relnamespace, 'USAGE')
                    AND has_table_privilege($2::name, pg_class.oid, 'SELECT'))
"""
"""The owner of our schema, where the role may not use it."""

_OUR_TABLES = """
    SELECT pg_class.oid::regclass::text
      FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = $1 AND relkind = 'r'
"""

_LEASES_SINCE = 11
"""The version of our schema in which daemons began to hold a lease; that of an older release may run yet."""

_SCHEDULER = f"SELECT instance FROM {migration.SCHEMA}.leader WHERE lease_expires_at > now()"  # noqa: S608 - a constant

_OF_THE_SESSION = ("options", "search_path")
"""Parameters of an address that say where its tables are looked for."""


class SetupPlan(Struct, frozen=True):
    """What is set up.

    Attributes:
        role: that the daemon uses.
        verifier: of its password, as PostgreSQL stores it; None: the role logs in without one.
        sets_password: also where the role exists already.
    """

    role: str
    verifier: str | None = None
    sets_password: bool = False


class SetupResult(Struct, frozen=True):
    """What was done; ``steps`` of the schema, ``taken_from``: whose it was, if it was another role's."""

    made_role: bool
    steps: tuple[migration.Migration, ...]
    taken_from: str | None = None


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def role_of(dsn: str) -> str | None:
    """The role that an address of a database names."""
    parts = urlsplit(dsn)
    named = parse_qs(parts.query).get("user")
    return unquote(parts.username) if parts.username else named[0] if named else None


def owner_dsn(dsn: str) -> str:
    """The same database on this machine, over PostgreSQL's socket, as its superuser.

    Raises:
        ConfigurationError: the database is on another machine.
    """
    parts = urlsplit(dsn)
    given = parse_qs(parts.query)
    host = given.get("host", [parts.hostname or ""])[0]
    if host not in _LOCAL and not host.startswith("/"):
        raise ConfigurationError(
            f"The database is on {host}: name the address with which its owner reaches it, as "
            "--owner-dsn postgresql://postgres@"
            + f"{host}{parts.path}, the password in PGPASSWORD or ~/.pgpass."
        )
    port = given.get("port", [str(parts.port) if parts.port else ""])[0]
    query = "&".join(
        [
            *([f"host={quote(host, safe='')}"] if host.startswith("/") else []),
            *([f"port={port}"] if port else []),
            *(f"{name}={quote(given[name][0], safe='')}" for name in _OF_THE_SESSION if name in given),
        ]
    )
    return f"postgresql://postgres@{parts.path or '/postgres'}{f'?{query}' if query else ''}"


def verifier_of(password: str, salt: bytes | None = None) -> str:
    """A password as PostgreSQL stores it (RFC 5803): the server's log never gets to see the password.

    One with other characters than ASCII's is given as it is, for PostgreSQL normalises those in its own way.
    """
    if not password.isascii():
        return password
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in parts)
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt64}${stored64}:{server64}"


def setup_script(role: str, *, has_password: bool) -> str:
    """The SQL that does it all, for a person to read or run; without the password."""
    literal = "'" + role.replace("'", "''") + "'"
    password = f"-- Give it the password of database.dsn: \\password {quoted(role)}\n" if has_password else ""
    return (
        "-- Run once, in Pod's database, by its owner or a superuser.\n"
        "BEGIN;\n"
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal}) THEN\n"
        f"  EXECUTE format('CREATE ROLE %I LOGIN', {literal});\n"
        "END IF; END $$;\n"
        f"{password}{joining(role)};\n{grants_script(role)}"
        f"SET LOCAL ROLE {quoted(role)};\n"
        f"{migration.statements_from(0)}\n"
        f"RESET ROLE;\n{leaving(role)};\n"
        "COMMIT;\n"
    )


async def set_up(database: Database, plan: SetupPlan) -> SetupResult:
    """Do it, in one transaction; it does no harm to do it again.

    Raises:
        ConfigurationError: this is not Pod's database, or a daemon schedules as another role.
        DatabaseError: the role of this connection lacks a right; the words say what to do.
    """
    try:
        async with database.transaction(impatient=False) as connection:
            if not await connection.fetchval(_IS_POD):
                name = await connection.fetchval("SELECT current_database()")
                raise ConfigurationError(
                    await hidden_tables(connection)
                    or f"The database {name} has no table runner_manager_task: it is not Pod's, or Pod is "
                    f"older than 4.2. See {database.setting}."
                )
            made_role = await _role(connection, plan)
            await connection.execute(joining(plan.role))
            await connection.execute(grants_script(plan.role))
            taken_from = await _take_over(connection, plan.role)
            is_let_in = await connection.fetchval(_IS_LET_IN, plan.role)
            # Tables belong to who makes them: these to the role that the daemon uses, and upgrades them with.
            await connection.execute(f"SET LOCAL ROLE {quoted(plan.role)}")
            await _check_given(connection, is_let_in=is_let_in)
            steps = await migration.upgrade_within(connection)
            await connection.execute("RESET ROLE")
            await connection.execute(leaving(plan.role))
            return SetupResult(made_role, steps, taken_from)
    except DatabaseError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        raise DatabaseError(
            "The role of this connection may not make a role, or does not own Pod's tables: run it as root "
            "on the machine of the database, or with --owner-dsn as a superuser; or give --print-sql's "
            "output to your DBA.",
            sqlstate=error.sqlstate,
        ) from None


async def _take_over(connection: Connection, role: str) -> str | None:
    """Let the schema be the role's where that may not use it: a daemon used another role before.

    Returns:
        Whose it was; None where nothing was to be done.

    Raises:
        ConfigurationError: a daemon schedules as that role, and would stand still from now on.
    """
    former = await connection.fetchval(_STRANGER, migration.SCHEMA, role)
    if former is None:
        return None
    if await migration.current_version(connection) >= _LEASES_SINCE:
        daemon = await connection.fetchval(_SCHEDULER)
        if daemon is not None:
            raise ConfigurationError(
                f"The schema {migration.SCHEMA!r} is role {former}'s, and a daemon uses it ({daemon}). If "
                f"role {role} is to have it: stop that daemon, and type this again."
            )
    await connection.execute(f"ALTER SCHEMA {migration.SCHEMA} OWNER TO {quoted(role)}")
    for row in await connection.fetch(_OUR_TABLES, migration.SCHEMA):
        # Sequences of columns go with their tables.
        await connection.execute(f"ALTER TABLE {row[0]} OWNER TO {quoted(role)}")
    return str(former)


async def _check_given(connection: Connection, *, is_let_in: bool) -> None:
    """See that the current role has what was to be given: who may not is only warned by PostgreSQL.

    Raises:
        DatabaseError: it lacks something.
    """
    if not is_let_in:
        raise DatabaseError(
            "The role of this connection may not let the role connect to the database, or use the schema of "
            "Pod's tables: run it as root on the machine of the database, or with --owner-dsn as who owns "
            "both, or as a superuser."
        )
    if missing := [*await missing_rights(connection), *await missing_sequences(connection)]:
        raise DatabaseError(words_of(missing))


async def _role(connection: Connection, plan: SetupPlan) -> bool:
    exists = await connection.fetchval(_ROLE_EXISTS, plan.role)
    if exists and not plan.sets_password:
        return False
    # A verifier holds no quote; a password that is none is quoted all the same.
    secret = "" if plan.verifier is None else " PASSWORD '" + plan.verifier.replace("'", "''") + "'"
    await connection.execute(f"{'ALTER' if exists else 'CREATE'} ROLE {quoted(plan.role)} LOGIN{secret}")
    return not exists

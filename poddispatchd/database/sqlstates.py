"""What an error of the database driver means, in our error tree and in words without values (invariant I15).

PostgreSQL's own texts are never shown: the DETAIL of a constraint error holds the whole row, a trigger can
raise any text, and a message quotes the value that it cannot read. Words are made of the name of the
condition (SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html) and of the names of
tables, columns and constraints.
"""

import os
import re
from collections.abc import Mapping

import asyncpg

from poddispatchd.database.server_words import identifiers, refusal_words
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DatabaseUnavailableError,
    RowLockedError,
    SchemaChangedError,
    StatementEndedError,
    ValuesRefusedError,
)

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""Everything that a call of the driver raises about the server, the connection or a statement."""

INSUFFICIENT_PRIVILEGE = "42501"
UNDEFINED_TABLE = "42P01"
INVALID_SCHEMA_NAME = "3F000"
UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
"""What a row refers to is not there."""

READ_ONLY = "25006"

_LONGEST = 300
"""Characters of a text of the server's while it lets nobody in yet."""

_TOO_MANY_CONNECTIONS = "53300"

_LOST = ("57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04", _TOO_MANY_CONNECTIONS)
"""Conditions that end or refuse a session; class 08 besides."""

_STATE_CLASSES = ("53", "57", "58")
"""Insufficient resources, operator intervention, errors of the server's operating system."""

_OF_A_STATEMENT = ("57014", "53200", "53400", "58030", "58P01")
"""What one statement may meet alone: cancelled, as by statement_timeout, out of memory or over a limit of the
configuration, or where a block or a file of its table cannot be read."""

_LOCKED = ("55P03", "40P01", "40001")
"""Lock not available (also by lock_timeout), deadlock detected, serialization failure."""

_CHANGED = (
    "42703",
    UNDEFINED_TABLE,
    "42883",
    "42704",
    "42804",
    "42P10",
    "42702",
    "42725",
    "42809",
    "42846",
    "42P17",
    "42P21",
    "42P22",
    "428C9",
    "55000",
    "3F000",
    "0A000",
    "23502",
    INSUFFICIENT_PRIVILEGE,
)
"""Column, table, function or type unknown, ambiguous, or of another type or collation, or without its unique
index; a view, a rule or a policy in the way; a published table without identity; a cached plan that is
invalid; a column that wants a value; a right that is gone."""

_OWN_SCHEMA = "poddispatchd"
_LAST_ID_GIVEN = "2200H"
_LIMIT_EXCEEDED = "54000"

_NUMBERS_TRANSACTIONS = ("varsup.c", "multixact.c")
"""The sources of PostgreSQL that tell of wraparound; a value that is too long has the same code elsewhere."""

_LIMITS: Mapping[str, str] = {
    "InitializeSessionUserId": "the CONNECTION LIMIT of the role",
    "CheckMyDatabase": "the CONNECTION LIMIT of the database",
}
"""By the function of PostgreSQL that refuses a session; all others go by the limit of the server."""

_STATE_WORDS: Mapping[str, str] = {
    READ_ONLY: "it is read-only: where it is a standby server, wait for the switch-over or correct "
    "database.dsn, else turn its default_transaction_read_only off",
    "53100": "its disk is full",
    "53200": "no memory was left, or no room for locks (max_locks_per_transaction): its log tells which",
    _LIMIT_EXCEEDED: "it takes no changes, for fear of wraparound, until a DBA has vacuumed it",
    "57014": "it was cancelled, by a statement_timeout or because an administrator asked",
}

_CALL_FAILED = re.compile(
    r"(?:\[Errno (?P<code>\d+)\] )?Connect call failed \('(?P<host>[^']+)', (?P<port>\d+)[^)]*\)"
)


def translate(error: BaseException, *, is_closed: bool = False) -> DatabaseError:
    """The error of ours that one of ``DRIVER_ERRORS`` means.

    Args:
        error: what the driver raised.
        is_closed: whether the connection has ended, so that every call of it is refused.
    """
    match error:
        case asyncpg.OutdatedSchemaCacheError():
            return SchemaChangedError("The database's types have changed.")
        case asyncpg.PostgresError():
            return _of_the_server(error)
        case asyncpg.InterfaceError() if not is_closed:
            # The text may quote a parameter.
            return DatabaseError(f"A statement could not be sent ({_condition(error)}).")
        case asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return DatabaseUnavailableError("The database cannot be reached: the connection is lost.")
        case TimeoutError():
            words = str(error) if type(error) is NoAnswerError else "no answer in time"
            return DatabaseUnavailableError(f"The database cannot be reached: {words}.")
        case _:
            return DatabaseUnavailableError(f"The database cannot be reached: {os_words(error)}.")


def translate_connecting(error: BaseException) -> DatabaseError:
    """The same while a connection begins: the server's reason is shown, for no row has been read yet."""
    if not isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)):
        return translate(error, is_closed=True)
    if isinstance(error, asyncpg.PostgresError):
        state = _of_the_server(error)
        if isinstance(state, (DatabaseStateError, RowLockedError)):
            return state
        if isinstance(state, StatementEndedError):
            return DatabaseStateError(str(state), sqlstate=state.sqlstate)
    sqlstate = getattr(error, "sqlstate", None)
    words = f"The database cannot be reached: {first_line(error)}."
    if sqlstate == _TOO_MANY_CONNECTIONS:
        words += _room_words(error)
    return DatabaseUnavailableError(words, sqlstate=sqlstate)


def _room_words(error: BaseException) -> str:
    """Which limit has left no room for a session, and how many are wanted; the message is in any language."""
    told_by = getattr(error, "server_source_function", None)
    limit = _LIMITS.get(told_by or "", "max_connections of the server" if told_by else "the limit there")
    return (
        f" All that {limit} allows are taken: a daemon wants database.pool_size and one more, a command two. "
        "Let a DBA raise it, or lower database.pool_size."
    )


class NoAnswerError(TimeoutError):
    """A timeout of our own, whose words may be shown."""


def os_words(error: BaseException) -> str:
    """The operating system's reason of a failed connection, which names addresses at most."""
    text = str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
    code = error.errno if isinstance(error, OSError) else None
    # One that has several addresses tells of each.
    text = _CALL_FAILED.sub(
        lambda found: _call_failed(found, code), text.removeprefix("Multiple exceptions: ")
    )
    return printable(text).rstrip(".") or _condition(error)


def _call_failed(found: re.Match[str], code: int | None) -> str:
    """``connection refused (127.0.0.1:5432)``, for what Python's event loop says in its own words."""
    host = f"[{found['host']}]" if ":" in found["host"] else found["host"]
    number = int(found["code"] or code or 0)
    return f"{os.strerror(number).lower() if number else 'no connection'} ({host}:{found['port']})"


def first_line(error: BaseException) -> str:
    """The message of an error without DETAIL and HINT; only for errors of a connection that begins."""
    told = printable(str(error).strip().partition("\n")[0]).rstrip(".") or type(error).__name__
    return refusal_words(getattr(error, "sqlstate", None), told) or told


def printable(text: str) -> str:
    """A text of bounded length without control characters."""
    return "".join(character if character.isprintable() else " " for character in text)[:_LONGEST]


def _of_the_server(error: asyncpg.PostgresError) -> DatabaseError:
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and isinstance(
        error.__cause__, asyncpg.PostgresError
    ):
        error = error.__cause__  # why the server ended the session
    state = error.sqlstate or ""
    # Before the classes of the state: some codes of 57 and 53 are about this session, not about the server.
    if state.startswith("08") or state in _LOST:
        words = f"The database cannot be reached: {_condition(error)}."
        return DatabaseUnavailableError(words, sqlstate=state)
    if state in _OF_A_STATEMENT:
        reason = _STATE_WORDS.get(state, _condition(error))
        return StatementEndedError(f"The database ended a statement: {reason} ({state}).", sqlstate=state)
    told_by = (error.server_source_filename or "").rpartition("/")[2]
    is_wraparound = state == _LIMIT_EXCEEDED and told_by in _NUMBERS_TRANSACTIONS
    if state == READ_ONLY or is_wraparound or state[:2] in _STATE_CLASSES:
        reason = _STATE_WORDS.get(state, _condition(error))
        return DatabaseStateError(f"The database cannot be used now: {reason} ({state}).", sqlstate=state)
    if state in _LOCKED:
        return RowLockedError(f"Another database session holds a row or a table ({state}).", sqlstate=state)
    if (without_ids := _without_ids(error, state)) is not None:
        return SchemaChangedError(without_ids, sqlstate=state)
    words = f"{_condition(error)} ({state}){_names(error)}"
    if state in _CHANGED:
        return SchemaChangedError(
            f"The database's tables have changed, or the rights on them: {words}.", sqlstate=state
        )
    # Class 22 is a data exception, 23 a violated constraint.
    kind = ValuesRefusedError if state[:2] in ("22", "23") else DatabaseError
    return kind(f"The database refused a statement: {words}.", sqlstate=state)


def _without_ids(error: asyncpg.PostgresError, state: str) -> str | None:
    """Why a new row gets no id from the database; None when the error is another one.

    All ids of Pod's rows come from sequences, and Django calls each primary key after its table. Tables that
    a site's trigger fills, and ours, may have other keys.
    """
    table = error.table_name
    # The DETAIL of any language names the column; it is not sent to whoever may not read that.
    is_pods = error.schema_name != _OWN_SCHEMA and "(id)=(" in (error.detail or "(id)=(")
    if state == UNIQUE_VIOLATION and table and is_pods and error.constraint_name == f"{table}_pkey":
        return f"{taken_id_words(printable(table))} ({state})."
    if state == _LAST_ID_GIVEN:
        return (
            f"A sequence of the database has given its last id ({state}), and PostgreSQL's log names it: let "
            "a DBA make the column of these ids a bigint."
        )
    return None


def taken_id_words(table: str) -> str:
    """That the sequence of a table gives ids that rows have, and what mends that; without a full stop."""
    return (
        f"The id that the database gives to a new row of {table} is taken: its sequence stands behind the "
        "rows, as after a restore. Run what Pod's 'manage.py sqlsequencereset' prints"
    )


def _condition(error: BaseException) -> str:
    """The name of a condition as the driver calls its class: ``not null violation``."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _names(error: asyncpg.PostgresError) -> str:
    """Which table, column and constraint an error is about, as far as it tells."""
    table, column = error.table_name, error.column_name
    named = [f"column {table}.{column}" if table and column else f"table {table}" if table else ""]
    if error.constraint_name:
        named.append(f"constraint {error.constraint_name}")
    if not any(named) and (error.sqlstate or "").startswith("42"):
        named = [", ".join(dict.fromkeys(identifiers(error)))]
    shown = ", ".join(filter(None, named))
    return f": {printable(shown)}" if shown else ""

"""Which of a task's rows another database session holds, and whose session that is.

A session that is idle in a transaction (psql left open, a frozen web worker) holds what it changed. Nothing
of what it did is read: a process id, a role, the name of its program and its state say whom to ask.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import asyncpg
from msgspec import Struct

from poddispatchd.config.units import format_duration
from poddispatchd.database.connections import Connection
from poddispatchd.database.pool import Database
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.database.session_parameters import APPLICATION_NAME
from poddispatchd.database.sqlstates import printable
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import MAY_PASS, RowLockedError, SchemaError
from poddispatchd.pod import grants

_TEXTS = load_queries("poddispatchd.pod", "locks.sql")

_PARTS = {name: _TEXTS[name] for name in ("of_holder", "holder", "is_of_another")}

_QUERIES = {name: query.fill(**_PARTS) for name, query in _TEXTS.items()}

_ROWS: Mapping[str, str] = {
    "task": "its row",
    "video": "the row of its video",
    "recording": "the row of its recording",
    "step": "the encoding step of its video",
    "log": "the encoding log of its video",
}

_AT_ONCE = 0.2
"""Seconds within which a row that nobody holds is had."""

_LONG = 10.0
"""Seconds after which a session that holds rows is worth a word."""

_NAMED = 5
"""Tables that are named, of those that one session holds."""

_LOOKED_AT = 500
"""Tasks of which ``held_tasks`` finds out whether somebody holds them."""


class HeldRow(Struct, frozen=True):
    """A row that is held; ``what`` it is to the task, and ``by`` whom, in words."""

    what: str
    by: str


class HeldTasks(Struct, frozen=True):
    """Tasks whose rows are held, by whom in words, and whether nobody can even read the whole table."""

    tasks: tuple[TaskPk, ...] = ()
    by: str = ""
    is_whole_table: bool = False


class HeldTables(Struct, frozen=True):
    """Tables that a session holds as a whole; ``by`` which one, in words."""

    tables: tuple[str, ...]
    by: str

    @property
    def words(self) -> str:
        """A sentence for people."""
        named, more = ", ".join(self.tables[:_NAMED]), len(self.tables) - _NAMED
        others = f" and {more} more" if more > 0 else ""
        return (
            f"As a whole tables are held ({named}{others}), by {self.by}: what needs them waits. Wait until "
            "that has ended, or end it there."
        )


@contextmanager
def taking(task: TaskPk) -> Iterator[None]:
    """Have the error of a row that cannot be had name the task that it is wanted for."""
    try:
        yield
    except RowLockedError as error:
        error.task = task
        raise


async def held_row(database: Database, task: TaskPk) -> HeldRow | None:
    """The first of a task's rows that a session of another program holds; None when there is none.

    A session of poddispatchd itself holds rows for as long as it waits for a further one: that one is it.
    Takes at most as long as one statement for each row may wait for a lock, and leaves nothing locked.

    Raises:
        DatabaseError: it cannot be found out.
    """
    async with database.transaction() as waiting:
        pid = await waiting.fetchval("SELECT pg_backend_pid()")
        for name, words in _ROWS.items():
            trial = asyncio.ensure_future(_take(waiting, _QUERIES[name], task))
            try:
                done, _ = await asyncio.wait({trial}, timeout=_AT_ONCE)
                # While it still waits: whom a session waits for is known only as long as it does.
                blockers = [] if done else await _blockers(database, pid)
                await trial
            except RowLockedError:
                others = [session for session in blockers if session["application"] != APPLICATION_NAME]
                if others or not blockers:
                    return HeldRow(words, _who(others))
            finally:
                # Cut off from outside, it must not go on on a connection that is given back.
                trial.cancel()
    return None


async def _take(connection: Connection, query: Query, task: TaskPk) -> None:
    """Lock a row; that it cannot be had does not end the transaction around."""
    async with connection.transaction():
        await connection.fetch(*query(task=task))


async def held_tasks(database: Database) -> HeldTasks:
    """What a session of another has held of Pod's task table for long; only some tasks are looked at.

    Raises:
        DatabaseError: it cannot be found out.
    """
    who = ""
    try:
        async with database.transaction() as connection:
            holders = await connection.fetch(*_QUERIES["holders"](seconds=_LONG))
            if not holders:
                return HeldTasks()
            who = _who(holders)
            return HeldTasks(tuple(await _not_free(connection)), who)
    except RowLockedError:
        return HeldTasks(by=who, is_whole_table=True)
    except SchemaError:
        return HeldTasks()  # the role may only read: whoever looks at rights tells that


async def held_tables(database: Database, *, seconds: float = 0.0) -> tuple[HeldTables, ...]:
    """The tables of Pod's and of ours that a session of another program holds as a whole, by session.

    ALTER TABLE, VACUUM FULL, CREATE INDEX, LOCK TABLE: no table is read, so that this waits for nobody.

    Args:
        database: Pod's.
        seconds: for which they have been held, at least; one of which that cannot be seen counts.

    Raises:
        DatabaseError: it cannot be found out.
    """
    rows = await database.fetch(*_QUERIES["tables"](tables=list(grants.every_table()), ours=APPLICATION_NAME))
    by_session: dict[tuple[int, str | None], list[asyncpg.Record]] = {}
    for row in rows:
        if row["seconds"] is None or row["seconds"] >= seconds:
            by_session.setdefault((row["pid"], row["prepared"]), []).append(row)
    return tuple(
        HeldTables(tuple(printable(row["name"]) for row in found), _session(found[0]))
        for found in by_session.values()
    )


async def _not_free(connection: Connection) -> list[TaskPk]:
    some = [record["id"] for record in await connection.fetch(*_QUERIES["candidates"](limit=_LOOKED_AT))]
    free = {record["id"] for record in await connection.fetch(*_QUERIES["unfinished"](tasks=some))}
    return [TaskPk(pk) for pk in some if pk not in free]


async def _blockers(database: Database, pid: int) -> list[asyncpg.Record]:
    try:
        async with database.connection() as connection:
            return await connection.fetch(*_QUERIES["blockers"](pid=pid))
    except MAY_PASS:
        return []  # somebody, then


def _who(sessions: Iterable[asyncpg.Record]) -> str:
    """Sessions of the server in words, without anything of what they do."""
    found = [_session(record) for record in sessions]
    return " and ".join(found) or "another database session"


def _session(record: asyncpg.Record) -> str:
    prepared, program = record["prepared"], record["application"]
    own = ": a daemon, or a command of its own" if program == APPLICATION_NAME else ""
    facts = [
        f"role {printable(record['role'])}" if record["role"] else "",
        f"program {printable(program)}{own}" if program else "",
        record["state"] or "",
        "" if record["seconds"] is None else f"its transaction began {_age(record['seconds'])} ago",
    ]
    known = ", ".join(filter(None, facts))
    if prepared is not None or not record["pid"]:
        # Nobody's session, and it outlasts a restart of the server.
        name = f"the prepared transaction {printable(prepared)}" if prepared else "a prepared transaction"
        return f"{name} ({known + ', ' if known else ''}ended by ROLLBACK PREPARED)"
    return f"process {record['pid']} of the database server ({known})"


def _age(seconds: float) -> str:
    whole = int(seconds)
    return format_duration(whole if whole < 120 else whole - whole % 60)

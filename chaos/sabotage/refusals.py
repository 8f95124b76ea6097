"""Faults inside the database: rows that are held, statements that are refused, sessions that only read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import asyncpg

from chaos.postgres import UNREACHABLE
from chaos.sabotage.fault import Fault, Lot
from chaos.timeline import Kind, Timeline

Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]

_REPAIR_TRIES = 240
"""Half seconds in which a repair must have succeeded: other faults may keep the database down meanwhile."""

_DAEMONS = "current_setting('application_name') = 'poddispatchd'"
"""Pod's own part of the campaign is let through: what is tried is what the daemons make of it."""

_HELD_FIRST = ("status = 'running' AND task_id IS NOT NULL", "status = 'pending'", "status = 'pending'")
"""Rows that somebody wants soon: that of a run about to end, or, which is surer, the first of the queue."""

_OF_A_ROW = ("P0001", "23514")
"""What a site's trigger raises for one row: an error without a code of its own, or a violated check."""

_OF_A_TABLE = ("P0001", "53100", "42501")
"""What refuses all writes of a table: a trigger, a full disk of the database, a right that is gone."""

_TABLES = (
    "runner_manager_task",
    "video_video",
    "video_encode_transcript_encodingvideo",
    "video_encode_transcript_playlistvideo",
    "podfile_customimagemodel",
    "podfile_customfilemodel",
    "completion_track",
)
"""Tables of Pod's that a result is written to."""

_MIGRATED = _TABLES[2:]
"""Those of them that only daemons write in a campaign."""

_COLUMN_OF: Mapping[str, str] = {
    "video_encode_transcript_encodingvideo": "source_file",
    "video_encode_transcript_playlistvideo": "source_file",
    "podfile_customimagemodel": "file",
    "podfile_customfilemodel": "file",
    "completion_track": "src_id",
}
"""A column of each that no result can do without."""

_OUR_TABLES = (
    "SELECT string_agg(format('%I.%I', schemaname, tablename), ' ') FROM pg_tables"
    " WHERE schemaname = 'poddispatchd'"
)

_TRIES = 8
"""How often a fault is begun whose locks are not to be had: tables are busy."""

_FUNCTION = """
CREATE SCHEMA IF NOT EXISTS chaos;
CREATE SEQUENCE chaos.{name};
CREATE FUNCTION chaos.{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A sequence is not rolled back: it tells how often somebody was refused.
    PERFORM nextval('chaos.{name}');
    RAISE EXCEPTION 'refused by a rule of the site' USING ERRCODE = '{code}';
END $$;
"""

_TRIGGER = """
CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW WHEN ({condition})
    EXECUTE FUNCTION chaos.{name}();
"""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Which changes are refused, and with which SQLSTATE."""

    code: str
    when: str
    condition: str = _DAEMONS


@dataclass(frozen=True, slots=True)
class _Migration:
    """A change of a table that daemons do not know of; one of ``repairs`` makes it bearable.

    Columns are ``{column}`` (a new name) and ``{known}`` (one that daemons write).
    """

    code: str
    changes: Sequence[str]
    repairs: Sequence[str]


_MIGRATIONS = (
    _Migration(
        "23502",
        (
            "ALTER TABLE {table} ADD COLUMN {column} integer NOT NULL DEFAULT 0",
            "ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT",
        ),
        (
            "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT 0",
            "ALTER TABLE {table} DROP COLUMN IF EXISTS {column}",
        ),
    ),
    _Migration(
        "42703",
        ("ALTER TABLE {table} RENAME COLUMN {known} TO {column}",),
        ("ALTER TABLE {table} RENAME COLUMN {column} TO {known}",),
    ),
    _Migration(
        "42P01",
        ("ALTER TABLE {table} RENAME TO {column}",),
        ("ALTER TABLE {column} RENAME TO {table}",),
    ),
)
"""A new version wants a value, another name of a column, another name of a table."""


class DatabaseFaults:
    """Holds rows, refuses statements, makes sessions read-only and changes tables; and mends all of it.

    Args:
        connect: gives a connection that may write whatever is going on, and that the caller closes.
        timeline: where it is written down. The detail of each incident begins with its SQLSTATE.
        lot: decides who is hit and for how long.
        pooled: whether sessions outlive their clients.
    """

    def __init__(self, connect: Connect, timeline: Timeline, lot: Lot, *, pooled: bool = False) -> None:
        self._connect = connect
        self._timeline = timeline
        self._lot = lot
        self._pooled = pooled
        self._numbers = count(1)
        self._read_only, self._migrating, self._full = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()

    def faults(self) -> Mapping[Kind, Fault]:
        """Each of them by its kind."""
        return {
            Kind.ROW_LOCKED: self.lock_row,
            Kind.ROW_REFUSED: self.refuse_row,
            Kind.TABLE_REFUSED: self.refuse_table,
            Kind.DATABASE_FULL: self.fill_database,
            Kind.READ_ONLY: self.make_read_only,
            Kind.MIGRATION: self.migrate,
        }

    async def lock_row(self) -> None:
        """An open transaction holds the row of a task that is not over, as a forgotten psql does."""
        seconds, first = self._lot.seconds(4.0, 20.0), self._lot.one_of(_HELD_FIRST)
        async with self._session() as connection:
            if connection is None:
                return
            transaction = connection.transaction()
            await transaction.start()
            pk = await connection.fetchval(
                "SELECT id FROM runner_manager_task WHERE status IN ('pending', 'running')"
                f" ORDER BY ({first}) DESC, rank NULLS LAST, random() LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            if pk is None:
                return
            with self._timeline.incident(Kind.ROW_LOCKED, f"task {pk}", "55P03"):
                await asyncio.sleep(seconds)
                # Else the database went down, and the transaction with it.
                if not connection.is_closed():
                    await transaction.rollback()

    async def refuse_row(self) -> None:
        """Every change of one running task's row is refused: its callback cannot be applied."""
        async with self._session() as connection:
            if connection is None:
                return
            pk = await connection.fetchval(
                "SELECT id FROM runner_manager_task WHERE status = 'running' ORDER BY random() LIMIT 1"
            )
        if pk is not None:
            await self._refuse(
                Kind.ROW_REFUSED,
                f"task {pk}",
                ["runner_manager_task"],
                _Refusal(self._lot.one_of(_OF_A_ROW), "UPDATE", f"OLD.id = {pk} AND {_DAEMONS}"),
            )

    async def refuse_table(self) -> None:
        """Every write of one table is refused."""
        table = self._lot.one_of(_TABLES)
        refusal = _Refusal(self._lot.one_of(_OF_A_TABLE), "INSERT OR UPDATE OR DELETE")
        await self._refuse(Kind.TABLE_REFUSED, table, [table], refusal)

    async def fill_database(self) -> None:
        """The disk of the database is full: no row of any table grows, those of the daemons' own included.

        What is deleted needs no space.
        """
        async with self._session() as connection:
            if connection is None:
                return
            ours = str(await connection.fetchval(_OUR_TABLES)).split()
        async with self._lot.turn(self._full) as is_ours:
            if is_ours:
                refusal = _Refusal("53100", "INSERT OR UPDATE")
                await self._refuse(Kind.DATABASE_FULL, "database", [*_TABLES, *ours], refusal)

    async def _refuse(self, kind: Kind, target: str, tables: Sequence[str], refusal: _Refusal) -> None:
        name, seconds = f"refused_{next(self._numbers)}", self._lot.seconds(4.0, 15.0)
        statements = _FUNCTION.format(name=name, code=refusal.code) + "".join(
            _TRIGGER.format(name=name, when=refusal.when, table=table, condition=refusal.condition)
            for table in tables
        )
        if not await self._begin(statements):
            return
        with self._timeline.incident(kind, target, refusal.code) as incident:
            await asyncio.sleep(seconds)
            # With its triggers, whatever their tables are called meanwhile.
            await self._mend(f"DROP FUNCTION IF EXISTS chaos.{name} CASCADE")
        incident.happened = bool(await self._mend(f"SELECT is_called FROM chaos.{name}"))

    async def make_read_only(self) -> None:
        """The server takes sessions that only read, as a standby does; those there are end.

        Sessions that begin meanwhile go on reading only when it is over.
        """
        seconds = self._lot.seconds(2.0, 12.0)
        async with self._lot.turn(self._read_only) as ours:
            if not ours or not await self._begin(_set_read_only("= on")):
                return
            with self._timeline.incident(Kind.READ_ONLY, "database", "25006"):
                await self._mend(_END_SESSIONS)
                await asyncio.sleep(seconds)
                # A pooler does not know that its servers have to be let go of.
                await self._mend(_set_read_only("TO DEFAULT") + (_END_SESSIONS if self._pooled else ""))

    async def migrate(self) -> None:
        """Pod's next version changes a table in a way that no daemon knows; after a while that is mended."""
        table, migration = self._lot.one_of(_MIGRATED), self._lot.one_of(_MIGRATIONS)
        names = {"table": table, "column": f"chaos_{next(self._numbers)}", "known": _COLUMN_OF.get(table, "")}
        seconds, repair = self._lot.seconds(3.0, 15.0), self._lot.one_of(migration.repairs)
        async with self._lot.turn(self._migrating) as ours:
            if not ours or not await self._begin(";".join(migration.changes).format_map(names)):
                return
            with self._timeline.incident(Kind.MIGRATION, table, migration.code):
                await asyncio.sleep(seconds)
                await self._mend(repair.format_map(names))

    # --- statements --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _session(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record] | None"]:
        """A connection; None when the database is down, which is another fault's, or when all is over."""
        try:
            connection = None if self._lot.is_over else await self._connect()
        except UNREACHABLE:
            connection = None
        try:
            yield connection
        except UNREACHABLE:
            # It went down meanwhile, and whatever was held with it.
            return
        finally:
            if connection is not None:
                connection.terminate()

    async def _begin(self, statements: str) -> bool:
        """Carry out what causes a fault, all or nothing, as who is careful does; whether it was."""
        for _ in range(_TRIES):
            async with self._session() as connection:
                if connection is not None:
                    with self._timeline.incident(Kind.TABLE_LOCKED, "database", "55P03") as locking:
                        locking.happened = True
                        # Sooner than the server looks for a deadlock: it is no daemon that has to give way.
                        await connection.execute(
                            f"BEGIN; SET LOCAL lock_timeout = '500ms'; {statements}; COMMIT"
                        )
                    return True
            if self._lot.is_over:
                break
        return False

    async def _mend(self, statement: str) -> object:
        """Carry out one statement or several, whatever else is broken; the value that the last one gives.

        Raises:
            RuntimeError: it was not possible for two minutes.
        """
        problem: BaseException | None = None
        for _ in range(_REPAIR_TRIES):
            try:
                connection = await self._connect()
                try:
                    await connection.execute("SET lock_timeout = '5s'")
                    if statement.startswith("SELECT"):
                        return await connection.fetchval(statement)
                    return await connection.execute(statement)
                finally:
                    connection.terminate()
            except UNREACHABLE as error:
                problem = error
                await asyncio.sleep(0.5)
        raise RuntimeError(f"{statement!r} was not possible") from problem


def _set_read_only(words: str) -> str:
    return (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only "
        f"{words}', current_database()); END $$;"
    )


_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'poddispatchd' AND pid <> pg_backend_pid()"
)

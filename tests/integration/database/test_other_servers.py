"""What only a server that is set up in another way does: transactions that are prepared, standby servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from poddispatchd.app.daemon import Daemon
from poddispatchd.app.database_checks import held_rows_finding, server_finding
from poddispatchd.app.findings import CheckLevel
from poddispatchd.cli.common import commits_told
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskPk
from poddispatchd.journal.scheduling import COMMITS_WAIT
from poddispatchd.observability.events import Event
from poddispatchd.pod import lock_holders
from poddispatchd.pod.lock_holders import held_row, held_tables
from poddispatchd.runtime import commit_watch
from poddispatchd.runtime.commit_watch import waits_told
from poddispatchd.runtime.leadership import HELD, why_held
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.imports.bench import settings_of

_SETTINGS = {
    "max_prepared_transactions": "2",
    "wal_level": "replica",
    "max_wal_senders": "2",
    "synchronous_commit": "on",
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(settings=_SETTINGS) as started:
        yield started


@asynccontextmanager
async def _pod(
    server: PostgresServer,
) -> AsyncIterator[tuple[Database, "asyncpg.Connection[asyncpg.Record]"]]:
    """A database with Pod's tables and a task, and the connection of somebody else."""
    administrator = await asyncpg.connect(server.dsn().get_secret_value())
    await administrator.execute("CREATE DATABASE pod")
    database = Database(server.dsn("pod"), pool_size=3)
    other = await asyncpg.connect(server.dsn("pod").get_secret_value())
    try:
        await create_schema(other, SchemaVariant.PODFILE)
        await other.execute(
            "INSERT INTO runner_manager_task (type, status, date_added) VALUES ('encoding', 'pending', now())"
        )
        await database.open()
        await migration.upgrade(database)
        yield database, other
    finally:
        await database.close()
        await other.close()
        await administrator.execute("DROP DATABASE pod WITH (FORCE)")
        await administrator.close()


async def test_a_prepared_transaction_is_named_as_the_holder(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was called "process 0 of the database server ()", and ``check`` said that nobody held a row."""
    monkeypatch.setattr(lock_holders, "_LONG", 0.0)
    async with _pod(server) as (database, other):
        await other.execute(
            "BEGIN; UPDATE runner_manager_task SET rank = 1; LOCK TABLE completion_track;"
            "PREPARE TRANSACTION 'forgotten'"
        )
        try:
            held = await held_row(database, TaskPk(1))
            tables = await held_tables(database)
            found = await held_rows_finding(database)
        finally:
            await other.execute("ROLLBACK PREPARED 'forgotten'")
        assert held is not None
        for words in (held.by, tables[0].by, found.words):
            assert "the prepared transaction forgotten (role postgres" in words
        assert [each.tables for each in tables] == [("completion_track",)]
        assert found.severity is CheckLevel.PROBLEM
        assert (await held_rows_finding(database)).severity is CheckLevel.FINE


async def test_a_commit_that_waits_for_a_standby_server_is_told_as_such(server: PostgresServer) -> None:
    """It was told that somebody had left a transaction open, and ``check`` found nothing."""
    async with _pod(server) as (database, other):
        async with _standby_gone(server, other), database.connection() as connection:
            told = await why_held(connection)
            found = await server_finding(database)
        async with database.connection() as connection:
            afterwards = await why_held(connection)
        assert (told, afterwards) == (COMMITS_WAIT, HELD)
        assert (found.severity, found.words.endswith(COMMITS_WAIT)) == (CheckLevel.PROBLEM, True)
        assert (await server_finding(database)).severity is CheckLevel.FINE


async def test_a_daemon_tells_what_the_first_start_of_all_waits_for(
    server: PostgresServer, media_root: Path
) -> None:
    """The commit that makes our schema hung, and for a minute nothing told of it."""
    async with _pod(server) as (_, other):
        await other.execute(
            "DROP SCHEMA poddispatchd CASCADE;"
            "INSERT INTO django_site (id, domain, name) VALUES (1, 'pod.example.org', 'Pod')"
        )
        daemon = Daemon(settings_of(server.dsn("pod"), media_root, SchemaVariant.PODFILE, _ANY_PORT))
        async with _standby_gone(server, other, hangs=False):
            with capture_logs() as logs:
                running = asyncio.create_task(daemon.run())
                async with asyncio.timeout(30):
                    while COMMITS_WAIT not in daemon._waiting:  # noqa: ASYNC110 - it tells nobody
                        await asyncio.sleep(0.02)
            daemon._stop.set()
        await asyncio.wait_for(running, 30)
    [told] = [entry for entry in logs if entry["event"] == Event.DATABASE_COMMITS_NOTHING]
    assert told["reason"] == COMMITS_WAIT


async def test_a_command_tells_that_its_commit_waits_for_a_standby_server(
    server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with _pod(server) as (database, other):
        await other.execute("DROP SCHEMA poddispatchd CASCADE")
        async with _standby_gone(server, other, hangs=False), commits_told(database):
            upgrading = asyncio.create_task(migration.upgrade(database))
            said = ""
            async with asyncio.timeout(30):
                while not said:
                    await asyncio.sleep(0.02)
                    said = capsys.readouterr().err
            assert not upgrading.done()
        assert said == f"poddispatchd: {COMMITS_WAIT}\n"
        assert len(await upgrading) == len(migration.MIGRATIONS)


async def test_a_commit_that_a_standby_server_confirms_is_no_news(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look may find the wait of a moment."""
    monkeypatch.setattr(commit_watch, "_LOOK_EVERY", 0.01)
    told: list[str] = []
    async with _pod(server) as (database, _), waits_told(database, told.append):
        for _ in range(50):
            await database.execute("UPDATE runner_manager_task SET rank = 1")
    assert told == []


_CHANGE = "UPDATE runner_manager_task SET rank = 1"
_WAIT_EVENT = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
_ANY_PORT = {"webhook": {"listen": "127.0.0.1:0"}, "ops": {"listen": "127.0.0.1:0"}}


@asynccontextmanager
async def _standby_gone(
    server: PostgresServer, other: "asyncpg.Connection[asyncpg.Record]", *, hangs: bool = True
) -> AsyncIterator[None]:
    """A standby server that is to confirm all commits, and is not there.

    ``hangs``: one commit waits for it from the beginning to the end.
    """
    committer = await asyncpg.connect(server.dsn("pod").get_secret_value())
    pid = committer.get_server_pid()
    try:
        await other.execute("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
        await _reloaded(other, "gone")
        commit = asyncio.create_task(committer.execute(_CHANGE))
        while await other.fetchval(_WAIT_EVENT, pid) != "SyncRep":
            # The setting holds when the checkpointer has read it, of which no session hears.
            if commit.done():
                commit = asyncio.create_task(committer.execute(_CHANGE))
            await asyncio.sleep(0.02)
        if not hangs:
            await other.execute("SELECT pg_cancel_backend($1)", pid)
            await commit
        yield
    finally:
        await other.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await _reloaded(other, "")
    await commit
    await committer.close()


async def _reloaded(connection: "asyncpg.Connection[asyncpg.Record]", names: str) -> None:
    await connection.execute("SELECT pg_reload_conf()")
    while await connection.fetchval("SHOW synchronous_standby_names") != names:  # noqa: ASYNC110 - nobody tells it
        await asyncio.sleep(0.02)

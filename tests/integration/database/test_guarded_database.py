"""Only what the driver raised is an error of the database, and no value of a row is ever told."""

import asyncio
import contextlib
import errno
import io
import json
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest
import structlog
from asyncpg.pool import PoolConnectionHolder
from asyncpg.transaction import Transaction

from poddispatchd.config.model import LogSettings
from poddispatchd.database.connections import GuardedConnection
from poddispatchd.database.pool import Database
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DatabaseUnavailableError,
    RowLockedError,
    SchemaChangedError,
    ValuesRefusedError,
)
from poddispatchd.observability.logs import configure_logging
from tests.integration.pod.rows import opened
from tests.plugins.logs import logging_as_before
from tests.plugins.postgres import PodDatabase

_SECRET = "hunter2"


async def _cut_off_in_a_transaction(database: Database, other: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with database.transaction() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        await connection.execute("DELETE FROM secret")


_TOO_LONG = (
    "SELECT to_tsvector('simple', string_agg(md5(n::text), ' ')) FROM generate_series(1, 60000) AS n",
    "CREATE INDEX ON secret (more);"
    "INSERT INTO secret SELECT 1, '', string_agg(md5(n::text), '') FROM generate_series(1, 900) AS n",
)


@pytest.mark.parametrize("statement", _TOO_LONG, ids=["a text to search", "a text in an index"])
async def test_a_value_that_is_too_long_is_not_taken_for_a_limit_of_the_whole_server(
    pod_database: PodDatabase, statement: str
) -> None:
    """One video with a description of a megabyte, on a site with a trigger, made the daemon unready, and
    its result waited for a DBA."""
    async with opened(pod_database) as database:
        await database.execute("CREATE TABLE secret (id integer, password text, more text)")
        with pytest.raises(DatabaseError) as caught:
            await database.execute(statement)
    assert (type(caught.value), caught.value.sqlstate) == (DatabaseError, "54000")


@pytest.fixture
async def database(pod_database: PodDatabase) -> AsyncIterator[Database]:
    async with opened(pod_database) as database:
        await database.execute(
            "CREATE TABLE secret (number integer PRIMARY KEY, password text NOT NULL, more text NOT NULL)"
        )
        yield database


@pytest.mark.parametrize(
    "own",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        TimeoutError("a manager was slow"),
        asyncpg.InterfaceError("raised by the code in the block"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_code_in_a_block_raises_stays_what_it_is(database: Database, own: Exception) -> None:
    async def work(block: Callable[[], AbstractAsyncContextManager[GuardedConnection]]) -> None:
        async with block() as connection:
            await connection.execute("SELECT 1")
            raise own

    for block in (database.connection, database.transaction):
        with pytest.raises(type(own)) as caught:
            await work(block)
        assert caught.value is own
    # The connection is as good as before, and nothing is left open on it.
    assert await database.fetchrow("SELECT 1") is not None


async def test_a_timeout_of_our_own_around_a_statement_is_no_loss_of_the_database(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), database.connection() as connection:
            await connection.execute("SELECT pg_sleep(10)")
    assert await database.fetchrow("SELECT 1") is not None


@pytest.mark.parametrize(
    ("statement", "arguments", "kind"),
    [
        ("INSERT INTO secret (number, password) VALUES (1, $1)", (_SECRET,), SchemaChangedError),
        ("INSERT INTO secret VALUES (2, $1, '')", (_SECRET,), ValuesRefusedError),
        ("SELECT $1::text::integer", (_SECRET,), ValuesRefusedError),
        ("SELECT $1::integer", (_SECRET,), ValuesRefusedError),
        ("SELECT nothing FROM secret WHERE password = $1", (_SECRET,), SchemaChangedError),
        ("SELECT FROM nowhere WHERE id = $1", (_SECRET,), SchemaChangedError),
        (f"DO $$ BEGIN RAISE EXCEPTION 'no {_SECRET} here'; END $$", (), DatabaseError),
    ],
)
async def test_no_value_is_told_by_an_error_its_traceback_or_the_log(
    database: Database, statement: str, arguments: tuple[object, ...], kind: type[DatabaseError]
) -> None:
    """A recorder's password was seen in the log, in mail and in the task's output: DETAIL holds the row."""
    await database.execute("INSERT INTO secret VALUES (2, $1, '')", _SECRET)
    said = io.StringIO()
    with logging_as_before():
        configure_logging(LogSettings(format="json"), environ={}, stream=said)
        with pytest.raises(DatabaseError) as caught:
            await database.execute(statement, *arguments)
        structlog.get_logger("test").error("it failed", reason=str(caught.value), exc_info=caught.value)
    assert caught.type is kind
    shown = [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    assert json.loads(said.getvalue())["exception"]
    assert not [text for text in [*shown, said.getvalue()] if _SECRET in text]


async def test_a_row_that_another_session_holds_is_given_up_after_a_second(
    pod_database: PodDatabase, database: Database
) -> None:
    await database.execute("INSERT INTO secret VALUES (1, '', '')")
    async with pod_database.connection() as other, other.transaction():
        await other.execute("UPDATE secret SET more = 'x'")
        begun = asyncio.get_running_loop().time()
        with pytest.raises(RowLockedError):
            await database.execute("UPDATE secret SET more = 'y'")
        assert asyncio.get_running_loop().time() - begun < 5
    assert await database.execute("UPDATE secret SET more = 'y'") == 1


async def test_a_server_that_became_read_only_cannot_be_used_for_now(
    pod_database: PodDatabase, database: Database
) -> None:
    await database.execute(f'ALTER DATABASE "{pod_database.name}" SET default_transaction_read_only = on')
    await database.expire(silent=False)
    with pytest.raises(DatabaseStateError, match=r"read-only.*25006"):
        await database.execute("DELETE FROM secret")


async def test_sessions_that_began_while_the_server_was_read_only_are_not_kept(
    pod_database: PodDatabase, database: Database
) -> None:
    """A daemon that did not schedule went on with them for minutes after the switch-over."""
    setting = f'ALTER DATABASE "{pod_database.name}" SET default_transaction_read_only'
    async with pod_database.connection() as other:
        await other.execute(f"{setting} = on")
        await database.expire(silent=False)
        async with database.connection() as first, database.connection() as second:
            assert await first.fetchval("SELECT 1") == await second.fetchval("SELECT 1")
        await other.execute(f"{setting} = off")
    with pytest.raises(DatabaseStateError, match="25006"):
        await database.execute("DELETE FROM secret")
    for _ in range(5):
        await database.execute("DELETE FROM secret")


async def test_a_connection_that_is_lost_while_it_is_given_back_is_no_bug(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault campaign found four jobs crashed by it, when a frozen daemon went on after a restart."""
    release = PoolConnectionHolder.release

    async def late(holder: Any, timeout: float | None) -> None:  # noqa: ANN401, ASYNC109 - the driver's own
        holder._con.terminate()
        holder._release_on_close()
        await release(holder, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(PoolConnectionHolder, "release", late)
        with pytest.raises(DatabaseError, match="division"):
            await database.fetchrow("SELECT 1 / 0")
    assert await database.fetchrow("SELECT 1") is not None


async def test_a_server_that_ends_the_session_is_lost(pod_database: PodDatabase, database: Database) -> None:
    async with pod_database.connection() as other:
        with pytest.raises(DatabaseUnavailableError):
            await _cut_off_in_a_transaction(database, other)
    assert await database.fetchrow("SELECT 1") is not None


async def test_a_connection_that_is_ended_between_two_steps_of_the_driver_is_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = asyncpg.Connection.__dict__["_get_statement"]

    async def ended_meanwhile(raw: "asyncpg.Connection[Any]", *arguments: object, **named: object) -> object:
        statement = await prepare(raw, *arguments, **named)
        raw.terminate()
        return statement

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "_get_statement", ended_meanwhile)
        with pytest.raises(DatabaseUnavailableError):
            await database.fetch("SELECT $1::int", 1)
    assert await database.fetch("SELECT $1::int", 1)


async def test_a_transaction_cannot_begin_on_a_connection_that_is_lost(database: Database) -> None:
    async with database.connection() as connection:
        await database.expire(silent=True)
        with pytest.raises(DatabaseUnavailableError):
            async with connection.transaction():
                pass


async def test_a_database_that_is_given_up_at_any_moment_raises_nothing_but_that_it_is_lost(
    database: Database,
) -> None:
    unforeseen: list[BaseException] = []
    lost = 0

    async def work(number: int) -> None:
        nonlocal lost
        for turn in range(40):
            try:
                async with database.transaction() as connection:
                    await connection.fetch(f"SELECT {number}, {turn}, $1::int", turn)
                    async with connection.transaction():
                        await connection.fetchval("SELECT pg_sleep(0.001)")
            except DatabaseUnavailableError:
                lost += 1
            except Exception as error:  # noqa: BLE001 - what is looked for
                unforeseen.append(error)

    working = asyncio.gather(*(work(number) for number in range(8)))
    while not working.done():
        await asyncio.sleep(0.003)
        with contextlib.suppress(DatabaseError):
            await database.expire(silent=True)
    await working
    assert unforeseen == []
    assert lost


async def test_rows_are_waited_for_whatever_isolation_the_database_is_set_to(
    pod_database: PodDatabase,
) -> None:
    """With 'serializable' as the default, whoever lost a race took the row for held, and began again."""
    async with pod_database.connection() as other:
        name = await other.fetchval("SELECT quote_ident(current_database())")
        await other.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    plain = await asyncpg.connect(pod_database.dsn.get_secret_value())
    assert await plain.fetchval("SHOW transaction_isolation") == "serializable"
    await plain.close()
    async with opened(pod_database) as database:
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
        async with database.transaction() as connection:
            assert await connection.fetchval("SHOW transaction_isolation") == "read committed"


@pytest.mark.parametrize("moment", ["start", "commit", "rollback"])
async def test_nobody_goes_on_in_a_transaction_whose_beginning_or_end_was_cut_off(
    database: Database, moment: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a pooler that keeps its clients waiting, the driver told of one as an error."""
    carry_out = getattr(Transaction, moment)

    async def cut_off(transaction: Transaction) -> None:
        if moment == "start":
            await carry_out(transaction)
        raise asyncio.CancelledError

    async def work() -> None:
        async with database.connection() as connection, connection.transaction():
            if moment == "rollback":
                raise ValueError

    monkeypatch.setattr(Transaction, moment, cut_off)
    with pytest.raises(asyncio.CancelledError):
        await work()
    monkeypatch.undo()

    # Outside of a transaction each statement has a time of its own.
    async with database.connection() as connection:
        first, second = [await connection.fetchval("SELECT now()") for _ in range(2)]
    assert first < second
    assert "active transaction" not in caplog.text


@pytest.mark.parametrize(("given", "taken"), [("off", "local"), ("remote_write", "remote_write")])
async def test_what_was_committed_outlasts_a_crash_of_the_server(
    pod_database: PodDatabase, given: str, taken: str
) -> None:
    """With ``off`` PostgreSQL forgets the latest commits: a task that was posted would be posted again."""
    async with pod_database.connection() as other:
        await other.execute(f"ALTER DATABASE {pod_database.name} SET synchronous_commit = {given}")
        async with opened(pod_database) as database:
            assert await _synchronous_commit(database) == taken
            # Behind a pooler, whose sessions are nobody's own.
            async with database.connection() as connection:
                await connection.execute(f"SET synchronous_commit = {given}")
            database._is_pooled = True
            assert await _synchronous_commit(database) == taken
        await other.execute(f"ALTER DATABASE {pod_database.name} RESET synchronous_commit")


async def _synchronous_commit(database: Database) -> object:
    async with database.transaction() as connection:
        return await connection.fetchval("SHOW synchronous_commit")

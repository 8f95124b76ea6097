"""What tests share without knowing it: databases that are used again, sessions that are kept, a loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.plugins import one_loop
from tests.plugins.postgres import PodDatabase, cloned_database, ensure_template
from tests.plugins.world import planted
from tests.tables import all_rows

NextTest: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[PodDatabase, World]]]


@pytest.fixture
async def next_test(postgres: PostgresServer, database_with_journal: PodDatabase, tmp_path: Path) -> NextTest:
    """The small world as one test after the other gets it, of a template that no other test has."""
    of = database_with_journal.copy
    assert of is not None

    async def nothing_more(_connection: object, _dsn: object) -> None:
        """It is as it is."""

    template = await ensure_template(postgres, "template_of_shared_by_tests", nothing_more, of=of.template)

    @asynccontextmanager
    async def world() -> AsyncIterator[tuple[PodDatabase, World]]:
        async with cloned_database(postgres, template, SchemaVariant.PODFILE, when_wanted=True) as database:
            yield database, await planted(database, tmp_path / "media", videos=True)

    return world


async def everything(database: PodDatabase) -> tuple[object, ...]:
    """Every row, and every sequence."""
    async with database.connection() as connection:
        return (
            await all_rows(connection),
            await connection.fetch("SELECT * FROM poddispatchd.schema_version"),
            await connection.fetch("SELECT task_pk FROM poddispatchd.own_task"),
            await connection.fetch(
                "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
            ),
        )


async def test_a_database_that_a_test_has_written_to_is_as_it_was(next_test: NextTest) -> None:
    async with next_test() as (database, world):
        name, before = database.name, await everything(database)
        async with database.connection() as connection:
            video = await add_video(connection, world, title="Another")
            task = await add_task(connection, TaskType.ENCODING, video=video)
            await connection.execute(
                "INSERT INTO poddispatchd.own_task (task_pk, date_added) VALUES ($1, now())", task
            )
            await connection.execute("UPDATE auth_user SET email = 'it''s@example.org'")
            await connection.execute("DELETE FROM video_type_sites")
            with suppress(ZeroDivisionError):
                async with connection.transaction():
                    await add_video(connection, world, title="Taken back, but for its number")
                    raise ZeroDivisionError
            await connection.execute("SELECT nextval(pg_get_serial_sequence('video_channel', 'id'))")
        assert await everything(database) != before
    async with next_test() as (database, _):
        assert database.name == name
        assert await everything(database) == before


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE video_video ADD COLUMN campus text",
        "ALTER TABLE video_video ALTER COLUMN title DROP NOT NULL",
        "ALTER TABLE video_video DISABLE TRIGGER ALL",
        "CREATE INDEX ON video_video (title)",
        "CREATE SCHEMA site",
        "GRANT SELECT ON video_video TO PUBLIC",
        "GRANT SELECT (title) ON video_video TO PUBLIC",
        'GRANT CREATE ON DATABASE "{name}" TO PUBLIC',
        'ALTER DATABASE "{name}" SET work_mem = 99999',
        "TRUNCATE video_type CASCADE",
        "ANALYZE video_video",
    ],
)
async def test_one_that_a_test_has_altered_is_not_used_again(next_test: NextTest, change: str) -> None:
    async with next_test() as (database, _):
        name = database.name
        async with database.connection() as connection:
            await connection.execute(change.format(name=name))
    async with next_test() as (database, _):
        assert database.name != name


async def test_one_that_somebody_is_connected_to_is_not_used_again(next_test: NextTest) -> None:
    async with next_test() as (database, _):
        name = database.name
        stays = await database.connect()
    async with next_test() as (database, _):
        assert database.name != name
    assert stays.is_closed()


async def test_a_connection_that_is_closed_leaves_its_session_with_nothing_in_it(
    database_with_journal: PodDatabase,
) -> None:
    async with database_with_journal.connection() as connection:
        session = connection.get_server_pid()
        await connection.execute("SET statement_timeout = 99")
        await connection.execute("CREATE TEMP TABLE mine (id int)")
        await connection.fetchval("SELECT pg_advisory_lock(7)")
        await connection.add_listener("news", print)
    with pytest.raises(Exception, match="connection is closed"):
        await connection.execute("SELECT")
    async with database_with_journal.connection() as connection:
        assert connection.get_server_pid() == session
        assert await connection.fetchval("SHOW statement_timeout") == "0"
        assert await connection.fetchval("SHOW application_name") == ""
        assert await connection.fetchval("SELECT to_regclass('mine')") is None
        assert not await connection.fetch("SELECT pg_listening_channels()")
        assert not await connection.fetch(
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = $1", session
        )


async def test_a_test_about_sessions_has_fresh_ones(
    database_with_journal: PodDatabase, fresh_sessions: None
) -> None:
    async with database_with_journal.connection() as connection:
        session = connection.get_server_pid()
    async with database_with_journal.connection() as connection:
        assert connection.get_server_pid() != session


def test_nothing_is_kept_of_a_loop_that_ends(database_with_journal: PodDatabase) -> None:
    async def session() -> int:
        async with database_with_journal.connection() as connection:
            return connection.get_server_pid()

    assert asyncio.run(session()) != asyncio.run(session())


async def test_a_session_in_a_transaction_is_not_kept(database_with_journal: PodDatabase) -> None:
    async with database_with_journal.connection() as connection:
        session = connection.get_server_pid()
        await connection.execute("BEGIN")
    async with database_with_journal.connection() as connection:
        assert connection.get_server_pid() != session


async def test_a_kept_session_that_was_ended_is_not_used(database_with_journal: PodDatabase) -> None:
    async with database_with_journal.connection() as one, database_with_journal.connection() as other:
        session, ended = one.get_server_pid(), other.get_server_pid()
    async with database_with_journal.connection() as connection:
        assert connection.get_server_pid() == session
        await connection.fetchval("SELECT pg_terminate_backend($1, 10000)", ended)
        async with database_with_journal.connection() as another:
            assert another.get_server_pid() != ended
    await database_with_journal.let_go()
    async with database_with_journal.connection() as connection:
        assert connection.get_server_pid() != session


def test_what_a_test_leaves_running_is_cancelled() -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.sleep(3600))
    item: Any = SimpleNamespace(config=SimpleNamespace(stash={one_loop._LOOP: loop}))
    with suppress(StopIteration):
        for _ in one_loop.pytest_runtest_teardown(item):
            assert not task.done()
    assert task.cancelled()
    loop.close()

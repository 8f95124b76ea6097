"""What tests share without knowing it: databases that are used again."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.plugins import rewinding
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

    template = await ensure_template(
        postgres, "template_of_databases_used_again", nothing_more, of=of.template
    )

    @asynccontextmanager
    async def world() -> AsyncIterator[tuple[PodDatabase, World]]:
        async with cloned_database(postgres, template, SchemaVariant.PODFILE, when_wanted=True) as database:
            yield database, await planted(database, tmp_path / "media", videos=True)

    return world


@pytest.fixture
def patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that has been closed is waited for however long it stays: a busy machine needs a while."""
    monkeypatch.setattr(rewinding, "LOOKS", 10_000)


def tells_what_was_written(postgres: PostgresServer) -> bool:
    """Whether a session can be had to tell at once what it has written; before PostgreSQL 15 it cannot."""
    return postgres.address.release >= 15


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


@pytest.mark.usefixtures("patiently")
async def test_a_database_that_a_test_has_written_to_is_as_it_was(
    next_test: NextTest, postgres: PostgresServer
) -> None:
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
        assert (database.name == name) is tells_what_was_written(postgres)
        assert await everything(database) == before


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE video_video ADD COLUMN campus text",
        "ALTER TABLE video_video ALTER COLUMN title DROP NOT NULL",
        "ALTER TABLE video_video DISABLE TRIGGER ALL",
        "CREATE INDEX ON video_video (title)",
        "CREATE SCHEMA site",
        "CREATE TABLE mine (id int)",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE SEQUENCE mine",
        "ALTER SEQUENCE video_type_id_seq INCREMENT 7",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER mine AFTER INSERT ON video_video FOR EACH ROW EXECUTE FUNCTION mine()",
        "CREATE RULE mine AS ON DELETE TO video_video DO INSTEAD NOTHING",
        "ALTER TABLE video_video ENABLE ROW LEVEL SECURITY",
        "CREATE EXTENSION IF NOT EXISTS citext",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        "SELECT lo_create(0)",
        "GRANT SELECT ON video_video TO PUBLIC",
        "GRANT SELECT (title) ON video_video TO PUBLIC",
        'GRANT CREATE ON DATABASE "{name}" TO PUBLIC',
        'ALTER DATABASE "{name}" SET work_mem = 99999',
        'ALTER DATABASE "{name}" CONNECTION LIMIT 7',
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


async def test_one_that_a_role_was_made_for_is_not_used_again(next_test: NextTest) -> None:
    async with next_test() as (database, _):
        name = database.name
        async with database.connection() as connection:
            await connection.execute(f"CREATE ROLE {name}_reader")
    async with next_test() as (database, _):
        assert database.name != name
        async with database.connection() as connection:
            await connection.execute(f"DROP ROLE {name}_reader")


@pytest.mark.usefixtures("patiently")
async def test_what_sessions_wrote_that_were_cut_off_is_put_back(
    next_test: NextTest, postgres: PostgresServer
) -> None:
    async with next_test() as (database, world):
        name, before = database.name, await everything(database)
        lost = await database.connect()
        await add_video(lost, world, title="Of a session that is ended")
        async with database.connection() as connection:
            await connection.execute("SELECT pg_terminate_backend($1)", lost.get_server_pid())
        aborted = await database.connect()
        await add_video(aborted, world, title="Of a client that is gone")
        aborted.terminate()
    async with next_test() as (database, _):
        assert (database.name == name) is tells_what_was_written(postgres)
        assert await everything(database) == before


async def test_a_copy_of_what_a_test_has_made_is_not_used_again(
    next_test: NextTest, postgres: PostgresServer
) -> None:
    async with next_test() as (database, world):
        async with database.connection() as connection:
            await add_video(connection, world, title="In the copy as well")
        await database.let_go()
        async with cloned_database(postgres, database.name, database.variant) as copy:
            name = copy.name
        async with cloned_database(postgres, database.name, database.variant) as copy:
            assert copy.name != name

"""Our own schema on a real server: from nothing to the latest version, by whichever way."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from poddispatchd.database import migration, pool
from poddispatchd.database.migration import LATEST, MIGRATIONS, Migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import RowLockedError, SchemaError
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_CATALOG = """
    SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid) AS "default",
           CASE WHEN c.relkind = 'i' THEN pg_get_indexdef(c.oid) END AS "index",
           obj_description(c.oid) AS comment
      FROM pg_class AS c
      JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
      LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relnamespace = to_regnamespace('poddispatchd')
     ORDER BY 1, 3
"""
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = to_regnamespace('poddispatchd') ORDER BY 1, 2
"""


async def _schema(connection: Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for query in (_CATALOG, _CONSTRAINTS) for row in await connection.fetch(query)]


async def test_the_schema_is_made_once(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        assert await migration.current_version(connection) == 0
        assert await migration.upgrade(database) == MIGRATIONS
        made = await _schema(connection)
        assert await migration.upgrade(database) == ()
        assert await _schema(connection) == made
        assert await migration.current_version(connection) == LATEST
        applied = await connection.fetch("SELECT version FROM poddispatchd.schema_version ORDER BY version")
        assert [row["version"] for row in applied] == [step.version for step in MIGRATIONS]


async def test_daemons_that_start_at_once_make_it_once(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as one, opened(pod_database) as two, opened(pod_database) as three:
        taken = await asyncio.gather(*(migration.upgrade(database) for database in (one, two, three)))
        assert sorted(len(steps) for steps in taken) == [0, 0, len(MIGRATIONS)]


async def test_the_printed_script_does_what_an_upgrade_does(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        upgraded = await _schema(connection)
        await connection.execute("DROP SCHEMA poddispatchd CASCADE")
        await connection.execute(migration.script(0))
        assert await _schema(connection) == upgraded
        assert await migration.upgrade(database) == ()


@pytest.mark.parametrize("version", [step.version for step in MIGRATIONS[:-1]])
async def test_an_older_schema_is_brought_up_to_date_by_either_way(
    pod_database: PodDatabase, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tuple(step for step in MIGRATIONS if step.version <= version)
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        latest = await _schema(connection)
        for by_script in (True, False):
            await connection.execute("DROP SCHEMA poddispatchd CASCADE")
            with monkeypatch.context() as patch:
                patch.setattr(migration, "MIGRATIONS", older)
                patch.setattr(migration, "LATEST", version)
                assert await migration.upgrade(database) == older
            if by_script:
                await connection.execute(migration.script(version))
            else:
                assert await migration.upgrade(database) == MIGRATIONS[len(older) :]
            assert await _schema(connection) == latest


async def test_a_step_may_take_longer_than_other_statements(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large journal it was cut off after a minute, and began anew for ever."""
    monkeypatch.setattr(pool, "_COMMAND_TIMEOUT", 0.5)
    slow = Migration(LATEST + 1, "slow", "SELECT pg_sleep(1);")
    monkeypatch.setattr(migration, "MIGRATIONS", (*MIGRATIONS, slow))
    monkeypatch.setattr(migration, "LATEST", LATEST + 1)
    async with opened(pod_database) as database:
        assert slow in await migration.upgrade(database)


async def test_an_upgrade_that_waits_for_a_backup_keeps_nobody_from_their_work(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for pg_dump for an hour, and other daemons could write no import, nor record a callback."""
    before = tuple(step for step in MIGRATIONS if step.version < 34)
    async with opened(pod_database) as database, opened(pod_database) as older:
        with monkeypatch.context() as patch:
            patch.setattr(migration, "MIGRATIONS", before)
            patch.setattr(migration, "LATEST", before[-1].version)
            await migration.upgrade(database)
        async with pod_database.connection() as dump, dump.transaction():
            await dump.execute("LOCK TABLE poddispatchd.import IN ACCESS SHARE MODE")
            with pytest.raises(RowLockedError):
                await asyncio.wait_for(migration.upgrade(database), 20)
            assert await older.execute("UPDATE poddispatchd.import SET last_error = NULL") == 0
        assert [step.version for step in await migration.upgrade(database)] == list(range(34, LATEST + 1))


async def test_a_daemon_that_waits_for_the_upgrade_of_another_one_says_so(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said each minute, for up to an hour, that the database cannot be reached."""
    monkeypatch.setattr(pool, "_COMMAND_TIMEOUT", 2)
    monkeypatch.setattr(migration, "_LOCKED_WITHIN", 100)
    async with opened(pod_database) as database, pod_database.connection() as other:
        async with other.transaction():
            await migration.upgrade_within(other)
            with pytest.raises(RowLockedError, match="Another poddispatchd is upgrading the schema"):
                await migration.upgrade(database)
        assert await migration.upgrade(database) == ()


async def test_a_step_that_fails_leaves_nothing_behind(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(LATEST + 1, "broken", "CREATE TABLE poddispatchd.half (); SELECT 1 / 0;")
    monkeypatch.setattr(migration, "MIGRATIONS", (*MIGRATIONS, broken))
    monkeypatch.setattr(migration, "LATEST", LATEST + 1)
    async with opened(pod_database) as database, pod_database.connection() as connection:
        with pytest.raises(Exception, match="division by zero"):
            await migration.upgrade(database)
        assert await migration.current_version(connection) == 0
        assert await connection.fetchval("SELECT to_regnamespace('poddispatchd')") is None


async def test_the_schema_of_a_newer_program_is_refused_in_words(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute("INSERT INTO poddispatchd.schema_version (version) VALUES ($1)", LATEST + 1)
        with pytest.raises(SchemaError, match=f"has version {LATEST + 1}.*install the newer poddispatchd"):
            await migration.upgrade(database)


@pytest.fixture
async def humble(pod_database: PodDatabase) -> AsyncIterator[Database]:
    """A pool whose role may read and write Pod's tables, and create nothing."""
    name = f"humble_{pod_database.name}"
    async with pod_database.connection() as connection:
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        dsn = pod_database.dsn.get_secret_value()
        scheme, _, rest = dsn.partition("://")
        database = Database(SecretStr(f"{scheme}://{name}:secret@{rest.rpartition('@')[2]}"))
        await database.open()
        try:
            yield database
        finally:
            await database.close()
            await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_role_that_may_not_create_the_schema_is_told_what_to_do(humble: Database) -> None:
    with pytest.raises(SchemaError, match=r"may not create the schema 'poddispatchd'.*db init"):
        await migration.upgrade(humble)


async def test_a_role_that_may_not_use_the_schema_is_told_what_to_do(
    humble: Database, pod_database: PodDatabase
) -> None:
    async with opened(pod_database) as database:
        await migration.upgrade(database)
    with pytest.raises(SchemaError, match=r"which belongs to role postgres: use that role.*db setup"):
        await migration.upgrade(humble)


def test_steps_are_numbered_in_order_with_or_without_gaps() -> None:
    versions = [step.version for step in MIGRATIONS]
    assert versions == sorted(set(versions))
    assert (versions[0], versions[-1]) == (1, LATEST)


async def test_no_table_of_ours_is_called_as_one_of_pods(pod_database: PodDatabase) -> None:
    """A role called as our schema finds our tables before Pod's: ``"$user"`` begins its search_path."""
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        names = await connection.fetch(
            "SELECT ours.relname FROM pg_class AS ours JOIN pg_class AS pods USING (relname)"
            " WHERE ours.relnamespace = to_regnamespace('poddispatchd')"
            " AND pods.relnamespace = to_regnamespace('public')"
        )
        assert [row["relname"] for row in names] == []

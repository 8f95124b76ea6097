"""Connections learn what PostgreSQL's types consist of from each other."""

from collections.abc import AsyncIterator, Iterable

import asyncpg
import pytest

from poddispatchd.database import connections
from poddispatchd.database.known_types import KnownTypes
from poddispatchd.database.pool import Database
from tests.plugins.postgres import PodDatabase

_ARRAYS = "SELECT $1::bigint[] AS numbers, $2::text[] AS words, $3::timestamptz[] AS moments"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The types that the server was asked about, by a process that knows none."""
    real, asked = asyncpg.Connection._introspect_types, []  # type: ignore[attr-defined]  # it has no public name

    async def ask(connection: object, oids: Iterable[int], *arguments: object) -> object:
        asked.append({*oids})
        return await real(connection, oids, *arguments)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", ask)
    monkeypatch.setattr(connections, "KNOWN", KnownTypes())
    return asked


@pytest.fixture
async def database(pod_database: PodDatabase) -> AsyncIterator[Database]:
    database = Database(pod_database.dsn, pool_size=3)
    await database.open()
    yield database
    await database.close()


async def test_only_the_first_connection_asks_what_arrays_consist_of(
    database: Database, asked: list[set[int]]
) -> None:
    async with database.connection() as one, database.connection() as other, database.connection() as third:
        for connection in (one, other, third):
            row = await connection.fetchrow(_ARRAYS, [1, 2], ["a", "é"], [])
            assert row is not None
            assert tuple(row) == ([1, 2], ["a", "é"], [])
            assert await connection.fetchval("SELECT $1::boolean[]", [True, False]) == [True, False]
    assert len(asked) == 1


async def test_what_nobody_has_asked_about_is_asked_about_when_it_is_met(
    database: Database, asked: list[set[int]]
) -> None:
    async with database.connection() as one, database.connection() as other:
        for connection in (one, other):
            assert await connection.fetchval("SELECT $1::bigint[]", [7]) == [7]
            assert len(await connection.fetchval("SELECT ARRAY[int8range(1, 2), int8range(3, 4)]")) == 2
    assert len(asked) == 2


async def test_the_types_of_a_database_are_asked_about_by_every_connection(
    database: Database, asked: list[set[int]]
) -> None:
    """An id that one database gives to a type is another one's in the next."""
    async with database.connection() as one, database.connection() as other:
        for name in ("colour", "shade"):
            await one.execute(f"CREATE TYPE {name} AS ENUM ('red', 'green')")
        for connection in (one, other):
            assert await connection.fetchval("SELECT ARRAY['red', 'green']::colour[]") == ["red", "green"]
            assert await connection.fetchval("SELECT ARRAY['green']::shade[]") == ["green"]
        await one.execute("DROP TYPE colour, shade")
    assert len(asked) == 4


async def test_a_connection_that_keeps_no_statements_works_with_what_an_earlier_one_was_told(
    pod_database: PodDatabase, asked: list[set[int]]
) -> None:
    """Behind a pooler the unnamed statement is the one that is being prepared."""
    for _ in range(2):
        connection = await asyncpg.connect(
            pod_database.dsn.get_secret_value(),
            connection_class=connections.DatabaseConnection,
            statement_cache_size=0,
        )
        for _ in range(2):
            assert await connection.fetchval("SELECT $1::bigint[]", [3]) == [3]
        await connection.close()
    assert len(asked) == 1

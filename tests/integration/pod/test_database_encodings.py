"""How the database encodes texts: what a runner says may hold any character."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from poddispatchd.app.database_checks import server_finding
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskType
from poddispatchd.errors import SchemaError
from poddispatchd.pod.capabilities import introspect
from poddispatchd.pod.task_list import TaskFilter, listed_tasks
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.pod.world import add_task
from poddispatchd.sandbox.postgresql import PostgresServer


@asynccontextmanager
async def _encoded(server: PostgresServer, encoding: str) -> AsyncIterator[Database]:
    name = f"pod_in_{encoding.lower()}_{os.getpid()}"
    administration = await asyncpg.connect(server.dsn().get_secret_value())
    try:
        await administration.execute(f'DROP DATABASE IF EXISTS "{name}"')
        # Before PostgreSQL 15 there is no other one, and nothing to choose it by.
        provider = "LOCALE_PROVIDER 'libc'" if administration.get_server_version().major >= 15 else ""
        await administration.execute(
            f"CREATE DATABASE \"{name}\" ENCODING '{encoding}' {provider} LOCALE 'C' TEMPLATE template0"
        )
        owner = await asyncpg.connect(server.dsn(name).get_secret_value())
        await create_schema(owner, SchemaVariant.PODFILE)
        await owner.close()
        database = Database(server.dsn(name), pool_size=2)
        await database.open()
        yield database
        await database.close()
        await administration.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await administration.close()


async def test_a_database_that_cannot_store_every_text_is_refused_in_words(postgres: PostgresServer) -> None:
    """The first arrow in a runner's output kept its task running for good, and its callbacks unanswered."""
    async with _encoded(postgres, "LATIN1") as database:
        with pytest.raises(SchemaError, match="encoded in LATIN1, and Django supports UTF8 only"):
            await introspect(database)


async def test_a_database_that_knows_of_no_encoding_is_used_and_told_of(postgres: PostgresServer) -> None:
    async with _encoded(postgres, "SQL_ASCII") as database:
        assert (await introspect(database)).podfile
        assert "a row with one that is not UTF-8 cannot be read" in (await server_finding(database)).words


async def test_a_search_finds_letters_as_they_are_where_the_database_knows_of_no_encoding(
    postgres: PostgresServer,
) -> None:
    """Apostrophes are found however they are set: their bytes were taken off letters, too, and à found é."""
    async with _encoded(postgres, "SQL_ASCII") as database:
        async with database.connection() as connection:
            pk = await add_task(connection, TaskType.ENCODING, task_id="l\u2019\u00e9t\u00e9")

        found = {
            text: [task.pk for task in await listed_tasks(database, TaskFilter(search=text), limit=2)]
            for text in ("l'\u00e9t", "l\u2019\u00e9t", "\u00e0")
        }

        assert found == {"l'\u00e9t": [pk], "l\u2019\u00e9t": [pk], "\u00e0": []}

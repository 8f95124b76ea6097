"""A Pod that has run for years, and how many of its tasks a statement reads."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.pod.rows import insert, manager, recording, site, user, video
from tests.plugins.postgres import PodDatabase, cloned_database, ensure_template

FINISHED = int(os.environ.get("PODDISPATCHD_TEST_TASKS", "200000"))
PENDING = SUBMITTED = FINISHED // 10
"""Tasks that ended, those that wait, and submissions that the journal remembers.

Statements have the same plans from a fifth of a million tasks to a million, which `make test-thorough` has.
"""

SOURCES = 500
"""Videos that all these tasks are about."""


@asynccontextmanager
async def years_of_tasks(postgres: PostgresServer) -> AsyncIterator[PodDatabase]:
    """A copy of it: the years are written once for all workers of a run."""

    async def fill(connection: Connection, dsn: SecretStr) -> None:
        await create_schema(connection, SchemaVariant.PODFILE)
        database = Database(dsn)
        await database.open()
        try:
            await migration.upgrade(database)
        finally:
            await database.close()
        await _fill(connection)

    template = await ensure_template(postgres, "template_years", fill)
    async with cloned_database(postgres, template, SchemaVariant.PODFILE) as database:
        yield database


async def _fill(connection: Connection) -> None:
    here = await site(connection, "pod.example.org")
    managers = [await manager(connection, here) for _ in range(100)]
    films = [await video(connection, await user(connection, "student")) for _ in range(SOURCES)]
    recordings = [await recording(connection) for _ in range(5)]
    for table in ("encodingstep", "encodinglog"):
        await insert(connection, f"video_encode_transcript_{table}", video_id=films[8])
    await connection.execute(
        "CREATE TEMPORARY TABLE sources AS SELECT $1::bigint[] AS rm, $2::bigint[] AS films, "
        "$3::bigint[] AS recordings",
        managers,
        films,
        recordings,
    )
    # An index over a million rows is made in a part of the time in which it grows row by row.
    indexes = await connection.fetch(
        "SELECT schemaname, indexname, indexdef FROM pg_indexes"
        " WHERE tablename IN ('runner_manager_task', 'submission')"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname)"
    )
    for index in indexes:
        await connection.execute(f'DROP INDEX {index["schemaname"]}."{index["indexname"]}"')
    await connection.execute(
        f"""
        SET session_replication_role = replica;
        INSERT INTO runner_manager_task (type, status, task_id, date_added, runner_manager_id, video_id)
        SELECT 'encoding', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END, 'task-' || n,
               now() - n * interval '1 minute', rm[1 + n % 100], films[1 + n % 500]
          FROM generate_series(1, {FINISHED}) AS n, sources;
        INSERT INTO runner_manager_task (type, status, date_added, video_id, recording_id)
        SELECT CASE WHEN n % 10 = 0 THEN 'studio' ELSE 'encoding' END, 'pending',
               now() - n * interval '1 second',
               CASE WHEN n % 10 <> 0 THEN films[1 + n % 500] END,
               CASE WHEN n % 10 = 0 THEN recordings[1 + n % 5] END
          FROM generate_series(1, {PENDING}) AS n, sources;
        INSERT INTO poddispatchd.submission
               (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, date_added, settled_at)
        SELECT id, 'encoding', runner_manager_id, 1, 'x', 'accepted', task_id, date_added, now()
          FROM runner_manager_task WHERE id <= {SUBMITTED};
        """
    )
    for index in indexes:
        await connection.execute(index["indexdef"])
    await connection.execute("ANALYZE")


def nodes(plan: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """All nodes of a plan."""
    yield plan
    children = plan.get("Plans", [])
    assert isinstance(children, list)
    for child in children:
        yield from nodes(child)


def rows_read(plan: Mapping[str, object], table: str = "runner_manager_task") -> float:
    """How many rows of a table a statement has read, those thrown away included."""
    read = 0.0
    for node in nodes(plan):
        if node.get("Relation Name") == table:
            rows, removed, loops = (
                float(str(node.get(key, 0)))
                for key in ("Actual Rows", "Rows Removed by Filter", "Actual Loops")
            )
            read += (rows + removed) * loops
    return read

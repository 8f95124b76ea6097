"""How statements find their rows when a Pod has run for years: Pod's table has indexes on its keys only."""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from poddispatchd.database import Connection
from poddispatchd.pod.queue import glance, pending_tasks, statement, write_ranks
from poddispatchd.sql import load_queries
from tests.integration.pod.rows import manager, pod, recording, site, user, video
from tests.plugins.postgres import PodDatabase

_FINISHED = 200_000
_PENDING = 20_000


async def _years_of_tasks(connection: Connection) -> None:
    here = await site(connection, "pod.example.org")
    managers = [await manager(connection, here) for _ in range(100)]
    films = [await video(connection, await user(connection, "student")) for _ in range(500)]
    rooms = [await recording(connection) for _ in range(5)]
    await connection.execute(
        "CREATE TEMPORARY TABLE sources AS SELECT $1::bigint[] AS rm, $2::bigint[] AS films, "
        "$3::bigint[] AS rooms",
        managers,
        films,
        rooms,
    )
    await connection.execute(
        f"""
        INSERT INTO runner_manager_task (type, status, task_id, date_added, runner_manager_id, video_id)
        SELECT 'encoding', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END, 'task-' || n,
               now() - n * interval '1 minute', rm[1 + n % 100], films[1 + n % 500]
          FROM generate_series(1, {_FINISHED}) AS n, sources;
        INSERT INTO runner_manager_task (type, status, date_added, video_id, recording_id)
        SELECT CASE WHEN n % 10 = 0 THEN 'studio' ELSE 'encoding' END, 'pending',
               now() - n * interval '1 second',
               CASE WHEN n % 10 <> 0 THEN films[1 + n % 500] END,
               CASE WHEN n % 10 = 0 THEN rooms[1 + n % 5] END
          FROM generate_series(1, {_PENDING}) AS n, sources;
        ANALYZE runner_manager_task;
        """
    )


def _nodes(plan: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    yield plan
    children = plan.get("Plans", [])
    assert isinstance(children, list)
    for child in children:
        yield from _nodes(child)


async def _scans(connection: Connection, query: str, *arguments: object) -> set[str]:
    """The ways in which a statement reads ``runner_manager_task``."""
    async with connection.transaction():
        text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
    return {
        str(node["Node Type"])
        for node in _nodes(json.loads(text)[0]["Plan"])
        if node.get("Relation Name") == "runner_manager_task" and node["Node Type"] != "ModifyTable"
    }


async def test_a_task_is_read_and_changed_by_its_key_among_years_of_others(pod_database: PodDatabase) -> None:
    queries = load_queries("poddispatchd.pod", "tasks.sql")
    async with pod(pod_database) as (_, _, connection):
        await _years_of_tasks(connection)
        by_key = {
            "get": (7,),
            "mark_running": (7, "pending", None, 1, "t"),
            "finish": (7, "running", "t", "failed", "out"),
            "write_output": (7, "running", "t", "out"),
            "requeue": (7, "running", "t", True),
            "restart": ([7, 8],),
            "restartable": ([7, 8],),
        }
        for name, arguments in by_key.items():
            assert "Seq Scan" not in await _scans(connection, queries[name], *arguments), name
        assert "Seq Scan" not in await _scans(connection, queries["find"], [1], "task-7")
        assert "Seq Scan" not in await _scans(connection, queries["list"], None, ["encoding"], None, 50)


async def test_a_shadow_finds_what_became_of_tasks_by_their_keys_and_counts_in_one_read(
    pod_database: PodDatabase,
) -> None:
    queries = load_queries("poddispatchd.pod", "observed.sql")
    async with pod(pod_database) as (_, capabilities, connection):
        await _years_of_tasks(connection)
        assert "Seq Scan" not in await _scans(connection, queries["rows"], list(range(1, 1001)))
        ranks = statement("wrong_ranks", capabilities.priority_user_table)
        for query, arguments in (
            (queries["running"], ([7],)),
            (queries["types_taken"], ()),
            (queries["purgeable"], (datetime(2020, 1, 1, tzinfo=UTC),)),
            (ranks, (100,)),
        ):
            started = time.monotonic()
            await connection.fetch(query, *arguments)
            # A bound on orders of magnitude only, as below.
            assert time.monotonic() - started < 10


async def test_the_queue_reads_the_whole_table_once_however_long_it_is(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        await _years_of_tasks(connection)
        page: tuple[object, ...] = (20, None, ["encoding", "studio"], [], [])
        for name, by_site, arguments in (
            ("pending", False, page),
            ("pending", True, (*page, [1], True)),
            ("wrong_ranks", False, (1,)),
            ("glance", False, ()),
        ):
            query = statement(name, capabilities.priority_user_table, by_site=by_site)
            async with connection.transaction():
                text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
            scans = [
                node
                for node in _nodes(json.loads(text)[0]["Plan"])
                if node.get("Relation Name") == "runner_manager_task" and node["Node Type"] == "Seq Scan"
            ]
            assert len(scans) == 1, name

        started = time.monotonic()
        assert len(await pending_tasks(database, capabilities, limit=20)) == 20
        assert await write_ranks(database, capabilities) == _PENDING
        assert await write_ranks(database, capabilities) == 0
        assert sum((await glance(database)).counts.values()) == _FINISHED + _PENDING
        # A bound on orders of magnitude only: one read of the table, not one per task.
        assert time.monotonic() - started < 30

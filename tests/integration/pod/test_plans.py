"""How statements find their rows when a Pod has run for years: Pod's table has indexes on its keys only."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.pod.duplicates import SAME_SOURCE
from poddispatchd.pod.queue import CandidateQuery, pending_tasks, queue_stats, statement, write_ranks
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.pod.rows import pod, video
from tests.integration.pod.years import FINISHED, PENDING, nodes, rows_read, years_of_tasks
from tests.plugins.postgres import PodDatabase

_DUPLICATES = 2_000

_PRIORITY_USERS = "runner_manager_priority_user"
_SOON = datetime(2020, 1, 1, tzinfo=UTC)

_DUPLICATE = (7, "encoding", 7, None)
_RUN = (*_DUPLICATE, 1, "task-7")

_BY_KEY: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "tasks.sql": {
        "get": (7,),
        "find": ([1], "task-7"),
        "find_near": ([1], "task-7", [7, 8], 1000),
        "get_free": (7,),
        "lock": (7,),
        "run_on": (7, "running", "t"),
        "finish": (7, "running", "t", "failed", "out"),
        "write_output": (7, "running", "t", "out"),
        "requeue": (7, "running", "t", True),
        "failed": ([7, 8],),
        "list": (None, ["encoding"], None, 50, False, ["encoding", "studio"]),
        "restartable": ([7, 8],),
        "restart": ([7, 8],),
    },
    "duplicates.sql": {
        "blockers": ([7, 8],),
        "unfinished": ([7, 8],),
        "waiting_behind": ([7, 8], 100),
        "described": ([7, 8],),
        "waiting": _DUPLICATE,
        "ended": _DUPLICATE,
        "follow": ([7], [_SOON], "failed", 1, "task-7", "out", 30.0),
        "leader": _RUN,
        "complete_sharers": _RUN,
        "lock_sharers": _RUN,
        "fail_waiting": (*_DUPLICATE, 30.0, "out"),
    },
    "managers.sql": {"latest_tasks": (500,)},
    "queue.sql": {"statuses": ([7, 8],)},
    "overview.sql": {"rows": (None, None, None, None, None, None, 50, [7, 8])},
    "ended.sql": {"newest": (), "moved": (FINISHED + PENDING, [7, 8], [9])},
    "observed.sql": {"rows": (list(range(1, 1001)),)},
}
"""Statements that find their rows by a key, however long the table is."""

_PAGE: tuple[object, ...] = (20, 30.0, ["encoding", "studio"], [], [], [7], [_SOON], ["encoding"], [7])

_ONE_READING: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "queue.sql": {
        "pending": _PAGE,
        "write_ranks": (0, 10_000),
        "wrong_ranks": (1,),
        "queue_stats": (),
        "open_on_sites": (),
        "pending_sites": (),
    },
    "tasks.sql": {"unsettled": (0, None, 200), "purge": (_SOON, 1000), "owners": ("task-7",)},
    "observed.sql": {"running": ([7],), "types_taken": (), "purgeable": (_SOON,)},
    "trigger.sql": {"facts": ()},
    "overview.sql": {"waiting": (None, 20, 5.0)},
    "ended.sql": {"open": ()},
}
"""Statements that read the table, once: its statuses and dates have no index."""

_ELSEWHERE: Mapping[str, frozenset[str]] = {
    "duplicates.sql": frozenset({"same_source", "wanted"}),
    "managers.sql": frozenset({"all", "one", "sites"}),
    "queue.sql": frozenset(
        {
            *("priority_users", "no_priority_users", "class", "owned_tasks"),
            *(
                "queue",
                "ranked",
                "source",
                "grace_left",
                "on_any_site",
                "on_some_sites",
                "of_any_status",
                "open_or_ranked",
            ),
        }
    ),
    "trigger.sql": frozenset({"install", "remove", "owner", "index"}),
}
"""Statements about other tables, and parts of statements."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def old_pod(postgres: PostgresServer) -> AsyncIterator[PodDatabase]:
    """A Pod with years of tasks, which tests only look at."""
    async with years_of_tasks(postgres) as database:
        yield database


async def _scans(connection: Connection, query: str, *arguments: object) -> list[str]:
    """The ways in which a statement reads ``runner_manager_task``."""
    async with connection.transaction():
        text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments)
    return [
        str(node["Node Type"])
        for node in nodes(json.loads(text)[0]["Plan"])
        if node.get("Relation Name") == "runner_manager_task" and node["Node Type"] != "ModifyTable"
    ]


def _text(file: str, name: str) -> str:
    if file == "queue.sql":
        return statement(name, _PRIORITY_USERS)
    text = load_queries("poddispatchd.pod", file)[name]
    wanted = load_queries("poddispatchd.pod", "duplicates.sql")["wanted"]
    return text.replace("{wanted}", wanted).replace("{same_source}", SAME_SOURCE)


@pytest.mark.slow
async def test_tasks_are_found_by_their_keys_among_years_of_others(old_pod: PodDatabase) -> None:
    async with old_pod.connection() as connection:
        for file, queries in _BY_KEY.items():
            for name, arguments in queries.items():
                scans = await _scans(connection, _text(file, name), *arguments)
                assert scans, (file, name)
                assert "Seq Scan" not in scans, (file, name)


async def test_a_task_is_found_by_its_id_without_reading_all_of_its_managers(old_pod: PodDatabase) -> None:
    async with old_pod.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM runner_manager_task WHERE task_id = 'task-7'")
        assert row is not None
        read = {}
        for name, more in (("find", ()), ("find_near", ([row["id"]], 100))):
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {_text('tasks.sql', name)}"
            text = await connection.fetchval(explain, [row["runner_manager_id"]], "task-7", *more)
            read[name] = rows_read(json.loads(text)[0]["Plan"])
        of_source = (FINISHED + PENDING) / 500
        assert read["find"] >= FINISHED / 100
        assert read["find_near"] <= 2 * of_source


async def test_what_needs_the_whole_table_reads_it_once(old_pod: PodDatabase) -> None:
    async with old_pod.connection() as connection:
        for file, queries in _ONE_READING.items():
            for name, arguments in queries.items():
                scans = await _scans(connection, _text(file, name), *arguments)
                # Rows that were chosen are changed by hashing: only those that there are.
                allowed = 3 if name == "write_ranks" else 1
                assert scans.count("Seq Scan") <= allowed, (file, name, scans)
        by_site = statement("pending", _PRIORITY_USERS, by_site=True)
        assert (await _scans(connection, by_site, *_PAGE, [1], True)).count("Seq Scan") == 1


@pytest.mark.parametrize("limit", [20, _DUPLICATES])
async def test_a_look_reads_the_tasks_of_one_video_a_few_times_however_many_wait_for_it(
    pod_database: PodDatabase, limit: int
) -> None:
    # Each was compared with all the others where PostgreSQL knew nothing of the table yet.
    async with pod_database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO runner_manager_task (type, status, date_added, video_id)
            SELECT 'encoding', 'pending', now() - n * interval '1 minute', $1
              FROM generate_series(1, $2::int) AS n
            """,
            await video(connection),
            _DUPLICATES,
        )
        look = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement('pending', _PRIORITY_USERS)}"
        for statistics in ("none", "ANALYZE"):
            if statistics != "none":
                await connection.execute(statistics)
            text = await connection.fetchval(look, limit, 0.0, ["encoding"], [], [], [], [], [], [])
            assert rows_read(json.loads(text)[0]["Plan"]) <= 3 * _DUPLICATES, (statistics, text)


@pytest.mark.parametrize("file", sorted({*_BY_KEY, *_ONE_READING, *_ELSEWHERE}))
def test_no_statement_about_tasks_is_left_out(file: str) -> None:
    known = {*_BY_KEY.get(file, ()), *_ONE_READING.get(file, ()), *_ELSEWHERE.get(file, ())}
    assert load_queries("poddispatchd.pod", file).keys() == known


@pytest.mark.slow
async def test_reading_the_whole_table_takes_seconds_at_most(old_pod: PodDatabase) -> None:
    async with pod(old_pod) as (database, capabilities, connection):
        for file, queries in _ONE_READING.items():
            for name, arguments in queries.items():
                if name in ("write_ranks", "purge"):
                    continue
                started = time.monotonic()
                await connection.fetch(_text(file, name), *arguments)
                # A bound on orders of magnitude only: one reading, not one for each task.
                assert time.monotonic() - started < 10, (file, name)
        assert len(await pending_tasks(database, capabilities, CandidateQuery(limit=20))) == 20
        started = time.monotonic()
        assert await write_ranks(database, capabilities) == PENDING
        assert await write_ranks(database, capabilities) == 0
        seen = await queue_stats(database)
        assert sum(seen.counts.values()) == FINISHED + PENDING
        assert await queue_stats(database, past=seen) == seen
        assert time.monotonic() - started < 60

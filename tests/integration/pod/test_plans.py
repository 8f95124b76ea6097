"""How statements find their rows when a Pod has run for years: Pod's table has indexes on its keys only."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.domain.fair_share import FairOrder, FairShare
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.duplicates import DONE_LATER, OTHERS, SAME_SOURCE, UNIMPORTED
from poddispatchd.pod.queue_order import (
    SITE_IDS,
    CandidateQuery,
    by_fair_share,
    filled,
    pending_tasks,
    statement,
    write_ranks,
)
from poddispatchd.pod.queue_stats import queue_stats
from poddispatchd.pod.tasks import OUTPUT
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.pod.rows import pod, video
from tests.integration.pod.years import FINISHED, PENDING, nodes, rows_read, years_of_tasks
from tests.plugins.postgres import PodDatabase

_DUPLICATES = 2_000

_PRIORITY_USERS = "runner_manager_priority_user"
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

_DUPLICATE: Mapping[str, object] = {"task": 7, "type": "encoding", "video": 7, "recording": None}
_RUN: Mapping[str, object] = {**_DUPLICATE, "runner_manager": 1, "task_id": "task-7"}

_BY_KEY: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "tasks.sql": {
        "get": {"task": 7},
        "find": {"managers": [1], "task_id": "task-7"},
        "find_near": {"managers": [1], "task_id": "task-7", "near": [7, 8], "newest": 1000},
        "lock": {"task": 7},
        "run_on": {"task": 7, "status": "running", "task_id": "t"},
        "finish": {"task": 7, "status": "running", "task_id": "t", "ending": "failed", "output": "out"},
        "write_output": {"task": 7, "status": "running", "task_id": "t", "output": "out"},
        "write_outputs": {
            "tasks": [7, 8],
            "statuses": ["running", "running"],
            "task_ids": ["t", None],
            "outputs": ["out", "out"],
        },
        "requeue": {"task": 7, "status": "running", "task_id": "t"},
        "failed": {"tasks": [7, 8]},
        "next_window": {"after": 7, "limit": 5000},
        "purge": {"added_before": _LONG_AGO, "after": 7, "up_to": 5007},
        "list": {"statuses": None, "limit": 50},
        "watched": {"newest": 500, "known": [7, 8], "most_open": 0},
        "restartable": {"tasks": [7, 8]},
        "restart": {"tasks": [7, 8]},
    },
    "duplicates.sql": {
        "blockers": {"tasks": [7, 8]},
        "unfinished": {"tasks": [7, 8]},
        "waiting_behind": {"tasks": [7, 8], "limit": 100},
        "described": {"tasks": [7, 8]},
        "of_later": {"task": 7},
        "by_hand": {"tasks": [7, 8]},
        "waiting": _DUPLICATE,
        "ended": _DUPLICATE,
        "follow": {
            "tasks": [7],
            "dates_added": [_LONG_AGO],
            "status": "failed",
            "runner_manager": 1,
            "task_id": "task-7",
            "output": "out",
            "grace": 30.0,
        },
        "leader": _RUN,
        "complete": {**_RUN, "status": "running"},
        "fail_waiting": {**_DUPLICATE, "grace": 30.0, "output": "out"},
    },
    "managers.sql": {"latest_tasks": {"newest": 500}},
    "task_list.sql": {
        "rows": {
            "statuses": None,
            "types": None,
            "search": None,
            "apostrophes": "",
            "spaces": "",
            "managers": None,
            "sites": None,
            "since": None,
            "limit": 50,
            "tasks": [7, 8],
        }
    },
    "open_tasks.sql": {
        "statuses": {"tasks": [7, 8]},
        "newest": {},
        "moved": {
            "above": FINISHED + PENDING - 100,
            "seen": list(range(FINISHED + PENDING - 99, FINISHED + PENDING)),
            "pending": [7, 8],
            "running": [9],
        },
    },
    "shadow_rows.sql": {"rows": {"tasks": list(range(1, 1001))}},
    "workload.sql": {"work_of": {"tasks": [7, 8]}},
}
"""Statements that find their rows by a key, however long the table is."""

_PAGE: Mapping[str, object] = {
    "limit": 20,
    "grace": 30.0,
    "types": ["encoding", "studio"],
    "skip": [],
    "ignore_grace": [],
    "held": [7],
    "held_dates": [_LONG_AGO],
    "excluded_types": ["encoding"],
    "excluded_sources": [7],
}

_ONE_READING: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "queue.sql": {
        "pending": _PAGE,
        "write_ranks": {"after": 0, "up_to": 10_000},
        "wrong_ranks": {"limit": 1},
        "queue_stats": {},
        "pending_sites": {},
    },
    "tasks.sql": {
        "unsettled": {"after": 0, "limit": 200},
        "owners": {"task_id": "task-7"},
    },
    "shadow_rows.sql": {
        "running": {"besides": [7]},
        "types_taken": {},
        "purgeable": {"added_before": _LONG_AGO},
    },
    "trigger.sql": {"facts": {}},
    "task_list.sql": {"waiting": {"task": None, "limit": 20, "seconds": 5.0, "ours": "poddispatchd"}},
    "open_tasks.sql": {"open": {}, "open_on_sites": {}},
    "workload.sql": {"waiting_work": {"limit": 300}, "running_work": {"limit": 1000}},
}
"""Statements that read the table, once: its statuses and dates have no index."""

_ELSEWHERE: Mapping[str, frozenset[str]] = {
    "duplicates.sql": frozenset({"same_source", "wanted", "others", "unimported", "done_later"}),
    "managers.sql": frozenset({"all", "sites"}),
    "tasks.sql": frozenset({"output"}),
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
            *("owner", "establishment", "holders", "fair_queue", "fair_ranked", "claim", "site_ids"),
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


async def _scans(connection: Connection, query: Query, **values: object) -> list[str]:
    """The ways in which a statement reads ``runner_manager_task``."""
    async with connection.transaction():
        text = await connection.fetchval(*_explained("EXPLAIN (FORMAT JSON)", query, **values))
    return [
        str(node["Node Type"])
        for node in nodes(json.loads(text)[0]["Plan"])
        if node.get("Relation Name") == "runner_manager_task" and node["Node Type"] != "ModifyTable"
    ]


def _explained(explain: str, query: Query, **values: object) -> tuple[str, *tuple[object, ...]]:
    sql, *arguments = query(**values)
    return f"{explain} {sql}", *arguments


def _query(file: str, name: str) -> Query:
    if file == "queue.sql":
        return statement(name, _PRIORITY_USERS)
    if file == "workload.sql":
        return filled(load_queries("poddispatchd.pod", file)[name], _PRIORITY_USERS)
    wanted = load_queries("poddispatchd.pod", "duplicates.sql")["wanted"]
    query = load_queries("poddispatchd.pod", file)[name].fill(
        done_later=DONE_LATER, unimported=UNIMPORTED, wanted=wanted
    )
    query = query.fill(others=OTHERS, site_ids=SITE_IDS)
    return query.fill(same_source=SAME_SOURCE, output=OUTPUT)


@pytest.mark.slow
async def test_tasks_are_found_by_their_keys_among_years_of_others(old_pod: PodDatabase) -> None:
    async with old_pod.connection() as connection:
        for file, queries in _BY_KEY.items():
            for name, values in queries.items():
                scans = await _scans(connection, _query(file, name), **values)
                assert scans, (file, name)
                assert "Seq Scan" not in scans, (file, name)


async def test_a_task_is_found_by_its_id_without_reading_all_of_its_managers(old_pod: PodDatabase) -> None:
    async with old_pod.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM runner_manager_task WHERE task_id = 'task-7'")
        assert row is not None
        read = {}
        for name, more in (
            ("find", {}),
            ("find_near", {"near": [row["id"]], "newest": 100}),
        ):
            values: Mapping[str, object] = {
                "managers": [row["runner_manager_id"]],
                "task_id": "task-7",
                **more,
            }
            query = _explained("EXPLAIN (ANALYZE, FORMAT JSON)", _query("tasks.sql", name), **values)
            text = await connection.fetchval(*query)
            read[name] = rows_read(json.loads(text)[0]["Plan"])
        of_source = (FINISHED + PENDING) / 500
        assert read["find"] >= FINISHED / 100
        assert read["find_near"] <= 2 * of_source


async def test_what_needs_the_whole_table_reads_it_once(old_pod: PodDatabase) -> None:
    async with old_pod.connection() as connection:
        for file, queries in _ONE_READING.items():
            for name, values in queries.items():
                scans = await _scans(connection, _query(file, name), **values)
                # Rows that were chosen are changed by hashing: only those that there are.
                allowed = 3 if name == "write_ranks" else 1
                assert scans.count("Seq Scan") <= allowed, (file, name, scans)
        by_site = statement("pending", _PRIORITY_USERS, by_site=True)
        assert (await _scans(connection, by_site, **_PAGE, sites=[1], with_siteless=True)).count(
            "Seq Scan"
        ) == 1


@pytest.mark.parametrize("by", [FairShare.OWNER, FairShare.ESTABLISHMENT])
async def test_fair_share_reads_the_whole_table_as_often_and_a_claim_by_its_key(
    old_pod: PodDatabase, by: FairShare
) -> None:
    fair = by_fair_share(
        FairOrder(by, {"7": 60.0}, {"encoding": 60.0}, {(1, "encoding"): (_LONG_AGO, TaskPk(7))})
    )
    async with old_pod.connection() as connection:
        page = statement("pending", _PRIORITY_USERS, share=by)
        scans = await _scans(connection, page, **_PAGE, **fair)
        assert scans.count("Seq Scan") == 1
        ranks = statement("write_ranks", _PRIORITY_USERS, share=by)
        # The order, and which tasks have a rank; the rest as without fair share.
        assert (await _scans(connection, ranks, after=0, up_to=10_000, **fair)).count("Seq Scan") <= 4
        claim = statement("claim", _PRIORITY_USERS, share=by)
        assert "Seq Scan" not in await _scans(connection, claim, task=7)


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
        nothing: Mapping[str, object] = {name: [] for name, value in _PAGE.items() if isinstance(value, list)}
        values = {**nothing, "limit": limit, "grace": 0.0, "types": ["encoding"]}
        look = _explained("EXPLAIN (ANALYZE, FORMAT JSON)", statement("pending", _PRIORITY_USERS), **values)
        for statistics in ("none", "ANALYZE"):
            if statistics != "none":
                await connection.execute(statistics)
            text = await connection.fetchval(*look)
            assert rows_read(json.loads(text)[0]["Plan"]) <= 3 * _DUPLICATES, (statistics, text)


async def test_a_page_of_tasks_that_have_just_come_is_looked_up_and_not_searched_for(
    pod_database: PodDatabase,
) -> None:
    """PostgreSQL knew of no pending task yet, and read all of them once for each of a page."""
    page, others = 50, 1000
    async with pod_database.connection() as connection:
        ended = [await video(connection) for _ in range(page)]
        films = [await video(connection) for _ in range(page)]
        add = (
            "INSERT INTO runner_manager_task (type, status, date_added, video_id)"
            " SELECT 'encoding', $1, now(), unnest($2::bigint[])"
        )
        await connection.execute(add, "completed", ended * (others // page))
        await connection.execute("ANALYZE")
        await connection.execute(add, "pending", films)
        nothing: Mapping[str, object] = {name: [] for name, value in _PAGE.items() if isinstance(value, list)}
        values = {**nothing, "limit": page, "grace": 0.0, "types": ["encoding"]}
        look = _explained("EXPLAIN (ANALYZE, FORMAT JSON)", statement("pending", _PRIORITY_USERS), **values)
        text = await connection.fetchval(*look)
        assert rows_read(json.loads(text)[0]["Plan"]) <= 2 * (others + page), text


@pytest.mark.parametrize("file", sorted({*_BY_KEY, *_ONE_READING, *_ELSEWHERE}))
def test_no_statement_about_tasks_is_left_out(file: str) -> None:
    known = {*_BY_KEY.get(file, ()), *_ONE_READING.get(file, ()), *_ELSEWHERE.get(file, ())}
    assert load_queries("poddispatchd.pod", file).keys() == known


@pytest.mark.slow
async def test_reading_the_whole_table_takes_seconds_at_most(old_pod: PodDatabase) -> None:
    async with pod(old_pod) as (database, capabilities, connection):
        for file, queries in _ONE_READING.items():
            for name, values in queries.items():
                if name == "write_ranks":
                    continue
                started = time.monotonic()
                await connection.fetch(*_query(file, name)(**values))
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

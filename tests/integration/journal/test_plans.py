"""However much is settled, what happens all the time looks only at what is open."""

import json
from collections.abc import Iterator

import pytest

from poddispatchd.database import migration
from poddispatchd.database.queries import load_queries
from poddispatchd.runtime import queues
from poddispatchd.runtime.queues import QUEUES
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_SETTLED = 100_000

_FILL = f"""
    INSERT INTO poddispatchd.submission
        (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, created_at, settled_at)
    SELECT n, 'encoding', n % 3, 1, 'x', 'accepted', 'task-' || n, now(), now()
      FROM generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.callback
        (runner_manager_ids, task_id, status, digest, state, attempts, handled_at)
    SELECT ARRAY[n % 3], 'task-' || n, 'completed', sha256(n::text::bytea), 'applied', 1, now()
      FROM generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)
    SELECT n, n % 3, 'task-' || n, 'done', now() FROM generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.delivery (channel, task_pk, state, settled_at)
    SELECT 'mail', n, 'done', now() FROM generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.wish (task_pk, submission_id, date_added)
    SELECT task_pk + 1, id, now() FROM poddispatchd.submission;
    INSERT INTO poddispatchd.failure (task_pk, runner_manager_id, task_id, failed_at, asked_at)
    SELECT n, n % 3, 'failed-' || n, now() - interval '25 hours' * least(n / 20, 1), now()
      FROM generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body)
    SELECT {_SETTLED} + n, 'encoding', n % 3, 1, 'x' FROM generate_series(1, 20) AS n;
    INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest)
    SELECT ARRAY[n % 3], 'open-' || n, 'completed', sha256(n::text::bytea) FROM generate_series(1, 20) AS n;
    INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id)
    SELECT {_SETTLED} + n, n % 3, 'open-' || n FROM generate_series(1, 20) AS n;
    INSERT INTO poddispatchd.delivery (channel, task_pk) SELECT 'mail', n FROM generate_series(1, 20) AS n;
    INSERT INTO poddispatchd.notice (event, task_pk, task_type)
    SELECT 'failed', n, 'encoding' FROM generate_series(1, 20) AS n;
    INSERT INTO poddispatchd.obsolete_file (path, task_pk) SELECT n::text, n FROM generate_series(1, 20) AS n;
"""

_ROOMS = {"inbox.sql": "poddispatchd.callbacks", "files.sql": "poddispatchd.imports"}

_TWO = """'{"{1}","{1}"}', '{task-7,none}', '{failed,failed}'"""

_HOT = (
    ("submissions.sql", "settle", "7, 'accepted', 't', NULL"),
    ("submissions.sql", "forget_waiting", "7"),
    ("submissions.sql", "open_ones", ""),
    ("submissions.sql", "unidentified", "'{1}'"),
    ("submissions.sql", "with_id", "'{1}', 'task-7'"),
    ("submissions.sql", "attempts", "7, now()"),
    ("submissions.sql", "lose", "7, 1, 'task-7', ''"),
    ("submissions.sql", "add_lost", "7, 1, 'other', '', 'encoding', now()"),
    ("submissions.sql", "taken_for", "'{7,8}', '{2026-03-14,2026-03-14}'"),
    ("submissions.sql", "purge", "90, 1000"),
    ("inbox.sql", "record_all", f"{_TWO}, '{{NULL,NULL}}', '{{NULL,NULL}}', '{{x,y}}', '{{f,f}}', 9"),
    ("inbox.sql", "expected", "'{1}', 'task-7'"),
    ("inbox.sql", "expected", "'{1}', 'unknown'"),
    ("inbox.sql", "unsettled", "1, 'task-7'"),
    ("inbox.sql", "lock", "100007, 'a'"),
    ("inbox.sql", "settle", "100007, 'applied', ''"),
    ("imports.sql", "open", "7, 1, 'task-7'"),
    ("imports.sql", "is_open", "7, 1, 'task-7'"),
    ("imports.sql", "drop_open", "7, ''"),
    ("failures.sql", "note", "7, 1, 'task-7', '\\x00'"),
    ("failures.sql", "known", "7, 1, 'task-7', '\\x00'"),
    ("failures.sql", "forget", "7"),
    ("failures.sql", "asked", "'{7,8}'"),
    ("failures.sql", "purge", "90, 1000"),
    ("scheduling.sql", "put_back", "7, now(), 20"),
    ("scheduling.sql", "wait_of", "7, now()"),
    ("known_runs.sql", "tasks", "'{1}', 'task-7'"),
    ("observations.sql", "see", "'{7,8}', '{task-7,NULL}'"),
    ("observations.sql", "of_tasks", "'{7,8}'"),
    ("observations.sql", "note_runner", "7, 'task-7', 'runner'"),
)

_MOST_ROWS = 500
"""Rows that a hot query may look at: all that is open, several times over."""


_OF_A_QUEUE = {
    "claim": "'a', 20, 5, NULL, '{}', '{}', 5",
    "renew": "'a', 20, '{100007}'",
    "holds": "'100007', 'a'",
    "postpone": "'100007', 'a', 20, NULL, true",
    "set_aside": "'100007', 'a', ''",
    "release": "'a', '{100007}'",
    "release_owner": "'a'",
    "owners": "",
    "next_due": "NULL",
    "figures": "",
    "set_aside_items": "10",
    "purge": "90, 1000",
}
"""What a daemon asks its queues all the time, and people now and then."""


def _queries() -> Iterator[tuple[str, str, str]]:
    """Every hot query: what it is called, its text, its arguments."""
    for file, name, arguments in _HOT:
        package = _ROOMS.get(file, "poddispatchd.journal")
        yield f"{file}: {name}", load_queries(package, file)[name], arguments
    for queue in QUEUES.values():
        statements = queue.table.statements()
        for name, arguments in _OF_A_QUEUE.items():
            yield f"{queue.table.name}: {name}", statements[name], arguments
    yield "set aside", queues._SET_ASIDE_COUNTS, ""


@pytest.mark.slow
async def test_hot_queries_look_only_at_what_is_open(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(_FILL)
        await connection.execute("ANALYZE")
        for title, query, arguments in _queries():
            # Prepared statements get a generic plan in the end: it must be as good.
            for mode in ("force_generic_plan", "force_custom_plan"):
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
                    await connection.execute(f"PREPARE hot AS {query}")
                    call = f"EXECUTE hot({arguments})" if arguments else "EXECUTE hot"
                    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT json) {call}")
                    await connection.execute("DEALLOCATE hot")
                scanned = _scanned(json.loads(explained)[0]["Plan"])
                assert scanned <= _MOST_ROWS, (title, mode, explained)


def _scanned(plan: dict[str, object]) -> float:
    """The rows that the leaves of a plan looked at, those they threw away included."""
    loops = _number(plan, "Actual Loops")
    children = plan.get("Plans", [])
    assert isinstance(children, list)
    own = _number(plan, "Rows Removed by Filter") + _number(plan, "Rows Removed by Index Recheck")
    if "Relation Name" in plan:
        own += _number(plan, "Actual Rows")
    return own * loops + sum(_scanned(child) for child in children)


def _number(plan: dict[str, object], key: str) -> float:
    value = plan.get(key, 0)
    assert isinstance(value, int | float)
    return float(value)


def test_a_scan_of_a_whole_table_would_be_noticed() -> None:
    leaf = {"Relation Name": "t", "Actual Rows": 1, "Actual Loops": 2, "Rows Removed by Filter": 999}
    assert _scanned({"Actual Loops": 1, "Plans": [leaf]}) == pytest.approx(2000)

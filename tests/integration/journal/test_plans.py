"""However much is settled, what happens all the time looks only at what is open."""

import json
from collections.abc import Iterator, Mapping

import pytest

from poddispatchd.database import migration
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.imports.queue import _QUERIES
from poddispatchd.journal import unwanted_runs
from poddispatchd.journal.ages import with_ages
from poddispatchd.pod import duplicates
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.queue_tables import QUEUES
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_SETTLED = 20_000

_FILL = f"""
    INSERT INTO poddispatchd.own_task (task_pk, added_at)
    SELECT n, now() - interval '1 hour' FROM generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.submission
        (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, created_at, settled_at)
    SELECT n, 'encoding', n % 3, 1, 'x', 'accepted', 'task-' || n, now(), now() - interval '1 minute' * n
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
    INSERT INTO poddispatchd.sighting (task_pk, task_id, runner_manager_id)
    SELECT n, 'task-' || n, n % 3 FROM generate_series(101, 120) AS n;
    INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, priority, ran, ended_at)
    SELECT n, 'encoding', 'completed', 1, 60, now() - make_interval(secs => n)
      FROM generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.campaign (name, task_type, at_most, created_by, changed_by)
    VALUES ('anew', 'encoding', 2, 'x', 'x');
    INSERT INTO poddispatchd.campaign_video (campaign_id, place, video_id, state, task_pk, changed_at)
    SELECT campaign.id, n, n, CASE WHEN n <= 20 THEN 'failed' ELSE 'completed' END, n, now()
      FROM poddispatchd.campaign, generate_series(1, {_SETTLED}) AS n;
    INSERT INTO poddispatchd.campaign_video (campaign_id, place, video_id, state)
    SELECT campaign.id, {_SETTLED} + n, {_SETTLED} + n, CASE WHEN n <= 2 THEN 'running' ELSE 'waiting' END
      FROM poddispatchd.campaign, generate_series(1, 20) AS n;
"""

_ROOMS = {
    "inbox.sql": "poddispatchd.callbacks",
    "campaigns.sql": "poddispatchd.campaigns",
    "task_ids.sql": "poddispatchd.tasks",
}

_TWO = {
    "managers": """'{"{1}","{1}"}'""",
    "task_ids": "'{task-7,none}'",
    "statuses": "'{failed,failed}'",
    "error_messages": "'{NULL,NULL}'",
    "script_outputs": "'{NULL,NULL}'",
    "digests": "'{x,y}'",
    "known": "'{f,f}'",
}
"""Two callbacks."""

_HOT: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    (
        "submissions.sql",
        "settle",
        {"submission": "7", "state": "'accepted'", "task_id": "'t'", "reason": "NULL"},
    ),
    ("submissions.sql", "abandon_restarted", {}),
    ("submissions.sql", "forget_waiting", {"task": "7"}),
    ("submissions.sql", "open_ones", {"ours": "now()"}),
    ("submissions.sql", "unidentified", {"managers": "'{1}'"}),
    ("submissions.sql", "with_id", {"managers": "'{1}'", "task_id": "'task-7'"}),
    ("submissions.sql", "attempts", {"task": "7", "date_added": "now()"}),
    ("submissions.sql", "lose", {"task": "7", "runner_manager": "1", "task_id": "'task-7'", "reason": "''"}),
    (
        "submissions.sql",
        "add_lost",
        {
            "task": "7",
            "runner_manager": "1",
            "task_id": "'other'",
            "reason": "''",
            "task_type": "'encoding'",
            "date_added": "now()",
        },
    ),
    ("submissions.sql", "taken_for", {"tasks": "'{7,8}'", "dates_added": "'{2026-03-14,2026-03-14}'"}),
    ("submissions.sql", "purge", {"days": "90", "batch": "1000"}),
    ("inbox.sql", "record_all", _TWO),
    ("inbox.sql", "expected", {"managers": "'{1}'", "task_id": "'task-7'"}),
    ("inbox.sql", "expected", {"managers": "'{1}'", "task_id": "'unknown'"}),
    ("inbox.sql", "lock", {"callback": "100007", "owner": "'a'"}),
    ("inbox.sql", "lock_next", {"callbacks": "'{100007,100008}'", "owner": "'a'"}),
    (
        "inbox.sql",
        "settle",
        {"callbacks": "'{100007}'", "states": "'{applied}'", "outcomes": "'{wait}'"},
    ),
    (
        "task_ids.sql",
        "lock_called",
        {"task_ids": "'{task-7,none}'", "managers": """'{"{1}","{1}"}'""", "most_output": "9"},
    ),
    (
        "imports.sql",
        "open",
        {"tasks": "'{7}'", "runner_managers": "'{1}'", "task_ids": "'{task-7}'"},
    ),
    ("imports.sql", "is_open", {"task": "7", "runner_manager": "1", "task_id": "'task-7'"}),
    ("imports.sql", "is_done", {"task": "7", "runner_manager": "1", "task_id": "'task-7'"}),
    ("imports.sql", "drop_open", {"task": "7", "reason": "''"}),
    (
        "failures.sql",
        "note",
        {"task": "7", "runner_manager": "1", "task_id": "'task-7'", "digest": "'\\x00'"},
    ),
    (
        "failures.sql",
        "known",
        {"task": "7", "runner_manager": "1", "task_id": "'task-7'", "digest": "'\\x00'"},
    ),
    ("failures.sql", "asked", {"tasks": "'{7,8}'"}),
    ("failures.sql", "purge", {"days": "90", "batch": "1000"}),
    ("scheduling.sql", "put_back", {"task": "7", "date_added": "now()", "seconds": "20"}),
    ("scheduling.sql", "wait_of", {"task": "7", "date_added": "now()"}),
    ("scheduling.sql", "own_tasks", {"tasks": "'{7,8}'"}),
    ("task_ids.sql", "known", {"managers": "'{1}'", "task_id": "'task-7'"}),
    ("history.sql", "recent_runs", {"types": "'{encoding,studio}'"}),
    ("history.sql", "is_empty", {}),
    ("dismissals.sql", "dismissed", {"tasks": "'{7,8}'"}),
    ("campaigns.sql", "open", {}),
    ("campaigns.sql", "follow", {}),
    (
        "campaigns.sql",
        "next",
        {
            "campaign": "1",
            "type": "'encoding'",
            "sites": "'{1}'",
            "served": "'{1,2}'",
            "with_siteless": "true",
            "held": "'{3}'",
            "limit": "20",
        },
    ),
    ("campaigns.sql", "unsubmitted", {}),
    ("campaigns.sql", "finish", {"campaign": "1"}),
    (
        "notices.sql",
        "add",
        {
            "event": "'failed'",
            "task": "7",
            "task_type": "'encoding'",
            "task_id": "NULL",
            "video": "7",
            "recording": "NULL",
            "is_reported": "false",
            "words": "''",
        },
    ),
    ("unwanted_runs.sql", "add_let_go", {}),
    (
        "observations.sql",
        "see",
        {"tasks": "'{7,8}'", "task_ids": "'{task-7,NULL}'", "runner_managers": "'{1,NULL}'"},
    ),
    ("observations.sql", "of_tasks", {"tasks": "'{7,8}'", "ours": "now()"}),
    ("observations.sql", "note_runner", {"task": "7", "task_id": "'task-7'", "runner": "'runner'"}),
)

_AGES = {
    "open_ones": {"age": "created_at"},
    "of_tasks": {"age": "runs_since", "missing_for": "missing_since"},
}

_MOST_ROWS = 500
"""Rows that a hot query may look at: all that is open, several times over, or 400 runs."""


_OF_A_QUEUE: Mapping[str, Mapping[str, str]] = {
    "claim": {
        "owner": "'a'",
        "seconds": "20",
        "limit": "5",
        "partitions": "NULL",
        "held_partitions": "'{}'",
        "held_counts": "'{}'",
        "share": "5",
        "most_bytes": "65536",
        "at_work": "'{}'",
    },
    "renew": {"owner": "'a'", "seconds": "20", "keys": "'{100007}'"},
    "holds": {"key": "'100007'", "owner": "'a'"},
    "postpone": {"key": "'100007'", "owner": "'a'", "seconds": "20", "words": "NULL", "counts": "true"},
    "set_aside": {"key": "'100007'", "owner": "'a'", "words": "''"},
    "release": {"owner": "'a'", "keys": "'{100007}'"},
    "release_owner": {"owner": "'a'"},
    "owners": {},
    "next_due": {"partitions": "NULL", "at_work": "'{}'"},
    "figures": {},
    "set_aside_items": {"limit": "10"},
    "purge": {"days": "90", "batch": "1000"},
}
"""What a daemon asks its queues all the time, and people now and then."""


def _queries() -> Iterator[tuple[str, Query, Mapping[str, str]]]:
    """Every hot query: what it is called, the statement, its parameters as PostgreSQL writes them."""
    for file, name, arguments in _HOT:
        package = _ROOMS.get(file, "poddispatchd.journal")
        query = load_queries(package, file)[name].fill(newest="9", unnoted=unwanted_runs.UNNOTED)
        yield f"{file}: {name}", with_ages(query, **_AGES.get(name, {})), arguments
    for queue in QUEUES.values():
        statements = queue._sql
        for name, arguments in _OF_A_QUEUE.items():
            yield f"{queue.table.name}: {name}", statements[name], arguments
    yield "set aside", Query(queue_tables._SET_ASIDE_COUNTS), {}


@pytest.mark.slow
async def test_hot_queries_look_only_at_what_is_open(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(_FILL)
        await connection.execute("ANALYZE")
        for title, query, values in _queries():
            sql, *arguments = query(**values)
            # Prepared statements get a generic plan in the end: it must be as good.
            for mode in ("force_generic_plan", "force_custom_plan"):
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
                    await connection.execute(f"PREPARE hot AS {sql}")
                    call = f"EXECUTE hot({', '.join(map(str, arguments))})" if arguments else "EXECUTE hot"
                    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT json) {call}")
                    await connection.execute("DEALLOCATE hot")
                scanned = _scanned(json.loads(explained)[0]["Plan"])
                assert scanned <= _MOST_ROWS, (title, mode, explained)


@pytest.mark.slow
async def test_whether_results_are_refused_alike_is_told_by_the_latest_of_them(
    pod_database: PodDatabase,
) -> None:
    """It read every result and every task there ever was, a third of a second among 200,000."""
    alike = _QUERIES["refused_alike"](task=7, words="")[0], "(7, 'words')", 2 * 5_000 + _MOST_ROWS
    # And whether tasks were completed by hand, as a callback wants to know that was told of twice.
    by_hand = duplicates._QUERIES["by_hand"](tasks=[7])[0], "('{7,8}')", _MOST_ROWS
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(_FILL)
        await connection.execute(
            "SET session_replication_role = replica;"
            "INSERT INTO runner_manager_task (id, type, status, date_added, runner_manager_id, task_id)"
            " OVERRIDING SYSTEM VALUE SELECT n, 'encoding', 'completed', now(), n % 3, 'task-' || n"
            f" FROM generate_series(1, {_SETTLED}) AS n; RESET session_replication_role"
        )
        await connection.execute("ANALYZE")
        for mode in ("force_generic_plan", "force_custom_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            for sql, arguments, most in (alike, by_hand):
                await connection.execute(f"PREPARE asked AS {sql}")
                explain = f"EXPLAIN (ANALYZE, FORMAT json) EXECUTE asked{arguments}"
                explained = await connection.fetchval(explain)
                await connection.execute("DEALLOCATE asked")
                assert _scanned(json.loads(explained)[0]["Plan"]) <= most, (mode, explained)


async def test_runs_that_were_let_go_of_are_looked_for_without_reading_what_was_purged(
    pod_database: PodDatabase,
) -> None:
    """Whether Pod's table has any row was read from its beginning: half a second after a purge of 500,000."""
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(
            "SET session_replication_role = replica;"
            "ALTER TABLE runner_manager_task SET (autovacuum_enabled = false);"
            "INSERT INTO runner_manager_task (type, status, date_added, task_id)"
            f" SELECT 'encoding', 'completed', now(), 'task-' || n FROM generate_series(1, {_SETTLED}) AS n;"
            f"DELETE FROM runner_manager_task WHERE id < {_SETTLED}; RESET session_replication_role"
        )
        query = unwanted_runs._QUERIES["add_let_go"]()[0]
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {query}")
        plan = json.loads(explained)[0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100, explained


@pytest.mark.parametrize("runs", ["one for all", "one for each"])
async def test_a_source_of_a_thousand_completed_tasks_is_looked_at_once(
    pod_database: PodDatabase, runs: str
) -> None:
    """Whether each was imported was looked for among all of them: with five thousand it took 20 seconds."""
    number = "1" if runs == "one for all" else "n"
    who = "n % 1000 = 1" if runs == "one for all" else "true"
    series = "FROM generate_series(1, 1000) AS n"
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(
            "SET session_replication_role = replica;"
            "INSERT INTO runner_manager_task"
            " (id, type, status, date_added, video_id, runner_manager_id, task_id) OVERRIDING SYSTEM VALUE"
            f" SELECT n, 'encoding', 'completed', now(), 7, 3, 'task-' || {number} {series};"
            "INSERT INTO poddispatchd.submission"
            " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
            f" SELECT n, 'encoding', 3, 1, '{{}}', 'accepted', 'task-' || n, now() {series} WHERE {who};"
            "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
            f" SELECT n, 3, 'task-' || n, 'done', now() {series} WHERE {who};"
            "RESET session_replication_role; ANALYZE"
        )
        queries = duplicates._QUERIES
        for sql, *arguments in (
            queries["ended"](task=0, type="encoding", video=7, recording=None),
            queries["of_later"](task=1),
        ):
            explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT json) {sql}", *arguments)
            assert _scanned(json.loads(explained)[0]["Plan"]) <= 20 * 1000, sql


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

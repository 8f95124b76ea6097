"""One of two clocks is put forward: nothing is given up that only that clock calls old.

A fail-over to a machine with a wrong clock does it to the database's, a start without a time server to ours.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.inbox import RecordedCallback
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.domain.availability import Pause, pause_at
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.imports import queue
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal import failures, observations, pauses, scheduling, submissions, unwanted_runs
from poddispatchd.journal.observations import Sighting
from poddispatchd.runtime.queue_tables import CALLBACKS, IMPORTS
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_AGED = (
    "INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk, since)"
    " VALUES (1, 't-1', 1, $1)",
    "INSERT INTO poddispatchd.sighting (task_pk, task_id, seen_at, missing_runner, missing_since)"
    " VALUES (1, 't-1', $1, 'http://runner', $1)",
    "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, obstructed_since)"
    " VALUES (1, 1, 't-1', $1)",
    "INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest, unanswered_since)"
    " VALUES (ARRAY[1::bigint], 't-1', 'failed', sha256('1'), $1)",
    "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, created_at)"
    " VALUES (1, 'encoding', 1, 1, '{}', $1)",
    "INSERT INTO poddispatchd.failure (task_pk, runner_manager_id, task_id, failed_at)"
    " VALUES (1, 1, 't-1', $1)",
    "INSERT INTO poddispatchd.planned_pause (runner_manager_id, begins_at, ends_at)"
    " VALUES (1, $1::timestamptz - interval '1 hour', $1::timestamptz + interval '30 hours')",
)
"""One of everything that has an age, which it has since the moment $1."""


@pytest.fixture
async def connection(pod_database: PodDatabase) -> AsyncIterator[Connection]:
    async with opened(pod_database) as database:
        await migration.upgrade(database)
    async with pod_database.connection() as connection:
        yield connection


async def _ages(connection: Connection, since: datetime, ours: datetime) -> tuple[list[float], int, int, int]:
    """All ages; how many runs are not forgotten, failures asked about and pauses known."""
    for statement in _AGED:
        await connection.execute(statement, since)
    seen = (await observations.see(connection, {TaskPk(1): Sighting("t-1", None)}, ours=ours))[TaskPk(1)]
    [imported] = await IMPORTS.claim(connection, "here", 1)
    [called] = await CALLBACKS.claim(connection, "here", 1)
    [intent] = await submissions.open_submissions(connection, ours=ours)
    ages = [
        seen.age,
        seen.missing_for,
        await queue.obstructed_for(connection, ImportJob.of(imported), ours=ours),
        await inbox.unanswered_for(connection, RecordedCallback.of(called), ours=ours),
        intent.age,
    ]
    forgotten = await unwanted_runs.forget_old(connection, ours=ours)
    asked = await failures.recent_failures(connection, hours=24, limit=9, excluding=(), ours=ours)
    memories = await scheduling.manager_memories(connection)
    return ages, 1 - len(forgotten), len(asked), sum(len(one.pauses) for one in memories.values())


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "the database's"])
async def test_one_clock_that_is_put_forward_makes_nothing_old(connection: Connection, is_ours: bool) -> None:
    now: datetime = await connection.fetchval("SELECT now()")
    # To put the server's forward is to have everything, and our clock, stay behind it.
    forward = timedelta(days=1, hours=6)
    since, ours = (now, now + forward) if is_ours else (now - forward, now - forward)
    ages, kept, asked, pauses = await _ages(connection, since, ours)
    assert max(ages) < 600
    assert (kept, asked, pauses) == (1, 1, 1)


async def test_what_both_clocks_call_old_is(connection: Connection) -> None:
    now: datetime = await connection.fetchval("SELECT now()")
    ages, kept, asked, _ = await _ages(connection, now - timedelta(hours=25), now)
    assert min(ages) > 24 * 3600
    assert (kept, asked) == (0, 0)


@pytest.mark.parametrize("behind", [timedelta(hours=1), timedelta(days=400)], ids=["by an hour", "by a year"])
@pytest.mark.parametrize("age", [0, 1500])
async def test_our_clock_that_is_behind_makes_nothing_younger_than_it_is(
    connection: Connection, age: int, behind: timedelta
) -> None:
    """What was submitted a moment ago seemed to come from the future: a single pass gave it to another
    manager, and two worked on it. What nobody answered for never grew old."""
    now: datetime = await connection.fetchval("SELECT now()")
    ages, *_ = await _ages(connection, now - timedelta(seconds=age), now - behind)
    assert [age - 1 < found < age + 60 for found in ages] == [True] * 5


@pytest.mark.parametrize("behind", [timedelta(minutes=5), timedelta(hours=-30)], ids=["behind", "ahead"])
async def test_a_manager_that_a_person_resumes_gets_tasks_at_once_whatever_our_clock_says(
    connection: Connection, behind: timedelta
) -> None:
    """Its pause ended at a moment of the database's clock: a daemon whose own was behind kept to it."""
    now: datetime = await connection.fetchval("SELECT now()")
    manager = ManagerId(1)
    ours = now - behind
    await pauses.plan(
        connection, manager, begins=min(now, ours) - timedelta(hours=1), ends=ours + timedelta(hours=9)
    )
    held = await _pause_of(connection, manager, ours)

    await pauses.resume(connection, manager)

    assert held is not None
    assert await _pause_of(connection, manager, ours) is None


async def _pause_of(connection: Connection, manager: ManagerId, ours: datetime) -> Pause | None:
    memories = await scheduling.manager_memories(connection)
    return pause_at(memories[manager].pauses if manager in memories else (), ours)

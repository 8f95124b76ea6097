"""What a submission reads of Pod's tasks after years: its own rows and those of its sources."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import cast

import asyncpg
import pytest
import pytest_asyncio

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.dispatch.intents import IntentRequest, open_intents
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, RunnerTaskId, SiteId, Task, TaskPk, TaskType
from poddispatchd.journal import scheduling, submissions
from poddispatchd.pod.tasks import get_task
from poddispatchd.sandbox.postgresql import PostgresServer
from poddispatchd.tasks.accepted_runs import AcceptedRun, store_accepted
from tests.integration.journal.writing import add_intent
from tests.integration.pod.years import FINISHED, PENDING, SOURCES, rows_read, years_of_tasks
from tests.plugins.postgres import PodDatabase

_OF_SOURCE = (FINISHED + PENDING) // SOURCES
_NEWEST = 1000
_PAYLOAD = Payload("Pod", "4.2.0", TaskType.ENCODING, "https://pod/1.mp4", "https://pod/notify/", ())
_MODES = ("force_generic_plan", "force_custom_plan")


class _Explaining:
    """A connection that has PostgreSQL carry out what it fetches and tell how, and keeps nothing of it."""

    def __init__(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        mode: str,
        table: str = "runner_manager_task",
    ) -> None:
        self._connection = connection
        self._mode = mode
        self._table = table
        self.read = 0.0

    async def fetch(self, query: str, *arguments: object) -> list[object]:
        await self._connection.execute(f"SET plan_cache_mode = {self._mode}")
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            [row] = await self._connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
        finally:
            await transaction.rollback()
        self.read += rows_read(cast("Mapping[str, object]", json.loads(row[0])[0]["Plan"]), self._table)
        raise _ExplainedError


class _ExplainedError(Exception):
    """The statement was explained; it has no rows to go on with."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def old_pod(postgres: PostgresServer) -> AsyncIterator[PodDatabase]:
    async with years_of_tasks(postgres) as database:
        yield database


async def _waiting(connection: Connection, count: int) -> list[Task]:
    """Tasks of different videos that wait, the oldest of theirs."""
    rows = await connection.fetch(
        "SELECT max(id) AS id FROM runner_manager_task WHERE status = 'pending' AND type = 'encoding'"
        " GROUP BY video_id ORDER BY video_id LIMIT $1",
        count,
    )
    found = [await get_task(connection, TaskPk(row["id"])) for row in rows]
    return [task for task in found if task is not None]


@pytest.mark.slow
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("count", [1, 20])
async def test_an_intent_reads_the_tasks_of_its_source_and_no_others(
    old_pod: PodDatabase, count: int, mode: str
) -> None:
    async with old_pod.connection() as connection:
        requests = [
            IntentRequest(task, ManagerId(1), _PAYLOAD, term=0) for task in await _waiting(connection, count)
        ]
        assert len(requests) == count
        explaining = _Explaining(connection, mode)
        with pytest.raises(_ExplainedError):
            await open_intents(cast("Connection", explaining), requests)
        assert count <= explaining.read <= count * (_OF_SOURCE + 10)


@pytest.mark.slow
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("count", [1, 20])
async def test_an_acceptance_reads_the_tasks_of_its_source_a_few_times_and_the_newest_ones(
    old_pod: PodDatabase, count: int, mode: str
) -> None:
    async with old_pod.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        site = SiteId(await connection.fetchval("SELECT id FROM django_site LIMIT 1"))
        manager_id = ManagerId(await connection.fetchval("SELECT min(id) FROM runner_manager"))
        manager = RunnerManager(manager_id, "first", 1, "https://first", SecretStr("t"), site)
        runs = [
            AcceptedRun(
                task,
                manager,
                await add_intent(connection, task, manager.id, body=_PAYLOAD.to_bytes()),
                RunnerTaskId(f"new-{task.pk}"),
                "/media/out",
            )
            for task in await _waiting(connection, count)
        ]
        explaining = _Explaining(connection, mode)
        with pytest.raises(_ExplainedError):
            await store_accepted(cast("Connection", explaining), runs, now=datetime.now(UTC))
        # Each by its key: to see whether one runs, and whether one has the id.
        assert count <= explaining.read <= count * (_NEWEST + 6 * _OF_SOURCE)
        assert len(await submissions.open_submissions(connection)) == count
        await transaction.rollback()


@pytest.mark.slow
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("not_before", ["NULL", "now() - interval '1 day'"])
async def test_a_look_at_the_queue_reads_the_new_tasks_of_ours_and_those_that_wait(
    old_pod: PodDatabase, mode: str, not_before: str
) -> None:
    """After a restart of a million failed tasks it read as many rows, each time: 0.3 s."""
    async with old_pod.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO poddispatchd.own_task (task_pk, added_at, not_before)"
            f" SELECT n, now() - interval '2 days', {not_before} FROM generate_series(1, 100000) AS n;"
            "INSERT INTO poddispatchd.own_task (task_pk) VALUES (200001);"
            "INSERT INTO poddispatchd.own_task (task_pk, added_at, not_before)"
            " VALUES (200002, now() - interval '2 days', now() + interval '1 minute');"
            "ANALYZE poddispatchd.own_task"
        )
        explaining = _Explaining(connection, mode, "own_task")
        with pytest.raises(_ExplainedError):
            await scheduling.new_own_tasks(cast("Connection", explaining), within=90.0)
        await transaction.rollback()
        assert 2 <= explaining.read <= 10


_LOCKS: Mapping[str, Mapping[str, object]] = {
    "task": {"task": 7},
    "video": {"task": 7},
    "recording": {"task": 7},
    "step": {"task": 7},
    "log": {"task": 7},
    "unfinished": {"tasks": list(range(1, 501))},
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("name", _LOCKS)
async def test_a_look_for_locked_rows_finds_them_by_their_keys(
    old_pod: PodDatabase, name: str, mode: str
) -> None:
    async with old_pod.connection() as connection:
        explaining = _Explaining(connection, mode)
        with pytest.raises(_ExplainedError):
            await explaining.fetch(*load_queries("poddispatchd.pod", "locks.sql")[name](**_LOCKS[name]))
        assert 1 <= explaining.read <= 500


def test_no_statement_about_locked_rows_is_left_out() -> None:
    # The sessions are the server's, and the first candidates are read off the table in one reading.
    elsewhere = {"blockers", "holders", "tables", "candidates"}
    parts = {"of_holder", "holder", "is_of_another"}
    assert load_queries("poddispatchd.pod", "locks.sql").keys() == _LOCKS.keys() | elsewhere | parts

"""The first start at a Pod that has run for years: what was is learnt by short statements, and once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from poddispatchd.database.connections import GuardedConnection
from poddispatchd.domain.task import TaskStatus
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.maintenance.history_fill import fill
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.imports.bench import Bench, bench
from tests.integration.pod.rows import opened
from tests.integration.pod.years import FINISHED, rows_read, years_of_tasks
from tests.plugins.postgres import PodDatabase

_BATCH = FINISHED // 10


@contextmanager
def statements_seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How many of Pod's tasks each statement reads."""
    read: list[float] = []

    def explaining(name: str) -> None:
        original = getattr(GuardedConnection, name)

        async def explained(self: GuardedConnection, query: str, *arguments: object) -> object:
            if "runner_manager_task" in query:
                raw = self._raw
                transaction = raw.transaction()
                await transaction.start()
                plan = await raw.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
                await transaction.rollback()
                read.append(rows_read(json.loads(plan)[0]["Plan"]))
            return await original(self, query, *arguments)

        patched.setattr(GuardedConnection, name, explained)

    with monkeypatch.context() as patched:
        for name in ("execute", "fetch", "fetchval"):
            explaining(name)
        yield read


@pytest.mark.slow
async def test_no_statement_reads_all_the_tasks_of_years(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that took longer than a statement may was cut off, and begun anew, for ever."""
    async with years_of_tasks(postgres) as pod, opened(pod) as database:
        with statements_seen(monkeypatch) as read:
            await fill(database, "Europe/Paris", batch=_BATCH)
        async with database.connection() as connection:
            told = await connection.fetchval("SELECT sum(completed + failed) FROM poddispatchd.day_of_tasks")

    assert told == FINISHED
    assert len(read) >= 2 * 10
    # Those of a window, and no others.
    assert max(read) <= 2 * _BATCH


async def _learnt(here: Bench) -> tuple[object, object]:
    """The runs one by one, and the sums of days, without what tells when they were written."""
    runs = (
        "SELECT array_agg((task_pk, task_type, status, ran) ORDER BY task_pk)::text"
        " FROM poddispatchd.ended_run"
    )
    days = "SELECT array_agg(day_of_tasks ORDER BY day, task_type)::text FROM poddispatchd.day_of_tasks"
    return await here.value(runs), await here.value(days)


async def test_who_is_cut_off_anywhere_begins_again_and_counts_nothing_twice(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(pod_database, media_root) as here:
        ended = [
            await here.running(status=status) for status in (TaskStatus.COMPLETED, TaskStatus.FAILED) * 3
        ]
        await here.execute("UPDATE runner_manager_task SET date_added = now() - id * interval '9 days'")
        await here.execute(
            "INSERT INTO poddispatchd.submission"
            " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
            " SELECT id, type, runner_manager_id, 1, 'x', 'accepted', task_id, now() - interval '1 hour'"
            " FROM runner_manager_task WHERE id = ANY ($1)",
            ended[1:],
        )
        await here.execute(
            "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
            " SELECT id, runner_manager_id, task_id, 'done', now() - interval '50 minutes'"
            " FROM runner_manager_task WHERE id = ANY ($1)",
            ended[1:],
        )
        database = here.parts.database
        await fill(database, "Europe/Paris", batch=100)
        whole = await _learnt(here)
        await here.execute("TRUNCATE poddispatchd.ended_run, poddispatchd.day_of_tasks")

        for left in count():
            try:
                with _lost_after(left, monkeypatch):
                    await fill(database, "Europe/Paris", batch=2)
            except DatabaseUnavailableError:
                continue
            break

        assert left > 10
        assert await _learnt(here) == whole
        assert str(whole[0]).count("completed") == 2


@contextmanager
def _lost_after(statements: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The database is lost after so many statements."""
    left = [statements]

    def losing(name: str) -> None:
        original = getattr(GuardedConnection, name)

        async def lost(self: GuardedConnection, query: str, *arguments: object) -> object:
            if not left[0]:
                raise DatabaseUnavailableError
            left[0] -= 1
            return await original(self, query, *arguments)

        patched.setattr(GuardedConnection, name, lost)

    with monkeypatch.context() as patched:
        for name in ("execute", "fetch", "fetchval"):
            losing(name)
        yield

"""However much there is to be purged: no statement reads a whole table, or deletes much at once."""

import json
from collections.abc import Iterator, Mapping

import asyncpg
import pytest

from poddispatchd.config.model import RetentionSettings
from poddispatchd.database import migration
from poddispatchd.journal import history
from poddispatchd.maintenance import journal_purge
from tests.integration.dispatch.scene import HandClock
from tests.integration.pod.rows import opened
from tests.integration.pod.years import nodes
from tests.plugins.postgres import PodDatabase

_ROWS = 20_000
_BATCH = 500
_MOST = 8 * _BATCH
"""Rows that a statement may look at: those of a batch, some of them in several tables."""

_LONG_AGO = "now() - interval '1000 days'"

_FILL = f"""
    SET session_replication_role = replica;
    INSERT INTO runner_manager_task (type, status, task_id, date_added)
    SELECT 'encoding', 'completed', 'task-' || n, now() FROM generate_series(1, {_ROWS}) AS n;
    DELETE FROM runner_manager_task WHERE id % 100 = 7;
    RESET session_replication_role;
    INSERT INTO poddispatchd.submission
        (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)
    SELECT n, 'encoding', 1, 1, 'x', 'accepted', 'task-' || n, now() - interval '2 days'
      FROM generate_series(1, {_ROWS}) AS n;
    INSERT INTO poddispatchd.callback
        (runner_manager_ids, task_id, status, digest, state, handled_at)
    SELECT '{{1}}', 'task-' || n, 'failed', '', 'applied', now() - interval '2 days'
      FROM generate_series(1, {_ROWS}) AS n;
    INSERT INTO poddispatchd.callback
        (runner_manager_ids, task_id, status, digest, state, handled_at)
    SELECT '{{1}}', 'task-' || n, 'failed', '', 'set_aside', now() - interval '2 days'
      FROM generate_series({_ROWS} - 7, {_ROWS} + 7) AS n;
    INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)
    SELECT n, 1, 'task-' || n, 'done', now() - interval '2 days' FROM generate_series(1, {_ROWS}) AS n;
    INSERT INTO poddispatchd.delivery (channel, task_pk, state, settled_at)
    SELECT 'mail', n, 'done', now() - interval '2 days' FROM generate_series(1, {_ROWS}) AS n;
    INSERT INTO poddispatchd.notice (event, task_pk, task_type, state, settled_at)
    SELECT 'failed', n, 'encoding', 'set_aside', now() - interval '2 days'
      FROM generate_series(1, {_BATCH}) AS n;
    INSERT INTO poddispatchd.own_task (task_pk, added_at)
    SELECT n, {_LONG_AGO} FROM generate_series(1, 3 * {_BATCH}) AS n;
    INSERT INTO poddispatchd.dismissed_failure (task_pk, date_added, dismissed_at, actor)
    SELECT n, now(), {_LONG_AGO}, 'x' FROM generate_series(1, 3 * {_BATCH}) AS n;
    INSERT INTO poddispatchd.overtaking (task_pk, task_type, priority, date_added, share, begun_at)
    SELECT n, 'encoding', 1, now(), 1, {_LONG_AGO} FROM generate_series(1, 3 * {_BATCH}) AS n;
    INSERT INTO poddispatchd.campaign (name, task_type, at_most, created_by, changed_by, state, changed_at)
    VALUES ('anew', 'encoding', 1, 'x', 'x', 'done', {_LONG_AGO});
    INSERT INTO poddispatchd.campaign_video (campaign_id, place, video_id, state)
    SELECT campaign.id, n, n, 'completed'
      FROM poddispatchd.campaign, generate_series(1, 3 * {_BATCH}) AS n;
    ANALYZE;
"""

_SOME = f"""
    INSERT INTO poddispatchd.submission
        (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)
    SELECT n, 'encoding', 1, 1, 'x', 'accepted', 'task-' || n, now() - interval '2 days'
      FROM generate_series(1, 60) AS n;
    INSERT INTO poddispatchd.own_task (task_pk, added_at)
    SELECT n, {_LONG_AGO} FROM generate_series(1, 60) AS n;
    INSERT INTO poddispatchd.dismissed_failure (task_pk, date_added, dismissed_at, actor)
    SELECT n, now(), {_LONG_AGO}, 'x' FROM generate_series(1, 30) AS n;
    INSERT INTO poddispatchd.overtaking (task_pk, task_type, priority, date_added, share, begun_at)
    SELECT n, 'encoding', 1, now(), 1, {_LONG_AGO} FROM generate_series(1, 30) AS n;
"""
"""Submissions of tasks that Pod has deleted, and what has had its time."""


class _Watched:
    """A connection; each of its statements is explained before it is carried out."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.told: list[str] = []

    async def execute(self, sql: str, *arguments: object) -> str:
        await self._explain(sql, *arguments)
        return await self._connection.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        await self._explain(sql, *arguments)
        return await self._connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        await self._explain(sql, *arguments)
        return await self._connection.fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: object) -> object:
        await self._explain(sql, *arguments)
        return await self._connection.fetchval(sql, *arguments)

    async def _explain(self, sql: str, *arguments: object) -> None:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            text = await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
        finally:
            await transaction.rollback()
        plan = json.loads(text)[0]["Plan"]
        read = sum(_looked_at(plan))
        if read > _MOST:
            self.told.append(f"{read} rows: {sql}")


def _looked_at(plan: Mapping[str, object]) -> Iterator[float]:
    """The rows that each node looked at in a table, those it threw away included."""
    for node in nodes(plan):
        if "Relation Name" in node and node["Node Type"] != "ModifyTable":
            removed = node.get("Rows Removed by Filter", 0)
            yield (float(str(node["Actual Rows"])) + float(str(removed))) * float(str(node["Actual Loops"]))


class _Counting:
    """A connection whose statements are counted."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.statements = 0

    async def execute(self, sql: str, *arguments: object) -> str:
        self.statements += 1
        return await self._connection.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        self.statements += 1
        return await self._connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        self.statements += 1
        return await self._connection.fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: object) -> object:
        self.statements += 1
        return await self._connection.fetchval(sql, *arguments)


async def test_a_purge_whose_time_is_over_is_gone_on_with_by_the_next_and_nobody_is_kept_from_a_turn(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had no limit: with a slow database it kept ranks and figures waiting, until it was stuck."""

    async def endless(*_: object, **__: object) -> bool:
        await counting.execute("SELECT")
        return True

    monkeypatch.setattr(history, "purge", endless)
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(_SOME)
        counting = _Counting(connection)
        turns, purges = journal_purge.Turns(), 0
        tables = ("submission", "own_task", "dismissed_failure", "overtaking")
        left = f"SELECT {' + '.join(f'(SELECT count(*) FROM poddispatchd.{table})' for table in tables)}"
        while await connection.fetchval(left):
            counting.statements = 0
            await journal_purge.purge(
                counting,  # type: ignore[arg-type]  # what it uses
                days=90,
                batch=5,
                turns=turns,
                is_over=lambda: counting.statements >= 10,
            )
            assert counting.statements <= 12
            purges += 1
            assert purges < 30


class _Chance(HandClock):
    """A clock of a process that is given this number when it asks for one at random."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self._number = number

    def random(self) -> float:
        return self._number


async def test_single_passes_that_remember_nothing_do_not_all_begin_with_what_never_ends(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each began anew with the first table, and ended with the same: what stood behind was kept for ever."""

    async def endless(*_: object, **__: object) -> bool:
        clock.advance(100.0)
        return True

    monkeypatch.setattr(history, "purge", endless)
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(_SOME)
        left = "SELECT count(*) FROM poddispatchd.overtaking"
        for number in (0.0, 0.999):
            clock = _Chance(number)
            assert await connection.fetchval(left) > 0
            await journal_purge.JournalPurge(database, RetentionSettings, clock).purge()
        assert await connection.fetchval(left) == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_no_statement_of_the_purge_looks_at_more_than_some_rows(
    pod_database: PodDatabase, mode: str
) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(_FILL)
        await connection.execute(f"SET plan_cache_mode = {mode}")
        watched = _Watched(connection)
        await journal_purge.purge(watched, days=90, batch=_BATCH)  # type: ignore[arg-type]  # what it uses
        assert watched.told == []
        for table in ("submission", "import", "delivery", "notice"):
            left = f"SELECT count(*) FILTER (WHERE task_pk % 100 = 7), count(*) FROM poddispatchd.{table}"
            known = _BATCH if table == "notice" else _ROWS
            assert tuple(await connection.fetchrow(left) or ()) == (0, known - known // 100), table
        aside = "SELECT array_agg(task_id ORDER BY id) FROM poddispatchd.callback WHERE state = 'set_aside'"
        assert await connection.fetchval(aside) == [f"task-{_ROWS - n}" for n in range(7, -1, -1)]
        for table in ("own_task", "dismissed_failure", "overtaking", "campaign", "campaign_video"):
            assert await connection.fetchval(f"SELECT count(*) FROM poddispatchd.{table}") == 0, table

"""What is kept of the past stays small, however many tasks have ended."""

from collections.abc import Iterable
from datetime import UTC, date, datetime

import pytest

from poddispatchd.database import migration
from poddispatchd.domain.report import DayFigures, PeriodReport
from poddispatchd.journal import history
from poddispatchd.journal.history_sums import by_day
from poddispatchd.maintenance.history_fill import fill
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.pod.rows import opened
from tests.integration.pod.years import FINISHED, years_of_tasks
from tests.plugins.postgres import PodDatabase

_MOST = 50 * 2**20
_ROUNDS = 12
_TABLES = (
    "ended_run",
    "day_of_tasks",
    "overtaking",
    "campaign",
    "campaign_video",
    "pause",
    "told",
    "dismissal",
)
"""All that foresight keeps, with what people dismissed and planned."""


def _weeks(days: Iterable[DayFigures]) -> tuple[DayFigures, ...]:
    """As a report shows them."""
    now = datetime.now(UTC)
    return PeriodReport(now, now, (), (), (), (), tuple(days)).weeks


async def test_sums_of_days_become_those_of_weeks_and_nothing_of_them_is_lost(
    pod_database: PodDatabase,
) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(
            "INSERT INTO poddispatchd.day_of_tasks (day, task_type, runner_manager_id, completed, ran)"
            " SELECT current_date - n, 'encoding', n % 2, n, 2.5 FROM generate_series(0, 300) AS n"
        )
        first = date(2000, 1, 1)
        before = _weeks(await by_day(connection, first))

        for _ in range(2):
            while await history.purge(connection, batch=100):
                pass

        after = await by_day(connection, first)
        assert _weeks(after) == before
        assert 101 <= len(after) < 145


@pytest.mark.slow
async def test_years_of_finished_tasks_leave_less_than_50_megabytes(postgres: PostgresServer) -> None:
    """Filled at the first start from Pod's table, then by more runs than are kept."""
    assert FINISHED >= 2 * history.MOST_RUNS
    async with years_of_tasks(postgres) as pod, pod.connection() as connection:
        async with opened(pod) as database:
            await fill(database, "Europe/Paris")
        for _ in range(_ROUNDS):
            await connection.execute(
                "INSERT INTO poddispatchd.ended_run"
                " (task_pk, task_type, status, runner_manager_id, owner_id, priority, waited, ran,"
                " source_seconds, source_bytes, ended_at)"
                " SELECT n, 'encoding', 'completed', n % 100, n % 5000, 1, 60.5, 600.25, 3600, 7000000, now()"
                " FROM generate_series(1, $1) AS n",
                history.MOST_RUNS // 10,
            )
            while await history.purge(connection, batch=10_000):
                pass
            await connection.execute("VACUUM poddispatchd.ended_run")  # as autovacuum does
        # The sums of managers that were busy with everything every day, for as long as they are kept.
        await connection.execute(
            "INSERT INTO poddispatchd.day_of_tasks (day, task_type, runner_manager_id, completed)"
            " SELECT current_date - n, type, manager, 1 FROM generate_series(0, 800) AS n,"
            " unnest('{encoding,transcription,studio}'::text[]) AS type, generate_series(1, 100) AS manager"
            " WHERE n < 100 OR extract(isodow FROM current_date - n) = 1 ON CONFLICT DO NOTHING"
        )

        sizes = {
            row["name"]: row["size"]
            for row in await connection.fetch(
                "SELECT relname::text AS name, pg_total_relation_size(oid) AS size FROM pg_class"
                " WHERE relnamespace = 'poddispatchd'::regnamespace AND relkind = 'r' AND relname = ANY ($1)",
                list(_TABLES),
            )
        }
        days = await connection.fetchval("SELECT count(*) FROM poddispatchd.day_of_tasks")
        runs = await connection.fetchval("SELECT count(*) FROM poddispatchd.ended_run")

    assert days > 10_000
    assert runs <= history.MOST_RUNS
    assert sum(sizes.values()) < _MOST, sizes

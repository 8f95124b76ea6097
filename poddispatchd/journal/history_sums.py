"""Sums of what tasks took, for reports."""

from datetime import date, datetime

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.report import DayFigures, TypeFigures
from poddispatchd.domain.run_times import EndedRun
from poddispatchd.domain.task import ManagerId

_QUERIES = load_queries(__package__, "history_sums.sql")


async def by_type(connection: Connection, since: datetime, until: datetime) -> list[TypeFigures]:
    """Tasks of each type that ended within a period."""
    rows = await connection.fetch(*_QUERIES["by_type"](since=since, until=until))
    return [
        TypeFigures(
            type=row["task_type"],
            completed=row["completed"],
            failed=row["failed"],
            wait_middle=row["wait_middle"],
            wait_long=row["wait_long"],
            run_middle=row["run_middle"],
            run_long=row["run_long"],
            ran=row["ran"],
            source_seconds=row["source_seconds"],
        )
        for row in rows
    ]


async def by_manager(
    connection: Connection, since: datetime, until: datetime
) -> list[tuple[ManagerId | None, int, int, float]]:
    """Of each runner manager, None for none: tasks completed and failed, and seconds of work."""
    rows = await connection.fetch(*_QUERIES["by_manager"](since=since, until=until))
    return [(row["runner_manager_id"], row["completed"], row["failed"], row["ran"]) for row in rows]


async def by_owner(
    connection: Connection, since: datetime, until: datetime, *, limit: int
) -> list[tuple[int, int, float]]:
    """The busiest owners: user, tasks and seconds of work."""
    rows = await connection.fetch(*_QUERIES["by_owner"](since=since, until=until, limit=limit))
    return [(row["owner_id"], row["tasks"], row["ran"]) for row in rows]


async def runs_of_period(connection: Connection, since: datetime, until: datetime) -> list[EndedRun]:
    """The runs that ended within a period, at most the last 20,000."""
    rows = await connection.fetch(*_QUERIES["runs_of_period"](since=since, until=until))
    return [EndedRun(row["task_type"], row["ran"], row["ended_at"], row["runner_manager_id"]) for row in rows]


async def by_day(connection: Connection, first: date) -> list[DayFigures]:
    """The days since the first one on which tasks ended, the oldest first."""
    rows = await connection.fetch(*_QUERIES["by_day"](first=first))
    return [DayFigures(row["day"], row["completed"], row["failed"], row["ran"]) for row in rows]

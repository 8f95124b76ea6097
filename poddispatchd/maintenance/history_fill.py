"""Learning what was before the first start of all, in statements that are all short.

Runs are kept as they are found. The sums of days come last, all at once: they tell that it is done. Whoever
is cut off before begins again, and finds nothing twice.
"""

from collections import Counter
from datetime import date
from typing import TypeAlias

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.journal import history
from poddispatchd.maintenance.erasure import windows
from poddispatchd.pod import tasks

_QUERIES = load_queries("poddispatchd.maintenance", "history_fill.sql")

_BATCH = 5000
"""Rows that a statement looks at: some hundredths of a second."""

_Day: TypeAlias = tuple[date, str, int]
"""A day, a type and a runner manager, 0 for none: as many as are kept, however many tasks there are."""


async def fill(database: Database, time_zone: str, *, batch: int = _BATCH) -> None:
    """Learn from the journal and Pod's tables what was before, unless that is done.

    Args:
        database: Pod's; no connection is kept from one statement to the next.
        time_zone: in which a day begins.
        batch: rows that a statement looks at.
    """
    async with database.connection() as connection:
        if not await history.is_empty(connection):
            return
    await _fill_runs(database, batch=batch)
    completed, failed = await _days(database, time_zone, batch=batch)
    days = sorted(completed.keys() | failed.keys())
    async with database.connection() as connection:
        await connection.execute(
            *_QUERIES["fill_days"](
                days=[day for day, _, _ in days],
                types=[kind for _, kind, _ in days],
                managers=[manager for _, _, manager in days],
                completed=[completed[day] for day in days],
                failed=[failed[day] for day in days],
                time_zone=time_zone,
            )
        )


async def _fill_runs(database: Database, *, batch: int) -> None:
    async def next_window(after: int) -> int | None:
        async with database.connection() as connection:
            up_to: int | None = await connection.fetchval(
                *_QUERIES["next_submissions"](after=after, limit=batch)
            )
            return up_to

    async for after, up_to in windows(next_window):
        async with database.connection() as connection:
            await connection.execute(*_QUERIES["fill_runs"](after=after, up_to=up_to, days=history.RUN_DAYS))
    async with database.connection() as connection:
        while await history.purge(connection, batch=batch):
            pass


async def _days(database: Database, time_zone: str, *, batch: int) -> tuple[Counter[_Day], Counter[_Day]]:
    """How many tasks were completed, and failed."""

    async def next_window(after: int) -> int | None:
        async with database.connection() as connection:
            return await tasks.next_window(connection, after, limit=batch)

    completed: Counter[_Day] = Counter()
    failed: Counter[_Day] = Counter()
    async for after, up_to in windows(next_window):
        async with database.connection() as connection:
            rows = await connection.fetch(
                *_QUERIES["days"](
                    after=after,
                    up_to=up_to,
                    time_zone=time_zone,
                    days=history.DAYS,
                    day_by_day=history.DAY_BY_DAY,
                )
            )
        for row in rows:
            day = (row["day"], row["task_type"], row["manager"])
            completed[day] += row["completed"]
            failed[day] += row["failed"]
    return completed, failed

"""What tasks took: the latest runs one by one, and sums by day; both bounded."""

from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.run_times import EndedRun, SourceSize
from poddispatchd.domain.task import ManagerId, TaskPk

_QUERIES = load_queries(__package__, "history.sql")

MOST_RUNS = 100_000
"""Runs kept one by one: a few weeks of the busiest Pod, in about 20 MB."""

RUN_DAYS = 35
"""Days after which a run is forgotten."""

DAYS = 800
"""Days after which the sums of a day are."""

DAY_BY_DAY = 100
"""Days of which the sums are kept one by one; older ones are kept by weeks, as reports show them."""


class HistoryEntry(Struct, frozen=True):
    """A task that has ended; ``waited`` and ``ran`` are in seconds, None where that was not seen.

    ``at`` is when, as far as it is known better than by the look that saw it.
    """

    pk: TaskPk
    type: str
    status: str
    manager: ManagerId | None
    waited: float | None
    ran: float | None
    owner: int | None = None
    priority: int = 1
    source: SourceSize = SourceSize()
    at: datetime | None = None


async def record(connection: Connection, tasks: Sequence[HistoryEntry], at: datetime, time_zone: str) -> None:
    """Keep tasks that have ended, in one statement; those that are kept already are not counted again."""
    await connection.execute(
        *_QUERIES["record"](
            tasks=[task.pk for task in tasks],
            types=[task.type for task in tasks],
            statuses=[task.status for task in tasks],
            managers=[task.manager for task in tasks],
            owners=[task.owner for task in tasks],
            priorities=[task.priority for task in tasks],
            waits=[task.waited for task in tasks],
            runs=[task.ran for task in tasks],
            seconds=[task.source.seconds for task in tasks],
            bytes=[task.source.bytes for task in tasks],
            ends=[task.at or at for task in tasks],
            time_zone=time_zone,
            at=at,
        )
    )


async def is_empty(connection: Connection) -> bool:
    """Whether nothing was kept yet, as before the first start of all."""
    return bool(await connection.fetchval(*_QUERIES["is_empty"]()))


async def recent_runs(connection: Connection, types: Collection[str]) -> list[EndedRun]:
    """The latest runs of each type, as a forecast wants them."""
    return [
        EndedRun(
            type=row["task_type"],
            ran=row["ran"],
            ended_at=row["ended_at"],
            manager=row["runner_manager_id"],
            source=SourceSize(row["source_seconds"], row["source_bytes"]),
            waited=row["waited"],
            priority=row["priority"],
        )
        for row in await connection.fetch(*_QUERIES["recent_runs"](types=list(types)))
    ]


async def purge(connection: Connection, *, batch: int) -> bool:
    """Forget ``batch`` runs that are beyond the bounds, and then days; whether there may be more."""
    query = _QUERIES["purge_runs"](days=RUN_DAYS, batch=batch, most=MOST_RUNS)
    if await connection.execute(*query) == f"DELETE {batch}":
        return True
    await connection.execute(*_QUERIES["purge_days"](days=DAYS))
    await connection.execute(*_QUERIES["fold_days"](days=DAY_BY_DAY))
    return False

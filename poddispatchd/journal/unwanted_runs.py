"""Runs that belong to no row any more, and are to be stopped: they would occupy a runner for hours."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from msgspec import Struct

from poddispatchd.database.connections import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, TaskPk
from poddispatchd.journal.ages import with_ages

_TEXTS = load_queries(__package__, "unwanted_runs.sql")

UNNOTED = _TEXTS["unnoted"]
"""The condition that ``run``, a sighting, is of a run that Pod submitted itself, and that nobody noted."""

_QUERIES = {name: query.fill(unnoted=UNNOTED) for name, query in _TEXTS.items()}

_FORGET_OLD = with_ages(_QUERIES["forget_old"], age="since")

SINCE_VERSION = 28
"""The version of our schema that has them first."""

FIRST_WAIT = 5.0
_LONGEST_WAIT = 300.0
_FORGOTTEN_AFTER = 86400.0


class UnwantedRun(Struct, frozen=True):
    """One of them, and the task that it was for."""

    task: TaskPk
    run: Run


async def add(connection: Connection, task: TaskPk, run: Run) -> None:
    """A run is to be stopped. Whoever adds it asks at once; the daemon goes on from there."""
    await connection.execute(
        *_QUERIES["add"](
            task=task, runner_manager=run.runner_manager_id, task_id=run.task_id, seconds=FIRST_WAIT
        )
    )


async def add_let_go(connection: Connection) -> None:
    """Runs that tasks have let go of are to be stopped: of restarts and deletions in Pod nobody is told."""
    await connection.execute(*_QUERIES["add_let_go"]())


async def settle(connection: Connection, run: Run) -> None:
    """It is stopped, or never will be."""
    await connection.execute(*_QUERIES["settle"](runner_manager=run.runner_manager_id, task_id=run.task_id))


async def take_due(connection: Connection, *, limit: int) -> list[UnwantedRun]:
    """Those that are to be asked to stop now; the next request is put off before this one is made."""
    query = _QUERIES["take_due"](base=FIRST_WAIT * 2, cap=_LONGEST_WAIT, limit=limit)
    return _unwanted(await connection.fetch(*query))


async def forget_old(connection: Connection, *, ours: datetime) -> list[UnwantedRun]:
    """Forget those that could not be stopped for a day, by both clocks; they are returned.

    ``ours``: now, by our clock. The database's alone may have been put forward.
    """
    return _unwanted(await connection.fetch(*_FORGET_OLD(seconds=_FORGOTTEN_AFTER, ours=ours)))


async def next_in(connection: Connection) -> float | None:
    """Seconds until the next request is due; None without any."""
    seconds = await connection.fetchval(*_QUERIES["next_in"]())
    return None if seconds is None else float(seconds)


def _unwanted(rows: Sequence[asyncpg.Record]) -> list[UnwantedRun]:
    return [
        UnwantedRun(
            TaskPk(row["task_pk"]), Run(ManagerId(row["runner_manager_id"]), RunnerTaskId(row["task_id"]))
        )
        for row in rows
    ]

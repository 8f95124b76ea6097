"""Runs that ended badly, whoever submitted them: a manager may mend one by itself, and nobody hear of it."""

from collections.abc import Collection

from poddispatchd.database import Connection
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, TaskPk
from poddispatchd.sql import load_queries

_QUERIES = load_queries(__package__, "failures.sql")


async def note_failure(connection: Connection, task: TaskPk, run: Run) -> None:
    """The run of a task ended badly; part of the transaction that ends the task."""
    await connection.execute(_QUERIES["note"], task, run.runner_manager_id, run.task_id)


async def forget_failure(connection: Connection, task: TaskPk) -> None:
    """There is a result after all, and it is fetched; should that fail, nobody asks for it again."""
    await connection.execute(_QUERIES["forget"], task)


async def failures_to_ask_about(
    connection: Connection, *, hours: int, limit: int, but: Collection[TaskPk]
) -> dict[TaskPk, Run]:
    """The failures of the last ``hours``, but for some, which count as asked about from now on.

    Those come first that were not asked about for the longest time.
    """
    rows = await connection.fetch(_QUERIES["ask"], hours, limit, list(but))
    return {
        TaskPk(row["task_pk"]): Run(ManagerId(row["runner_manager_id"]), RunnerTaskId(row["task_id"]))
        for row in rows
    }

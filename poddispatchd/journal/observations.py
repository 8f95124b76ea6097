"""Since when tasks are known to run, and their runners to be missing: kept over restarts and passes."""

from collections.abc import Collection, Mapping
from datetime import datetime

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.journal.ages import with_ages

_QUERIES = load_queries(__package__, "observations.sql")
_OF_TASKS = with_ages(_QUERIES["of_tasks"], age="runs_since", missing_for="missing_since")


class TaskObservation(Struct, frozen=True):
    """What is known of a running task under its id. Seconds, by the database's clock.

    ``age`` counts from its acceptance, or from first sight where Pod submitted it. ``missing_runner`` is the
    runner that works on it and is not online, ``missing_for`` since when. ``is_stale``: it has been told that
    it runs for too long.
    """

    age: float
    missing_runner: str | None = None
    missing_for: float = 0.0
    is_stale: bool = False


class Sighting(Struct, frozen=True):
    """As what a task runs; None: nobody has given it an id, or its manager is gone."""

    task_id: str | None
    runner_manager_id: ManagerId | None


async def see(
    connection: Connection, tasks: Mapping[TaskPk, Sighting], *, ours: datetime
) -> dict[TaskPk, TaskObservation]:
    """These tasks run, each under its id; what is known of them, new ones from now on. ``ours``: our now."""
    await connection.execute(
        *_QUERIES["see"](
            tasks=list(tasks),
            task_ids=[each.task_id for each in tasks.values()],
            runner_managers=[each.runner_manager_id for each in tasks.values()],
        )
    )
    return {
        TaskPk(row["task_pk"]): TaskObservation(
            row["age"], row["missing_runner"], row["missing_for"] or 0.0, row["is_stale"]
        )
        for row in await connection.fetch(*_OF_TASKS(tasks=list(tasks), ours=ours))
    }


async def forget_others(connection: Connection, tasks: Collection[TaskPk]) -> None:
    """Forget all but these tasks: the others do not run any more."""
    await connection.execute(*_QUERIES["forget_others"](tasks=list(tasks)))


async def note_runner(connection: Connection, task: TaskPk, task_id: str, missing: str | None) -> None:
    """The runner that works on this task is missing from now on, or not any more."""
    await connection.execute(*_QUERIES["note_runner"](task=task, task_id=task_id, runner=missing))


async def note_stale(connection: Connection, tasks: Collection[TaskPk]) -> None:
    """It has been told that these tasks run for too long."""
    await connection.execute(*_QUERIES["note_stale"](tasks=list(tasks)))


async def stale_tasks(connection: Connection, *, limit: int) -> list[TaskPk]:
    """The first tasks that were told to run for too long."""
    return [TaskPk(row["task_pk"]) for row in await connection.fetch(*_QUERIES["stale"](limit=limit))]

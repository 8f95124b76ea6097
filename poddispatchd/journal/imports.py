"""Results to bring into Pod: one row a result, leased to one importer at a time (invariant I7)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NewType

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, TaskPk

_QUERIES = load_queries(__package__, "imports.sql")

ImportId = NewType("ImportId", int)


class ImportState(StrEnum):
    """What became of an import."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"
    """Not needed any more: the row was completed, restarted or deleted by someone else."""
    SET_ASIDE = "set_aside"
    """Every attempt ended in an error that nobody foresaw: a person has it tried again."""


class ImportRecord(Struct, frozen=True):
    """An import as it is told to people."""

    state: str
    """A word of ``ImportState``, or of a newer release."""
    task_id: RunnerTaskId
    attempts: int
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


class LastWords(Struct, frozen=True):
    """What is known of an open import: who is at it, and why the last attempt came to nothing."""

    owner: str | None
    error: str | None


class Outstanding(Struct, frozen=True):
    """A result that is not in Pod.

    Attributes:
        id: of the import.
        state: open, set aside, or dropped: a person has dismissed it.
        error: why the last attempt came to nothing; None before one has.
    """

    id: ImportId
    state: ImportState
    error: str | None


async def of_task(connection: Connection, task_pk: TaskPk) -> list[ImportRecord]:
    """The imports of one task, oldest first."""
    return [
        ImportRecord(
            state=row["state"],
            task_id=RunnerTaskId(row["task_id"]),
            attempts=row["attempts"],
            last_error=row["last_error"],
            created_at=row["created_at"],
            finished_at=row["finished_at"],
        )
        for row in await connection.fetch(*_QUERIES["of_task"](task=task_pk))
    ]


async def open_import(connection: Connection, task_pk: TaskPk, run: Run) -> bool:
    """Ask for a result to be imported, and forget that its run failed; False when it was already."""
    return bool(await open_imports(connection, {task_pk: run}))


async def open_imports(connection: Connection, runs: Mapping[TaskPk, Run]) -> set[TaskPk]:
    """The same for several tasks; those whose result was neither asked for already nor is in Pod."""
    rows = await connection.fetch(
        *_QUERIES["open"](
            tasks=list(runs),
            runner_managers=[run.runner_manager_id for run in runs.values()],
            task_ids=[run.task_id for run in runs.values()],
        )
    )
    return {TaskPk(row["task_pk"]) for row in rows}


async def is_open(connection: Connection, task_pk: TaskPk, run: Run) -> bool:
    """Whether a result is about to be imported."""
    return bool(
        await connection.fetchval(
            *_QUERIES["is_open"](task=task_pk, runner_manager=run.runner_manager_id, task_id=run.task_id)
        )
    )


async def is_done(connection: Connection, task_pk: TaskPk, run: Run) -> bool:
    """Whether a result is in Pod."""
    return bool(
        await connection.fetchval(
            *_QUERIES["is_done"](task=task_pk, runner_manager=run.runner_manager_id, task_id=run.task_id)
        )
    )


async def drop_open(connection: Connection, task_pk: TaskPk, reason: str) -> None:
    """The result of a task is not wanted any more; whoever is importing it loses its lease."""
    await connection.execute(*_QUERIES["drop_open"](task=task_pk, reason=reason))


async def open_tasks(connection: Connection) -> frozenset[TaskPk]:
    """The tasks whose result is being imported, or waits for it."""
    return frozenset(TaskPk(row["task_pk"]) for row in await connection.fetch(*_QUERIES["open_tasks"]()))


async def uncalled(connection: Connection) -> dict[ManagerId, int]:
    """How many results of the last day came from each runner manager that has not called within it."""
    rows = await connection.fetch(*_QUERIES["uncalled"]())
    return {ManagerId(row["runner_manager_id"]): row["results"] for row in rows}


async def last_words(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, LastWords]:
    """How the last attempts to import the results of these tasks ended, of those whose import is open."""
    rows = await connection.fetch(*_QUERIES["last_words"](tasks=list(tasks)))
    return {TaskPk(row["task_pk"]): LastWords(row["lease_owner"], row["last_error"]) for row in rows}


async def known_tasks(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, bool]:
    """Those of these tasks that ever had an import, and whether one of them is open."""
    rows = await connection.fetch(*_QUERIES["known_tasks"](tasks=list(tasks)))
    return {TaskPk(row["task_pk"]): row["is_open"] for row in rows}


async def outstanding(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, Outstanding]:
    """The results of what these tasks run as, as far as there are any that are not in Pod."""
    rows = await connection.fetch(*_QUERIES["outstanding"](tasks=list(tasks)))
    return {
        TaskPk(row["task_pk"]): Outstanding(ImportId(row["id"]), ImportState(row["state"]), row["last_error"])
        for row in rows
    }

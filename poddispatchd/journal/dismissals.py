"""Failures that people have seen to, and when failures happened."""

from collections.abc import Collection, Mapping
from datetime import datetime

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import TaskPk

_QUERIES = load_queries(__package__, "dismissals.sql")

_DAYS = 400
"""Days for which it is remembered: longer than anybody looks back."""


async def dismiss(connection: Connection, tasks: Mapping[TaskPk, datetime], *, by: str) -> None:
    """The failures of these tasks, each with the ``date_added`` of its row, are not to be shown any more."""
    await connection.execute(
        *_QUERIES["dismiss"](tasks=list(tasks), dates_added=list(tasks.values()), actor=by)
    )


async def dismissed(connection: Connection, tasks: Mapping[TaskPk, datetime]) -> set[TaskPk]:
    """Which of these tasks, each with its ``date_added``, were dismissed and not restarted since."""
    rows = await connection.fetch(*_QUERIES["dismissed"](tasks=list(tasks)))
    return {TaskPk(row["task_pk"]) for row in rows if tasks.get(row["task_pk"]) == row["date_added"]}


async def failed_at(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, datetime]:
    """When tasks failed; those whose end was not seen are absent."""
    rows = await connection.fetch(*_QUERIES["failed_at"](tasks=list(tasks)))
    return {TaskPk(row["task_pk"]): row["at"] for row in rows}


async def purge(connection: Connection, *, batch: int) -> bool:
    """Forget ``batch`` rows of what was dismissed long ago; whether there may be more."""
    return await connection.execute(*_QUERIES["purge"](days=_DAYS, batch=batch)) == f"DELETE {batch}"

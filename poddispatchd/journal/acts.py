"""What people did to tasks and runner managers: who, when, from where."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

import asyncpg
from msgspec import Struct

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, TaskPk

_QUERIES = load_queries(__package__, "acts.sql")

_SINCE_VERSION = 18
"""Of our schema: in an older one nothing can be written down, and what was asked for is done all the same."""


class Act(StrEnum):
    """What a person can do."""

    RESTART = "restart"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"


class RecordedAct(Struct, frozen=True):
    """One act; of a task with its status before, or of a runner manager."""

    id: int
    at: datetime
    actor: str
    act: Act
    task: TaskPk | None
    runner_manager: ManagerId | None
    status_before: str | None


async def record(
    connection: Connection,
    act: Act,
    actor: str,
    *,
    task: TaskPk | None = None,
    runner_manager: ManagerId | None = None,
    status_before: str | None = None,
) -> None:
    """Write down what a person does, in the transaction that does it.

    Args:
        connection: in that transaction.
        act: what is done.
        actor: who does it, and from where.
        task: to which task.
        runner_manager: or to which runner manager.
        status_before: of the task.
    """
    if await migration.current_version(connection) >= _SINCE_VERSION:
        await connection.execute(
            *_QUERIES["record"](
                actor=actor,
                act=act.value,
                task=task,
                runner_manager=runner_manager,
                status_before=status_before,
            )
        )


async def of_task(connection: Connection, task: TaskPk) -> list[RecordedAct]:
    """What people did to a task, the latest last."""
    if await migration.current_version(connection) < _SINCE_VERSION:
        return []
    return [_act(row) for row in await connection.fetch(*_QUERIES["of_task"](task=task))]


async def since(
    connection: Connection, last: int, *, seen: Collection[int] = (), limit: int = 1000
) -> list[RecordedAct]:
    """What people did after the act of this id, but for those acts that were seen."""
    query = _QUERIES["since"](last=last, seen=list(seen), limit=limit)
    return [_act(row) for row in await connection.fetch(*query)]


async def last(connection: Connection) -> int:
    """The id of the last act; 0 before the first."""
    return int(await connection.fetchval(*_QUERIES["last"]()))


def _act(row: asyncpg.Record) -> RecordedAct:
    return RecordedAct(
        id=row["id"],
        at=row["at"],
        actor=row["actor"],
        act=Act(row["act"]),
        task=row["task_pk"],
        runner_manager=row["runner_manager_id"],
        status_before=row["status_before"],
    )

"""Runs that ended badly, whoever submitted them: a manager may mend one by itself, and nobody hear of it."""

import hashlib
from collections.abc import Collection
from datetime import datetime

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, TaskPk
from poddispatchd.journal.ages import with_ages

_QUERIES = load_queries(__package__, "failures.sql")

_LATELY = with_ages(_QUERIES["lately"], age="failed_at")


async def note_failure(connection: Connection, task: TaskPk, run: Run, identity: str | None = None) -> None:
    """The run of a task ended badly; part of the transaction that ends the task.

    Args:
        connection: in that transaction.
        task: whose.
        run: under which id.
        identity: what tells this failure from others (``domain.script_output.failure_identity``); None for
            one that poddispatchd found itself.
    """
    digest = None if identity is None else _digest(identity)
    await connection.execute(
        *_QUERIES["note"](task=task, runner_manager=run.runner_manager_id, task_id=run.task_id, digest=digest)
    )


async def is_known(connection: Connection, task: TaskPk, run: Run, identity: str) -> bool:
    """Whether the last failure of this run of a task was this very one."""
    query = _QUERIES["known"](
        task=task, runner_manager=run.runner_manager_id, task_id=run.task_id, digest=_digest(identity)
    )
    return bool(await connection.fetchval(*query))


async def recent_failures(
    connection: Connection, *, hours: int, limit: int, excluding: Collection[TaskPk], ours: datetime
) -> dict[TaskPk, Run]:
    """The failures of the last ``hours``, but for some: of each manager at most ``limit``.

    Those come first that were not asked about for the longest time. ``ours``: now, by our clock: none is
    given up because the database's was put forward.
    """
    query = _LATELY(seconds=hours * 3600.0, limit=limit, excluding=list(excluding), ours=ours)
    rows = await connection.fetch(*query)
    return {
        TaskPk(row["task_pk"]): Run(ManagerId(row["runner_manager_id"]), RunnerTaskId(row["task_id"]))
        for row in rows
    }


async def note_asked(connection: Connection, tasks: Collection[TaskPk]) -> None:
    """Their managers were asked about these failures."""
    await connection.execute(*_QUERIES["asked"](tasks=list(tasks)))


def _digest(identity: str) -> bytes:
    # Of fixed length, and nothing of what a runner has said is kept in it.
    return hashlib.sha256(identity.encode(errors="replace")).digest()

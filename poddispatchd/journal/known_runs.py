"""Which tasks ran under an id of a runner manager, as far as the journal knows."""

from collections.abc import Collection

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, RunnerTaskId, TaskPk

_QUERIES = load_queries(__package__, "known_runs.sql")


async def tasks_known_as(
    connection: Connection, managers: Collection[ManagerId], task_id: RunnerTaskId
) -> list[TaskPk]:
    """The tasks that one of these managers calls, or called, by this id.

    Their rows may carry another one by now, or be gone. A run that Pod submitted is known from the first time
    it was seen until it ends.
    """
    rows = await connection.fetch(*_QUERIES["tasks"](managers=list(managers), task_id=task_id))
    return [TaskPk(row["task_pk"]) for row in rows]

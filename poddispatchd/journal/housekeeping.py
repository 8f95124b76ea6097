"""Forgetting what is settled."""

from poddispatchd.database import Connection
from poddispatchd.sql import load_queries

_PURGES = tuple(
    load_queries(__package__, file)["purge"]
    for file in ("submissions.sql", "callbacks.sql", "imports.sql", "notices.sql")
)
_OWN_TASKS = load_queries(__package__, "scheduling.sql")["purge_own_tasks"]


async def purge(connection: Connection, *, days: int, batch: int) -> None:
    """Delete journal rows settled more than ``days`` ago, ``batch`` rows at a time; open ones stay."""
    for statement in _PURGES:
        while await connection.execute(statement, days, batch) == f"DELETE {batch}":
            pass
    await connection.execute(_OWN_TASKS, days)

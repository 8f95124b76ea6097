"""Forgetting what is settled."""

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries

_PURGES = tuple(
    load_queries(package, file)["purge"]
    for package, file in (
        ("poddispatchd.journal", "submissions.sql"),
        ("poddispatchd.callbacks", "inbox.sql"),
        ("poddispatchd.journal", "imports.sql"),
        ("poddispatchd.journal", "notices.sql"),
    )
)
_FAILURES = load_queries("poddispatchd.journal", "failures.sql")["purge"]
_FAILURE_DAYS = 2
"""Days after which nobody asks about a failure any more, and one to spare."""

_OWN_TASKS = load_queries("poddispatchd.journal", "scheduling.sql")["purge_own_tasks"]


async def purge(connection: Connection, *, days: int, batch: int) -> None:
    """Delete journal rows settled more than ``days`` ago, ``batch`` rows at a time; open ones stay."""
    for statement, kept in (*((statement, days) for statement in _PURGES), (_FAILURES, _FAILURE_DAYS)):
        while await connection.execute(statement, kept, batch) == f"DELETE {batch}":
            pass
    await connection.execute(_OWN_TASKS, days)

"""Forgetting what is settled."""

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.journal import dismissals, history
from poddispatchd.runtime.queues import QUEUES

_SUBMISSIONS = load_queries("poddispatchd.journal", "submissions.sql")["purge"]
_ACTS = load_queries("poddispatchd.journal", "acts.sql")["purge"]
_FAILURES = load_queries("poddispatchd.journal", "failures.sql")["purge"]
_FAILURE_DAYS = 2
"""Days after which nobody asks about a failure any more, and one to spare."""

_OWN_TASKS = load_queries("poddispatchd.journal", "scheduling.sql")["purge_own_tasks"]


async def purge(connection: Connection, *, days: int, batch: int) -> None:
    """Delete journal rows settled more than ``days`` ago, ``batch`` rows at a time; open ones stay.

    So does what was set aside, for as many days after that: then nothing of it can be tried again anyway, for
    its manager has forgotten the run.
    """
    for query, kept in ((_SUBMISSIONS, days), (_ACTS, days), (_FAILURES, _FAILURE_DAYS)):
        while await connection.execute(*query(days=kept, batch=batch)) == f"DELETE {batch}":
            pass
    for queue in QUEUES.values():
        await queue.purge(connection, days=days, batch=batch)
    await connection.execute(*_OWN_TASKS(days=days))
    await history.purge(connection, batch=batch)
    await dismissals.purge(connection)

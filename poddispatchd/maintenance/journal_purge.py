"""Forgetting what is settled, and what is about tasks that Pod has deleted."""

from collections.abc import Callable

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import RetentionSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import load_queries, render
from poddispatchd.journal import campaigns, dismissals, fair_share, history, pauses, told_events
from poddispatchd.maintenance.ages import is_ahead
from poddispatchd.observability.events import Event
from poddispatchd.runtime.queue_tables import QUEUES

log = structlog.get_logger(__name__)

_SUBMISSIONS = load_queries("poddispatchd.journal", "submissions.sql")["purge"]
_ACTS = load_queries("poddispatchd.journal", "acts.sql")["purge"]
_FAILURES = load_queries("poddispatchd.journal", "failures.sql")["purge"]
_FAILURE_DAYS = 2
"""Days after which nobody asks about a failure any more, and one to spare."""

_ERASURE = load_queries("poddispatchd.maintenance", "erasure.sql")
_OF_TASKS = {
    "submission": "settled_at",
    "import": "finished_at",
    "notice": "settled_at",
    "delivery": "settled_at",
}
"""The tables whose rows are about a task and hold more of it than its number, and when a row was settled."""

_ERASED = (
    *(render(_ERASURE["erase"], table=table, settled_at=column) for table, column in _OF_TASKS.items()),
    _ERASURE["erase_callbacks"],
)
_FORGET_OWNERS = _ERASURE["forget_owners"]

_OWN_TASKS = load_queries("poddispatchd.journal", "scheduling.sql")["purge_own_tasks"]


_BATCH = 1000


class JournalPurge:
    """The rows of our own schema, kept for ``retention.journal_days``."""

    def __init__(self, database: Database, settings: Callable[[], RetentionSettings], clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._is_told = False

    async def purge(self) -> None:
        """Delete those that have had their time, by the database's clock if that is not far ahead of ours."""
        if await is_ahead(self._database, self._clock):
            if not self._is_told:
                log.warning(Event.CLOCKS_DIFFERED)
            self._is_told = True
            return
        self._is_told = False
        async with self._database.connection() as connection:
            await purge(connection, days=self._settings().journal_days, batch=_BATCH)


async def purge(connection: Connection, *, days: int, batch: int) -> None:
    """Delete journal rows settled more than ``days`` ago, ``batch`` rows at a time; open ones stay.

    Of tasks that Pod has deleted, with a video or a user, they go a day after they were settled.

    So does what was set aside, for as many days after that: then nothing of it can be tried again anyway, for
    its manager has forgotten the run.
    """
    for erase in _ERASED:
        while await connection.execute(*erase(batch=batch)) == f"DELETE {batch}":
            pass
    for query, kept in ((_SUBMISSIONS, days), (_ACTS, days), (_FAILURES, _FAILURE_DAYS)):
        while await connection.execute(*query(days=kept, batch=batch)) == f"DELETE {batch}":
            pass
    for queue in QUEUES.values():
        await queue.purge(connection, days=days, batch=batch)
    await connection.execute(*_OWN_TASKS(days=days))
    await history.purge(connection, batch=batch)
    await dismissals.purge(connection)
    await told_events.purge(connection)
    await pauses.purge(connection, days=days)
    await campaigns.purge(connection, days=days)
    await fair_share.purge(connection)
    while await connection.execute(*_FORGET_OWNERS(batch=batch)) == f"UPDATE {batch}":
        pass

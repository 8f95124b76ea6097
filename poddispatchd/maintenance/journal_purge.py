"""Forgetting what is settled, and what is about tasks that Pod has deleted."""

from collections.abc import Callable
from functools import partial

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import RetentionSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.journal import campaigns, dismissals, fair_share, history, pauses, told_events
from poddispatchd.maintenance.ages import is_ahead
from poddispatchd.maintenance.erasure import each_apart, erase
from poddispatchd.observability.events import Event
from poddispatchd.runtime.queue_tables import QUEUES

log = structlog.get_logger(__name__)

_SUBMISSIONS = load_queries("poddispatchd.journal", "submissions.sql")["purge"]
_ACTS = load_queries("poddispatchd.journal", "acts.sql")["purge"]
_FAILURES = load_queries("poddispatchd.journal", "failures.sql")["purge"]
_FAILURE_DAYS = 2
"""Days after which nobody asks about a failure any more, and one to spare."""

_OWN_TASKS = load_queries("poddispatchd.journal", "scheduling.sql")["purge_own_tasks"]


_CLOCKS_DIFFER = (
    "The clock of the database's server is a day or more ahead of this machine's: nothing of the journal is "
    "deleted for its age until they agree. Set the one that is wrong."
)

_BATCH = 5000
"""Rows that a statement looks at: a few hundredths of a second."""


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
                log.warning(Event.CLOCKS_DIFFERED, reason=_CLOCKS_DIFFER)
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

    Raises:
        DatabaseError: something of it is held or refused; all else is deleted.
    """
    await each_apart(
        partial(erase, connection, batch=batch),
        partial(_delete, connection, _SUBMISSIONS, days=days, batch=batch),
        partial(_delete, connection, _ACTS, days=days, batch=batch),
        partial(_delete, connection, _FAILURES, days=_FAILURE_DAYS, batch=batch),
        partial(_delete, connection, _OWN_TASKS, days=days, batch=batch),
        *(partial(queue.purge, connection, days=days, batch=batch) for queue in QUEUES.values()),
        partial(history.purge, connection, batch=batch),
        partial(dismissals.purge, connection, batch=batch),
        partial(told_events.purge, connection),
        partial(pauses.purge, connection, days=days),
        partial(campaigns.purge, connection, days=days, batch=batch),
        partial(fair_share.purge, connection, batch=batch),
    )


async def _delete(connection: Connection, query: Query, *, days: int, batch: int) -> None:
    while await connection.execute(*query(days=days, batch=batch)) == f"DELETE {batch}":
        pass

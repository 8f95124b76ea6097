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
from poddispatchd.maintenance.erasure import Erasure, Step, each_apart
from poddispatchd.observability.events import Event
from poddispatchd.runtime.queue_tables import QUEUES
from poddispatchd.runtime.supervisor import LONG_ENOUGH

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
        # At random: a single pass remembers nothing for the next one, which would begin with the same.
        self._turns = Turns(clock.random())

    async def purge(self) -> None:
        """Delete those that have had their time, by the database's clock if that is not far ahead of ours.

        What is left after ``LONG_ENOUGH`` seconds is deleted by the next purge, which goes on from there.
        """
        if await is_ahead(self._database, self._clock):
            if not self._is_told:
                log.warning(Event.CLOCKS_DIFFERED, reason=_CLOCKS_DIFFER)
            self._is_told = True
            return
        self._is_told = False
        enough = self._clock.monotonic() + LONG_ENOUGH
        async with self._database.connection() as connection:
            await purge(
                connection,
                days=self._settings().journal_days,
                batch=_BATCH,
                turns=self._turns,
                is_over=lambda: self._clock.monotonic() >= enough,
            )


class Turns:
    """What a purge leaves to the next one: who is next, and how far erasure has come.

    ``chance``: who is first of all, from 0 (the first one) to less than 1 (the last one).
    """

    def __init__(self, chance: float = 0.0) -> None:
        self.chance = chance
        self.first: int | None = None
        self.erasure = Erasure()


async def purge(
    connection: Connection,
    *,
    days: int,
    batch: int,
    turns: Turns | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Delete journal rows settled more than ``days`` ago, ``batch`` rows at a time; open ones stay.

    Of tasks that Pod has deleted, with a video or a user, they go a day after they were settled.

    So does what was set aside, for as many days after that: then nothing of it can be tried again anyway, for
    its manager has forgotten the run.

    Args:
        connection: in no transaction.
        days: how long they are kept.
        batch: rows that a statement deletes, or looks at.
        turns: of the purges before.
        is_over: whether the time for it is; the statement that goes on is ended all the same.

    Raises:
        DatabaseError: something of it is held or refused; all else is deleted.
    """
    turns = turns or Turns()
    steps: list[Step] = [
        *turns.erasure.steps(connection, batch=batch),
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
    ]

    async def take_turn(number: int) -> None:
        if is_over():
            return
        # The next purge begins with whoever comes next: one that never ends must not keep the others (I12).
        turns.first = (number + 1) % len(steps)
        while await steps[number]() and not is_over():
            pass

    first = int(turns.chance * len(steps)) if turns.first is None else turns.first
    order = [*range(first, len(steps)), *range(first)]
    await each_apart(*(partial(take_turn, number) for number in order))


async def _delete(connection: Connection, query: Query, *, days: int, batch: int) -> bool:
    return await connection.execute(*query(days=days, batch=batch)) == f"DELETE {batch}"

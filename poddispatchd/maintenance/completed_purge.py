"""Completed tasks are deleted from Pod after a while, as Pod's own CRON deletes them."""

from collections.abc import Callable

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import RetentionSettings
from poddispatchd.database.pool import Database
from poddispatchd.maintenance.ages import days_ago
from poddispatchd.maintenance.erasure import windows
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import tasks

log = structlog.get_logger(__name__)

_BATCH = 5000
"""Rows of Pod's table that a statement looks at: neither their status nor their age has an index."""

_LONGEST = 240.0
"""Seconds after which the rest is left for the next hour: the watchdog must not take the job for stuck."""


class CompletedPurge:
    """Deletes tasks that were added more than ``retention.completed_days`` ago and are completed."""

    def __init__(
        self, database: Database, settings: Callable[[], RetentionSettings], metrics: Metrics, clock: Clock
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._clock = clock

    async def purge(self) -> None:
        """Delete them, some at a time; none when they are kept for ever."""
        days = self._settings().completed_days
        if days <= 0:
            return
        before = await days_ago(self._database, self._clock, days)
        total, enough = 0, self._clock.monotonic() + _LONGEST
        # A connection for each: a purge of hours must not keep one from the others.
        async for after, up_to in windows(self._next_window):
            async with self._database.connection() as connection:
                purged = await tasks.purge_completed(
                    connection, added_before=before, after=after, up_to=up_to
                )
            total += purged
            self._metrics.purged.inc(purged)
            if self._clock.monotonic() >= enough:
                break
        if total:
            log.info(Event.TASKS_PURGED, rows=total, older_than_days=days)

    async def _next_window(self, after: int) -> int | None:
        async with self._database.connection() as connection:
            return await tasks.next_window(connection, after, limit=_BATCH)

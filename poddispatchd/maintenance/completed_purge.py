"""Completed tasks are deleted from Pod after a while, as Pod's own CRON deletes them."""

from collections.abc import Callable
from datetime import datetime

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import RetentionSettings
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError
from poddispatchd.maintenance.ages import days_ago
from poddispatchd.maintenance.erasure import BEFORE_ALL, windows
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import tasks
from poddispatchd.runtime.item_errors import is_held, is_to_blame
from poddispatchd.runtime.supervision import LONG_ENOUGH

log = structlog.get_logger(__name__)

_BATCH = 5000
"""Rows of Pod's table that a statement looks at: neither their status nor their age has an index."""

_MOST_SPLITS = 200
"""How often rows are halved to find those that cannot be deleted; some have 13 steps each. A table
of a site's may keep thousands: the next purge goes on where this one gave up."""


class CompletedPurge:
    """Deletes tasks that were added more than ``retention.completed_days`` ago and are completed."""

    def __init__(
        self, database: Database, settings: Callable[[], RetentionSettings], metrics: Metrics, clock: Clock
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._split_behind = BEFORE_ALL
        """Behind which row those that cannot be deleted are looked for: where the last purge gave that up."""
        self._begin_behind = BEFORE_ALL
        """Behind which row the next purge begins: where the last one had no more time."""

    async def purge(self) -> None:
        """Delete them, some at a time; none when they are kept for ever.

        Raises:
            DatabaseError: some cannot be deleted, as a site's own table may want; all others are.
        """
        days = self._settings().completed_days
        if days <= 0:
            return
        before = await days_ago(self._database, self._clock, days)
        enough = self._clock.monotonic() + LONG_ENOUGH
        run = _Run(
            self._database,
            before,
            self._metrics,
            self._split_behind,
            lambda: self._clock.monotonic() < enough,
        )
        behind, self._begin_behind = self._begin_behind, BEFORE_ALL
        try:
            async for after, up_to in windows(self._next_window, behind=behind):
                if (looked_at := await run.purge(after, up_to)) < up_to or not run.has_time():
                    self._begin_behind = looked_at
                    break
        finally:
            self._split_behind = run.gave_up_behind
            if run.total:
                log.info(Event.TASKS_PURGED, rows=run.total, older_than_days=days)
        if run.refused is not None:
            raise run.refused

    async def _next_window(self, after: int) -> int | None:
        async with self._database.connection() as connection:
            return await tasks.next_window(connection, after, limit=_BATCH)


class _Run:
    """One purge: how many rows it has deleted, and the first error over some that cannot be.

    ``gave_up_behind``: behind which row nobody has looked any more for those that cannot be deleted.
    """

    def __init__(
        self,
        database: Database,
        before: datetime,
        metrics: Metrics,
        split_behind: int,
        has_time: Callable[[], bool],
    ) -> None:
        self.has_time = has_time
        self._database = database
        self._before = before
        self._metrics = metrics
        self._split_behind = split_behind
        self._splits_left = _MOST_SPLITS
        self.gave_up_behind = BEFORE_ALL
        self.total = 0
        self.refused: DatabaseError | None = None

    async def purge(self, after: int, up_to: int) -> int:
        """Delete those of these rows that are to go; whatever cannot be deleted keeps no other one (I12).

        Returns:
            Up to which row there was time for that.

        Raises:
            DatabaseUnavailableError: the database is lost.
            DatabaseError: nothing at all can be deleted.
        """
        left, last = [(after, up_to)], up_to
        while left:
            if not self.has_time():
                return left[-1][0]
            after, up_to = left.pop()
            try:
                # A connection for each: a purge of hours must not keep one from the others.
                async with self._database.connection() as connection:
                    purged = await tasks.purge_completed(
                        connection, added_before=self._before, after=after, up_to=up_to
                    )
            except DatabaseUnavailableError:
                raise
            except DatabaseError as error:
                if not (is_held(error) or is_to_blame(error)):
                    raise
                self.refused = self.refused or error
                if up_to - after <= 1 or up_to <= self._split_behind or is_held(error):
                    continue
                if not self._splits_left:
                    self.gave_up_behind = after if self.gave_up_behind == BEFORE_ALL else self.gave_up_behind
                    continue
                self._splits_left -= 1
                middle = 0 if after < 0 < up_to else (after + up_to) // 2
                left += [(middle, up_to), (after, middle)]
            else:
                self.total += purged
                self._metrics.purged.inc(purged)
        return last

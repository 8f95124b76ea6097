"""Completed tasks are deleted from Pod after a while, as Pod's own CRON deletes them."""

from collections.abc import Callable
from datetime import datetime

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import RetentionSettings
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, StatementEndedError
from poddispatchd.maintenance.ages import days_ago
from poddispatchd.maintenance.erasure import BEFORE_ALL, windows
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import tasks
from poddispatchd.runtime.item_errors import is_held, is_to_blame
from poddispatchd.runtime.supervisor import LONG_ENOUGH

log = structlog.get_logger(__name__)

_BATCH = 5000
"""Rows of Pod's table that a statement looks at: neither their status nor their age has an index."""

_MOST_SPLITS = 200
"""How often rows are halved to find those that cannot be deleted; some have 13 steps each. A table
of a site's may keep thousands: the next purge goes on where this one gave up."""


_SMALLER = 4
"""By how much fewer rows a statement looks at after one that took too long."""


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
        """Behind which row the next purge begins: where the time of the last one ended."""
        self._batch = _BATCH

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
            is_over=lambda: self._clock.monotonic() >= enough,
        )
        begin, self._begin_behind = self._begin_behind, BEFORE_ALL
        try:
            async for after, up_to in windows(self._next_window, behind=begin):
                # Where it is lost, it is gone on from here.
                self._begin_behind = after
                self._begin_behind = await run.purge(after, up_to)
                if run.is_over():
                    break
            else:
                self._begin_behind = BEFORE_ALL
        except (DatabaseUnavailableError, StatementEndedError):
            # A statement that takes longer than any may looks as if the database were lost.
            run.was_too_long = True
            raise
        finally:
            self._batch = max(1, self._batch // _SMALLER) if run.was_too_long else _BATCH
            self._split_behind = run.gave_up_behind
            if run.total:
                log.info(Event.TASKS_PURGED, rows=run.total, older_than_days=days)
        if run.refused is not None:
            raise run.refused

    async def _next_window(self, after: int) -> int | None:
        async with self._database.connection() as connection:
            return await tasks.next_window(connection, after, limit=self._batch)


class _Run:
    """One purge: how many rows it has deleted, and the first error over some that cannot be.

    ``gave_up_behind``: behind which row nobody has looked any more for those that cannot be deleted.
    ``is_over``: whether its time is. ``was_too_long``: whether the server, or somebody there, has ended a
    statement, as one that takes long.
    """

    def __init__(
        self,
        database: Database,
        before: datetime,
        metrics: Metrics,
        split_behind: int,
        *,
        is_over: Callable[[], bool],
    ) -> None:
        self._database = database
        self._before = before
        self._metrics = metrics
        self._split_behind = split_behind
        self._splits_left = _MOST_SPLITS
        self.is_over = is_over
        self.was_too_long = False
        self._has_tried = False
        self.gave_up_behind = BEFORE_ALL
        self.total = 0
        self.refused: DatabaseError | None = None

    async def purge(self, after: int, up_to: int) -> int:
        """Delete those of these rows that are to go; whatever cannot be deleted keeps no other one (I12).

        Returns:
            Behind which row it is to be gone on: the last of them, or where the time was over.

        Raises:
            DatabaseUnavailableError: the database is lost.
            DatabaseError: nothing at all can be deleted.
        """
        left, last = [(after, up_to)], up_to
        while left:
            after, up_to = left.pop()
            # One statement at least, so that each purge comes further.
            if self._has_tried and self.is_over():
                return after
            self._has_tried = True
            try:
                # A connection for each: a purge of hours must not keep one from the others.
                async with self._database.connection() as connection:
                    purged = await tasks.purge_completed(
                        connection, added_before=self._before, after=after, up_to=up_to
                    )
            except DatabaseUnavailableError:
                raise
            except DatabaseError as error:
                is_too_long = isinstance(error, StatementEndedError)
                if not (is_held(error) or is_to_blame(error) or is_too_long):
                    raise
                self.refused = self.refused or error
                self.was_too_long = self.was_too_long or is_too_long
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

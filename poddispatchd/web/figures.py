"""What somebody who looks wants to know now: counted when they look, dated, and bounded in what it costs."""

import asyncio
from collections.abc import Awaitable, Callable

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.forecast import Forecast
from poddispatchd.errors import DatabaseError
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import Scheduler
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.wakeups import Wakeup
from poddispatchd.web.forecast import LastForecast
from poddispatchd.web.health import DaemonHealth
from poddispatchd.web.overviews import Overview, Overviews

FRESH_FOR = 1.0
"""Seconds for which counts are not made again, however many look."""

LONGEST_AGE = 10.0
"""Seconds after which counts are made again for whoever looks, however long that takes."""

_LOOKED_WITHIN = 3.0
"""Seconds that a look may take; after that the figures before are shown, with their time."""

_REST = 20.0
"""How many times as long as a count took it is good for."""

_JOB = "count for whoever looks"

_EXPECTED_FRESH_FOR, _EXPECTED_LONGEST_AGE = 10.0, 60.0
"""Seconds for which a forecast is good for the page, and for the metrics."""


class JournalFigures:
    """What is counted of the journal; a shadow has none."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def scheduler(self) -> Scheduler:
        """Who schedules."""
        async with self._database.connection() as connection:
            return await scheduling.scheduler(connection)

    async def measure_backlogs(self) -> None:
        """Show the backlog of every queue as metrics."""
        metrics = self._metrics
        async with self._database.connection() as connection:
            found = await queue_tables.figures(connection)
        for name, queue in found.items():
            metrics.backlog.labels(name).set(queue.open)
            oldest = 0.0 if queue.oldest is None else queue.oldest.timestamp()
            metrics.backlog_oldest.labels(name).set(oldest)
            metrics.set_aside.labels(name).set(queue.set_aside)


class Figures:
    """Counts and lists for the status page, the JSON and the metrics.

    Args:
        look: counts the tasks now.
        session: whether the database answers, and whether this daemon schedules.
        health: whether the media tree can be used.
        overviews: reads tasks one by one.
        expected: makes forecasts; None where there is nothing to make them of.
        journal: counts the journal; None where there is none.
        changes_by_hand: rings when a person has changed something.
        incidents: is told of what nobody foresaw.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        look: Callable[[], Awaitable[QueueStats]],
        session: DatabaseSession,
        health: DaemonHealth,
        overviews: Overviews,
        expected: LastForecast | None,
        journal: JournalFigures | None,
        changes_by_hand: Wakeup,
        incidents: Incidents,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._look = look
        self._session = session
        self._health = health
        self._overviews = overviews
        self._expected = expected
        self._journal = journal
        self._changes_by_hand = changes_by_hand
        self._incidents = incidents
        self._metrics = metrics
        self._clock = clock
        self._turn = asyncio.Lock()
        self._next_count = float("-inf")
        self._next_overview = float("-inf")
        self._changes_seen = 0
        self._stats: QueueStats | None = None
        self.scheduler: Scheduler | None = None
        self.overview: Overview | None = None

    @property
    def forecast(self) -> Forecast | None:
        """When what waits and runs is expected to be done, as it was last made."""
        return None if self._expected is None else self._expected.forecast

    async def refresh(self, *, with_tasks: bool = False) -> None:
        """Count anew unless that was done just now; what cannot be counted stays as it was, with its time.

        Args:
            with_tasks: read the tasks that a page lists as well.
        """
        # Before the database is asked: this is known without it.
        is_usable = not self._health.import_problems and self._health.submission_problem is None
        self._metrics.media_usable.set(is_usable)
        self._metrics.database_writable.set(self._health.can_write)
        if not self._session.is_up:
            return
        try:
            # One look at a time, however many pages are open: who waits finds the figures fresh.
            async with asyncio.timeout(_LOOKED_WITHIN), self._turn:
                self._forget_after_a_change_by_hand()
                await self._count()
                if with_tasks:
                    await self._list()
                if self._stats is not None and self._expected is not None:
                    age = _EXPECTED_FRESH_FOR if with_tasks else _EXPECTED_LONGEST_AGE
                    is_submitted = self._health.submission_problem is None and self._health.can_write
                    await self._expected.refresh(self._stats, within=age, is_submitted=is_submitted)
        except (DatabaseError, TimeoutError):
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, all that was measured is shown (I12)
            self._incidents.failed(_JOB, error, is_aside=True)
        else:
            self._incidents.recovered(_JOB)

    def _forget_after_a_change_by_hand(self) -> None:
        """Who has just changed something looks whether it is changed."""
        changes = self._changes_by_hand.rings
        if changes != self._changes_seen:
            self._changes_seen = changes
            self._next_count = self._next_overview = float("-inf")
            if self._expected is not None:
                self._expected.forget()

    async def _count(self) -> None:
        begun = self._clock.monotonic()
        if begun < self._next_count:
            return
        self._stats = await self._look()
        if self._journal is not None:
            is_standby = self._session.term is None
            self.scheduler = await self._journal.scheduler() if is_standby else None
            await self._journal.measure_backlogs()
        self._next_count = self._rest_after(begun)

    async def _list(self) -> None:
        begun = self._clock.monotonic()
        if begun < self._next_overview:
            return
        self.overview = await self._overviews.read(self._clock.now())
        self._next_overview = self._rest_after(begun)

    def _rest_after(self, begun: float) -> float:
        now = self._clock.monotonic()
        return now + min(max(FRESH_FOR, _REST * (now - begun)), LONGEST_AGE)

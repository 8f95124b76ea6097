"""When what waits and runs is expected to be done, for whoever looks: not made without need."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from math import nan

from poddispatchd.clock import Clock
from poddispatchd.domain.availability import Openings
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.capacity import ManagerNow
from poddispatchd.domain.fair_share import FairOrder
from poddispatchd.domain.forecast import Forecast
from poddispatchd.domain.task import SUBMITTABLE, TaskStatus
from poddispatchd.errors import DatabaseError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.rows import PodSites
from poddispatchd.managers.state import ManagerReport
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.tasks.forecasts import Around, Forecasts, OwnTasksOf

_JOB = "forecast of the queue"


class LastForecast:
    """The last forecast of a daemon, as the page and the metrics show it.

    Args:
        forecasts: makes forecasts.
        registry: who can take tasks.
        sites: Pod's.
        catalogue: what Pod's tables have.
        own_tasks: tells which tasks Pod is not submitting itself, and the waits of some.
        order: reads the order of fair share; None: Pod's.
        metrics: of the daemon.
        incidents: is told when none can be made.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        forecasts: Forecasts,
        registry: ManagerRegistry,
        sites: PodSites,
        catalogue: Catalogue,
        own_tasks: OwnTasksOf,
        order: Callable[[], Awaitable[FairOrder | None]],
        metrics: Metrics,
        incidents: Incidents,
        clock: Clock,
    ) -> None:
        self._forecasts = forecasts
        self._registry = registry
        self._sites = sites
        self._catalogue = catalogue
        self._own_tasks = own_tasks
        self._order = order
        self._metrics = metrics
        self._incidents = incidents
        self._clock = clock
        self._made_at = float("-inf")
        self._making: asyncio.Task[None] | None = None
        self._is_forgotten = False
        self.forecast: Forecast | None = None

    async def refresh(self, stats: QueueStats, *, within: float, is_submitted: bool = True) -> None:
        """Make the forecast anew unless that was done within so many seconds.

        Args:
            stats: how many tasks wait and run.
            within: the seconds.
            is_submitted: whether tasks are submitted at all; of what waits nothing is expected otherwise.

        Raises:
            DatabaseError: what it rests on cannot be read.
        """
        if self._clock.monotonic() - self._made_at < within:
            return
        if self._making is None:
            self._making = asyncio.create_task(self._make(stats, is_submitted), name=_JOB)
            self._making.add_done_callback(self._was_made)
        # Shielded: whoever looks waits for a moment only, and a thread that computes cannot be broken off.
        # Each look would begin another one, and none would ever be shown.
        await asyncio.shield(self._making)

    def _was_made(self, making: "asyncio.Task[None]") -> None:
        self._making = None
        if not making.cancelled():
            making.exception()  # whoever waits has it, and perhaps nobody does any more

    async def _make(self, stats: QueueStats, is_submitted: bool) -> None:
        now, self._is_forgotten = self._clock.monotonic(), False
        pending, running = (
            {kind.value: stats.count(kind, status) for kind in SUBMITTABLE}
            for status in (TaskStatus.PENDING, TaskStatus.RUNNING)
        )
        moment = self._clock.now()
        if any(pending.values()) or any(running.values()):
            openings = self._registry.openings()
            around = Around(
                managers=[
                    manager_now(report, openings.get(report.id, {})) for report in self._registry.reports()
                ],
                choose=self._sites.chooser(),
                own_tasks=self._own_tasks,
                pending=pending,
                order=await self._order(),
                is_submitted=is_submitted,
            )
            self.forecast = await self._read(around, moment)
        else:
            self.forecast = Forecast(moment)
        if not self._is_forgotten:
            self._made_at = now
        for kind in SUBMITTABLE:
            self._measure(kind, is_idle=not (pending[kind] or running[kind]))

    async def _read(self, around: Around, moment: datetime) -> Forecast | None:
        """A forecast; None when none can be made: nothing else that is looked at depends on it (I12)."""
        try:
            found = await self._forecasts.read(self._catalogue.capabilities, around, moment)
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told by the incidents
            self._incidents.failed(_JOB, error, is_aside=True)
            return None
        self._incidents.recovered(_JOB)
        return found

    def forget(self) -> None:
        """Make it anew for the next one who looks."""
        self._made_at, self._is_forgotten = float("-inf"), True

    def _measure(self, kind: str, *, is_idle: bool) -> None:
        forecast = self.forecast
        interval = None if forecast is None else forecast.drained.get(kind)
        for bound in ("low", "high"):
            if is_idle:
                seconds = 0.0
            elif forecast is None or interval is None:
                seconds = nan
            else:
                seconds = (getattr(interval, bound) - forecast.as_of).total_seconds()
            self._metrics.expected_drain.labels(kind, bound).set(seconds)


def manager_now(report: ManagerReport, openings: Mapping[str, Openings]) -> ManagerNow:
    """A runner manager as a forecast wants it; ``openings``: when tasks of each type may begin there."""
    is_up = report.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN)
    return ManagerNow(
        report.id,
        report.site,
        is_usable=report.is_active and is_up and not (report.paused and report.paused_until is None),
        full_for=frozenset(kind.value for kind in report.full_for),
        openings=openings,
    )

"""When what waits and runs is expected to be done, for whoever looks: not made without need."""

from collections.abc import Mapping
from math import nan

from poddispatchd.domain.availability import Openings
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.capacity import ManagerNow
from poddispatchd.domain.forecast import Forecast
from poddispatchd.domain.task import SUBMITTABLE, TaskStatus
from poddispatchd.managers.state import ManagerReport
from poddispatchd.parts import Parts
from poddispatchd.pod.queue_order import QueueStats
from poddispatchd.pod.source_sizes import SourceSizes
from poddispatchd.tasks.expectations import Around, Expectations


class Expected:
    """The last forecast of a daemon, as the page and the metrics show it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._expectations = Expectations(parts.database, SourceSizes(parts.media))
        self._made_at = float("-inf")
        self.forecast: Forecast | None = None

    async def refresh(self, stats: QueueStats, *, within: float) -> None:
        """Make the forecast anew unless that was done within so many seconds; none in the shadow.

        Raises:
            DatabaseError: what it rests on cannot be read.
        """
        parts = self._parts
        now = parts.clock.monotonic()
        if not parts.has_journal or now - self._made_at < within:
            return
        pending, running = (
            {kind.value: stats.count(kind, status) for kind in SUBMITTABLE}
            for status in (TaskStatus.PENDING, TaskStatus.RUNNING)
        )
        moment = parts.clock.now()
        if any(pending.values()) or any(running.values()):
            openings = parts.registry.openings()
            around = Around(
                managers=[
                    manager_now(report, openings.get(report.id, {})) for report in parts.registry.reports()
                ],
                choose=parts.sites.chooser(),
                own_tasks=await parts.own_tasks(),
                pending=pending,
                order=await parts.order(),
            )
            self.forecast = await self._expectations.read(parts.catalogue.capabilities, around, moment)
        else:
            self.forecast = Forecast(moment)
        self._made_at = now
        for kind in SUBMITTABLE:
            self._measure(kind, is_idle=not (pending[kind] or running[kind]))

    def forget(self) -> None:
        """Make it anew for the next one who looks."""
        self._made_at = float("-inf")

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
            self._parts.metrics.expected_drain.labels(kind, bound).set(seconds)


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

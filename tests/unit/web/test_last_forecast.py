"""A forecast that cannot be made takes nothing else from whoever looks."""

from datetime import UTC, datetime
from typing import cast

from poddispatchd.clock import Clock
from poddispatchd.domain.forecast import Forecast
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.rows import PodSites
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.capabilities import Catalogue
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.tasks.forecasts import Forecasts
from poddispatchd.web.forecast import LastForecast


class _Odd:
    """What a forecast rests on, in which nothing is as it should be for a while."""

    capabilities = None
    is_odd = True

    def openings(self) -> dict[object, object]:
        return {}

    def reports(self) -> list[object]:
        return []

    def chooser(self) -> None:
        return None

    async def read(self, *_: object) -> Forecast:
        if self.is_odd:
            raise ValueError("math domain error")
        return Forecast(datetime(2026, 3, 14, tzinfo=UTC))


async def test_what_goes_wrong_in_it_is_told_and_the_rest_is_shown() -> None:
    """A single row with a length below zero answered every question about the daemon with 503."""

    async def nothing() -> None:
        return None

    async def no_tasks() -> dict[object, None]:
        return {}

    odd, clock = _Odd(), Clock()
    incidents = Incidents(clock)
    last = LastForecast(
        forecasts=cast("Forecasts", odd),
        registry=cast("ManagerRegistry", odd),
        sites=cast("PodSites", odd),
        catalogue=cast("Catalogue", odd),
        own_tasks=no_tasks,  # type: ignore[arg-type] # none at all
        order=nothing,
        metrics=Metrics(),
        incidents=incidents,
        clock=clock,
    )
    stats = QueueStats({(TaskType.ENCODING, TaskStatus.PENDING): 1}, {})

    found = []
    for is_odd in (True, False):
        odd.is_odd = is_odd
        await last.refresh(stats, within=0.0)
        found.append((last.forecast is None, [incident.job for incident in incidents.active]))

    assert found == [(True, ["forecast of the queue"]), (False, [])]

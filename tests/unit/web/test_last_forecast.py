"""A forecast that cannot be made takes nothing else from whoever looks."""

import asyncio
from datetime import UTC, datetime
from typing import cast

from poddispatchd.clock import Clock
from poddispatchd.domain.forecast import Forecast
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.journal.scheduling import OwnTask
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.rows import PodSites
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.tasks.forecasts import Forecasts
from poddispatchd.web.forecast import LastForecast

_STATS = QueueStats({(TaskType.ENCODING, TaskStatus.PENDING): 1}, {})


class _Odd:
    """What a forecast rests on, in which nothing is as it should be for a while."""

    capabilities = None
    is_odd = True

    def __init__(self) -> None:
        self.reads = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def openings(self) -> dict[object, object]:
        return {}

    def reports(self) -> list[object]:
        return []

    def chooser(self) -> None:
        return None

    async def read(self, *_: object) -> Forecast:
        self.reads += 1
        await self.goes_on.wait()
        if self.is_odd:
            raise ValueError("math domain error")
        return Forecast(datetime(2026, 3, 14, tzinfo=UTC))


def _last_forecast(odd: _Odd, incidents: Incidents) -> LastForecast:
    async def nothing() -> None:
        return None

    async def no_tasks(_: object) -> dict[TaskPk, OwnTask]:
        return {}

    return LastForecast(
        forecasts=cast("Forecasts", odd),
        registry=cast("ManagerRegistry", odd),
        sites=cast("PodSites", odd),
        catalogue=cast("Catalogue", odd),
        own_tasks=no_tasks,
        order=nothing,
        metrics=Metrics(),
        incidents=incidents,
        clock=Clock(),
    )


async def test_what_goes_wrong_in_it_is_told_and_the_rest_is_shown() -> None:
    """A single row with a length below zero answered every question about the daemon with 503."""
    odd, incidents = _Odd(), Incidents(Clock())
    last = _last_forecast(odd, incidents)

    found = []
    for is_odd in (True, False):
        odd.is_odd = is_odd
        await last.refresh(_STATS, within=0.0)
        found.append((last.forecast is None, [incident.job for incident in incidents.active]))

    assert found == [(True, ["forecast of the queue"]), (False, [])]


async def test_one_that_takes_longer_than_whoever_looks_waits_is_made_once_and_shown_to_the_next() -> None:
    """Each look began another one in a thread of its own: they took the processor from each other and from
    the daemon, and none was ever shown."""
    odd = _Odd()
    odd.is_odd = False
    odd.goes_on.clear()
    last = _last_forecast(odd, Incidents(Clock()))
    for _ in range(3):
        look = asyncio.create_task(last.refresh(_STATS, within=60.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        look.cancel()
        await asyncio.gather(look, return_exceptions=True)
    odd.goes_on.set()
    await last.refresh(_STATS, within=60.0)
    assert (odd.reads, last.forecast) == (1, Forecast(datetime(2026, 3, 14, tzinfo=UTC)))


async def test_a_look_that_comes_while_it_is_made_waits_for_the_same_one() -> None:
    odd = _Odd()
    odd.is_odd = False
    last = _last_forecast(odd, Incidents(Clock()))
    await asyncio.gather(*(last.refresh(_STATS, within=60.0) for _ in range(3)))
    assert odd.reads == 1

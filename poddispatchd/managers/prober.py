"""Finding out whether a runner manager that failed works again, before a task is risked on it."""

import asyncio

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import RunnerManagerError
from poddispatchd.parts import Parts

_BROKEN = (BreakerState.OPEN, BreakerState.MISCONFIGURED)
_IDLE = 5.0
_LEAST = 0.1


class Prober:
    """Asks the health of managers whose breaker is not closed and whose time has come."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._asking: dict[ManagerId, asyncio.Task[None]] = {}

    async def step(self) -> float:
        """Begin the probes that are due; seconds until the next look.

        None is waited for: one manager that hangs must not keep another one that is back from its tasks.
        """
        broken = [
            report
            for report in self._parts.registry.reports()
            if report.state in _BROKEN and report.is_active
        ]
        for report in broken:
            if report.retry_in is None and report.id not in self._asking:
                self._asking[report.id] = asyncio.create_task(
                    self._probe(report.id), name=f"probe of {report.name}"
                )
        soonest = min((report.retry_in for report in broken if report.retry_in is not None), default=_IDLE)
        return min(_IDLE, max(_LEAST, soonest))

    async def settled(self) -> None:
        """Wait for the probes in progress."""
        while self._asking:
            await asyncio.wait(self._asking.values())

    async def _probe(self, manager_id: ManagerId) -> None:
        parts = self._parts
        manager = parts.registry.get(manager_id)
        try:
            if manager is not None:
                await parts.client.health(manager)
                parts.registry.learn(manager_id, None)
        except RunnerManagerError as error:
            parts.registry.learn(manager_id, error)
        finally:
            self._asking.pop(manager_id, None)

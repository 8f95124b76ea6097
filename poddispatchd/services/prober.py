"""Finding out whether a runner manager that failed works again, before a task is risked on it."""

import asyncio

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import RunnerManagerError
from poddispatchd.services.parts import Parts

_IDLE = 5.0


class Prober:
    """Asks the health of managers whose breaker is not closed and whose time has come."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def step(self) -> float:
        """Probe what is due, all at once; seconds until the next look."""
        fleet = self._parts.fleet
        due = [
            report.id
            for report in fleet.reports()
            if report.state is not BreakerState.CLOSED and report.retry_in is None and report.is_active
        ]
        async with asyncio.TaskGroup() as group:
            for manager in due:
                group.create_task(self._probe(manager))
        return _IDLE

    async def _probe(self, manager_id: ManagerId) -> None:
        parts = self._parts
        manager = parts.fleet.get(manager_id)
        if manager is None:
            return
        try:
            await parts.client.health(manager)
        except RunnerManagerError as error:
            parts.fleet.learn(manager_id, error)
        else:
            parts.fleet.learn(manager_id, None)
            parts.wakes.ring_all()

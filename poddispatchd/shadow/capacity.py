"""Which runner managers are taken to have a free runner, though none is ever offered a task."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from math import inf

from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.config.model import ReconcileSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.routing import Lane
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, TaskPk, TaskType
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.pod import shadow_rows
from poddispatchd.reconcile.online_runners import OnlineRunners
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.supervisor import cancel_surely
from poddispatchd.runtime.wakeups import Wakeup

_TYPES_FRESH_FOR = 3600.0
"""Seconds for which the history of tasks is not read again."""


class ObservedCapacity:
    """What can be seen of free runners: those that a manager lists as online, less Pod's tasks running there.

    Managers list runners without the types of tasks they do, and without what they do for others than this
    Pod. A type that a manager never took is not expected of it, unless it never took anything.

    Args:
        database: Pod's.
        client: asks.
        registry: the managers.
        settings: how often they are asked.
        dispatcher: is woken when a manager has another number of runners.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        client: RunnerClient,
        registry: ManagerRegistry,
        settings: Callable[[], ReconcileSettings],
        dispatcher: Wakeup,
        incidents: Incidents,
        clock: Clock,
    ) -> None:
        self._database = database
        self._registry = registry
        self._settings = settings
        self._dispatcher = dispatcher
        self._incidents = incidents
        self._clock = clock
        self._online_runners = OnlineRunners(client, registry, clock)
        self._asking: dict[ManagerId, asyncio.Task[None]] = {}
        self._online: dict[ManagerId, int | None] = {}
        self._asked_at: dict[ManagerId, float] = {}
        self._running: Mapping[ManagerId, int] = {}
        self._taken: Mapping[ManagerId, frozenset[TaskType]] = {}
        self._taken_read_at = -inf

    async def look(self, *, ended: Collection[TaskPk]) -> None:
        """Count what runs, and ask for the runners anew where that was long ago; nobody is waited for.

        Args:
            ended: tasks that run only in Pod's rows: their runners are free.
        """
        now = self._clock.monotonic()
        self._running = await shadow_rows.running_tasks(self._database, besides=ended)
        if now - self._taken_read_at >= _TYPES_FRESH_FOR:
            self._taken = await shadow_rows.types_taken(self._database)
            self._taken_read_at = now
        known = {manager.id for manager in self._registry.all()}
        for gone in self._asked_at.keys() - known:
            self._asked_at.pop(gone)
            self._online.pop(gone, None)
        for manager in self._registry.all():
            fresh_for = self._settings().interval
            is_fresh = now - self._asked_at.get(manager.id, -inf) < fresh_for
            if manager.is_active and not is_fresh and self._registry.is_free(manager.id):
                self._ask(manager, now)

    def lanes(self, expected: Mapping[ManagerId, int]) -> list[Lane]:
        """The active managers; those without a free runner are full.

        Args:
            expected: how many tasks they would hold besides those that run there.
        """
        lanes = []
        for lane in self._registry.lanes():
            taken = self._taken.get(lane.manager)
            is_full = self.free(lane.manager) <= expected.get(lane.manager, 0)
            closed = [kind for kind in SUBMITTABLE if is_full or (taken is not None and kind not in taken)]
            lanes.append(replace(lane, full_until=dict.fromkeys(closed, inf)))
        return lanes

    def free(self, manager: ManagerId) -> int:
        """How many of a manager's runners are taken to be free."""
        return (self._online.get(manager) or 0) - self._running.get(manager, 0)

    def blind(self) -> list[str]:
        """The names of the managers that do not tell their runners: nothing is expected of them."""
        active = (manager for manager in self._registry.all() if manager.is_active)
        return [manager.name for manager in active if self._online.get(manager.id, 0) is None]

    async def until_idle(self) -> None:
        """Wait for the questions in progress."""
        while self._asking:
            await asyncio.wait(self._asking.values())

    async def stop(self) -> None:
        """Give the questions in progress up."""
        await cancel_surely(*self._asking.values())

    def _ask(self, manager: RunnerManager, now: float) -> None:
        if manager.id not in self._asking:
            # When it was asked, not when it answered: one that hangs is not asked in every look.
            self._asked_at[manager.id] = now
            self._asking[manager.id] = asyncio.create_task(
                self._learn(manager), name=f"runners of {manager.name}"
            )
            self._incidents.watch(self._asking[manager.id], "question about runners")

    async def _learn(self, manager: RunnerManager) -> None:
        try:
            runners = await self._online_runners.online(manager, not_before=self._clock.monotonic())
            online = None if runners is None else len(runners)
            has_changed = self._online.get(manager.id, -1) != online
            self._online[manager.id] = online
            if has_changed:
                self._dispatcher.ring()
        finally:
            self._asking.pop(manager.id, None)

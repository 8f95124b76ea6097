"""How many tasks wait and run: counted when somebody looks, and shown to whoever works with the figures."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import OTHER_STATUS, SUBMITTABLE, SiteId, TaskStatus, TaskType
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.rows import PodSites
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import queue_stats
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.wakeups import Wakeup

_QUICK_COUNT = 0.25
"""Seconds that counting every finished task may take each time that somebody looks."""

_COUNT_REST = 100.0
"""How many times as long as counting every finished task took their counts are good for."""

_SITES_FRESH_FOR = 60.0
"""Seconds for which it is not asked again which sites the pending tasks belong to."""

Observer: TypeAlias = Callable[[QueueStats], Awaitable[None]]
"""Is shown every look at the queue, before the next one; one that fails keeps no other one from it (I12)."""


class QueueCounter:
    """Looks at the queue.

    Args:
        database: Pod's.
        sites: Pod's; with one of them nobody asks on which the tasks are.
        changes_by_hand: rings when a person has changed something: then everything is counted anew.
        observers: are shown each look, one after the other, by what they do in the log.
        incidents: is told of what fails.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        sites: PodSites,
        changes_by_hand: Wakeup,
        observers: Mapping[str, Observer],
        incidents: Incidents,
        clock: Clock,
    ) -> None:
        self._database = database
        self._sites = sites
        self._changes_by_hand = changes_by_hand
        self._observers = observers
        self._incidents = incidents
        self._clock = clock
        self._turn = asyncio.Lock()
        self._count_again_at = float("-inf")
        self._changes_seen = 0
        self._pending_sites: dict[str, frozenset[tuple[SiteId, ...]]] | None = None
        self._sites_again_at = float("-inf")
        self.stats: QueueStats | None = None
        """The last look; None before the first one."""

    async def look(self) -> QueueStats:
        """Count the tasks; those that are finished, if counting them was quick or is long ago."""
        # Observers compare a look with the one before: two at once would see the same twice.
        async with self._turn:
            stats = await self._count()
            for what, see in self._observers.items():
                await self._show(what, see, stats)
            return stats

    async def _show(self, what: str, see: Observer, stats: QueueStats) -> None:
        try:
            await see(stats)
            self._incidents.recovered(what)
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told by the incidents
            self._incidents.failed(what, error, is_aside=True)

    async def _count(self) -> QueueStats:
        # Before it is counted: what is changed meanwhile is counted anew the next time.
        clock, changes = self._clock, self._changes_by_hand.rings
        begun, as_of = clock.monotonic(), clock.now()
        if begun < self._count_again_at and changes == self._changes_seen:
            stats = await queue_stats.queue_stats(self._database, past=self.stats)
        else:
            stats = await queue_stats.queue_stats(self._database)
            counted, self._changes_seen = clock.monotonic(), changes
            if counted - begun > _QUICK_COUNT:
                self._count_again_at = counted + _COUNT_REST * (counted - begun)
        if len(self._sites.known) > 1 and (begun >= self._sites_again_at or self._has_new_types(stats)):
            self._pending_sites = await queue_stats.pending_sites(self._database)
            self._sites_again_at = clock.monotonic() + _SITES_FRESH_FOR
        self.stats = replace(stats, as_of=as_of, sites=self._pending_sites)
        return self.stats

    def _has_new_types(self, stats: QueueStats) -> bool:
        """Whether tasks wait of a type of which none did when their sites were read."""
        known = self._pending_sites or {}
        return any(stats.count(kind, TaskStatus.PENDING) and kind not in known for kind in TaskType)


class QueueMetrics:
    """Shows the figures of the queue as metrics."""

    def __init__(self, registry: ManagerRegistry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics

    async def look(self, stats: QueueStats) -> None:
        """Show a look at the queue."""
        metrics = self._metrics
        for kind in TaskType:
            for status in (*TaskStatus, OTHER_STATUS):
                metrics.tasks.labels(kind, status).set(stats.count(kind, status))
            oldest = stats.oldest_pending.get(kind)
            metrics.queue_oldest_pending.labels(kind).set(0 if oldest is None else oldest.timestamp())
        closed = self._registry.closed_types()
        for kind in SUBMITTABLE:
            metrics.window_closed.labels(kind).set(kind in closed)
        running: Counter[str] = Counter()
        for manager in self._registry.all():
            running[manager.name] += stats.running_on.get(manager.id, 0)
        for name, tasks_there in running.items():
            metrics.runner_manager_running.labels(name).set(tasks_there)

"""Shadow mode: the jobs of a daemon that decides, tells and changes nothing."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.managers.prober import Prober
from poddispatchd.parts import Parts
from poddispatchd.pod.queue import QueueStats
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.runtime.jobs import Loop
from poddispatchd.runtime.wakeups import Wakeup
from poddispatchd.shadow.capacity import Capacity
from poddispatchd.shadow.dispatch import ShadowDispatcher
from poddispatchd.shadow.maintenance import ShadowUpkeep
from poddispatchd.shadow.outcomes import ShadowSettlement
from poddispatchd.shadow.stats import ShadowStats


@dataclass(frozen=True, slots=True)
class ShadowJobs:
    """The jobs; no callback reaches them, so that running tasks are found by asking."""

    parts: Parts
    stats: ShadowStats
    capacity: Capacity
    settlement: ShadowSettlement
    dispatcher: ShadowDispatcher
    reconciler: Reconciler
    upkeep: ShadowUpkeep
    prober: Prober

    @classmethod
    def of(cls, parts: Parts) -> "ShadowJobs":
        """The jobs that work with these parts."""
        stats, capacity = ShadowStats(parts.metrics), Capacity(parts)
        settlement = ShadowSettlement(parts, stats)
        return cls(
            parts=parts,
            stats=stats,
            capacity=capacity,
            settlement=settlement,
            dispatcher=ShadowDispatcher(parts, stats, settlement, capacity),
            reconciler=Reconciler(parts, settlement),
            upkeep=ShadowUpkeep(parts, stats),
            prober=Prober(parts),
        )

    @property
    def loops(self) -> Iterable[Loop]:
        """The jobs, each with what wakes it."""
        wakeups = self.parts.wakeups
        return (
            Loop("reconciler", self.reconciler.step, wakeups.reconciler),
            Loop("dispatcher", self.dispatcher.step, wakeups.dispatcher),
            Loop("maintenance", self.upkeep.step, wakeups.maintenance),
            Loop("prober", self.prober.step, Wakeup()),
        )

    @property
    def submissions(self) -> int:
        """None ever."""
        return 0

    @property
    def imports(self) -> int:
        """None ever."""
        return 0

    @property
    def queue_stats(self) -> QueueStats | None:
        """The last look at the queue; None before the first one."""
        return self.upkeep.queue_stats

    @property
    def stale(self) -> Collection[TaskPk]:
        """The tasks that run for too long."""
        return self.reconciler.stale

    @property
    def stalled_types(self) -> Collection[TaskType]:
        """None: the queue is Pod's to move."""
        return ()

    @property
    def shadow(self) -> ShadowState:
        """What has been found out."""
        return self.stats.state()

    @property
    def blind(self) -> Collection[str]:
        """The runner managers of which nothing can be expected."""
        return self.capacity.blind()

    async def begin(self) -> None:
        """There is nothing to give back."""

    async def stop(self) -> None:
        """Give questions up, and tell the totals."""
        await self.capacity.stop()
        self.stats.sum_up()

"""Shadow mode: the jobs of a daemon that decides, tells and changes nothing."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.task import StaleTasks
from poddispatchd.managers.prober import Prober
from poddispatchd.pod.queue_order import QueueStats
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.runtime.jobs import Loop, Work
from poddispatchd.runtime.wakeups import Wakeup, Wakeups
from poddispatchd.shadow.capacity import Capacity
from poddispatchd.shadow.dispatch import ShadowDispatcher
from poddispatchd.shadow.maintenance import ShadowUpkeep
from poddispatchd.shadow.outcomes import ShadowOutcomes
from poddispatchd.shadow.stats import ShadowStats


@dataclass(frozen=True, slots=True)
class ShadowJobs(Work):
    """The jobs; no callback reaches them, so that running tasks are found by asking."""

    wakeups: Wakeups
    stats: ShadowStats
    capacity: Capacity
    outcomes: ShadowOutcomes
    dispatcher: ShadowDispatcher
    reconciler: Reconciler
    upkeep: ShadowUpkeep
    prober: Prober

    @property
    def loops(self) -> Iterable[Loop]:
        """The jobs, each with what wakes it."""
        wakeups = self.wakeups
        return (
            Loop("reconciler", self.reconcile, wakeups.reconciler),
            Loop("dispatcher", self.dispatcher.step, wakeups.dispatcher),
            Loop("maintenance", self.upkeep.step, wakeups.maintenance),
            Loop("prober", self.prober.step, Wakeup()),
        )

    @property
    def queue_stats(self) -> QueueStats | None:
        """The last look at the queue; None before the first one."""
        return self.upkeep.queue_stats

    async def look(self) -> QueueStats:
        """Count the tasks now."""
        return await self.upkeep.look()

    @property
    def stale(self) -> StaleTasks:
        """The tasks that run for too long."""
        return self.reconciler.stale

    @property
    def shadow(self) -> ShadowState:
        """What has been found out."""
        return self.stats.state()

    @property
    def blind(self) -> Collection[str]:
        """The runner managers of which nothing can be expected."""
        return self.capacity.blind()

    async def reconcile(self) -> float:
        """Ask about running tasks, and compare with what became of their rows."""
        delay = await self.reconciler.step()
        await self.outcomes.compare()
        return delay

    async def stop(self) -> None:
        """Give questions up, and tell the totals."""
        await self.capacity.stop()
        await self.reconciler.stop()
        self.stats.sum_up()

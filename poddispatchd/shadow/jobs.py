"""Shadow mode: the jobs of a daemon that decides, tells and changes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from poddispatchd.managers.prober import Prober
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.runtime.jobs import DaemonJobs, Loop, Progress
from poddispatchd.runtime.wakeups import Wakeup, Wakeups
from poddispatchd.shadow.capacity import ObservedCapacity
from poddispatchd.shadow.dispatch import ShadowDispatcher
from poddispatchd.shadow.maintenance import ShadowUpkeep
from poddispatchd.shadow.outcomes import ShadowOutcomes
from poddispatchd.shadow.stats import ShadowStats


@dataclass(frozen=True, slots=True)
class ShadowJobs(DaemonJobs):
    """The jobs; no callback reaches them, so that running tasks are found by asking."""

    wakeups: Wakeups
    stats: ShadowStats
    capacity: ObservedCapacity
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
    def progress(self) -> Progress:
        """What the jobs tell now."""
        return Progress(
            queue_stats=self.upkeep.queue_stats,
            stale=self.reconciler.stale,
            shadow=self.stats.state(),
            blind=self.capacity.blind(),
        )

    async def look(self) -> QueueStats:
        """Count the tasks now."""
        return await self.upkeep.look()

    async def reconcile(self) -> float:
        """Ask about running tasks, and compare with what became of their rows."""
        delay = await self.reconciler.step()
        await self.outcomes.compare()
        return delay

    async def stop(self) -> None:
        """Give questions up, and tell the totals."""
        await self.capacity.stop()
        await self.reconciler.stop()
        await self.prober.stop()
        self.stats.sum_up()

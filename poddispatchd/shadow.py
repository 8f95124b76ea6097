"""Shadow mode: the jobs of a daemon that decides, tells and changes nothing."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.pod.queue import Glance
from poddispatchd.services.parts import Parts
from poddispatchd.services.prober import Prober
from poddispatchd.services.reconciler import Reconciler
from poddispatchd.services.shadow.dispatch import ShadowDispatcher
from poddispatchd.services.shadow.rooms import Rooms
from poddispatchd.services.shadow.settlement import ShadowSettlement
from poddispatchd.services.shadow.tally import ShadowState, Tally
from poddispatchd.services.shadow.upkeep import ShadowUpkeep
from poddispatchd.services.signals import Wake
from poddispatchd.services.work import Loop


@dataclass(frozen=True, slots=True)
class ShadowJobs:
    """The jobs; no callback reaches them, so that running tasks are found by asking."""

    parts: Parts
    tally: Tally
    rooms: Rooms
    settlement: ShadowSettlement
    dispatcher: ShadowDispatcher
    reconciler: Reconciler
    upkeep: ShadowUpkeep
    prober: Prober

    @classmethod
    def of(cls, parts: Parts) -> "ShadowJobs":
        """The jobs that work with these parts."""
        tally, rooms = Tally(parts.metrics), Rooms(parts)
        settlement = ShadowSettlement(parts, tally)
        return cls(
            parts=parts,
            tally=tally,
            rooms=rooms,
            settlement=settlement,
            dispatcher=ShadowDispatcher(parts, tally, settlement, rooms),
            reconciler=Reconciler(parts, settlement),
            upkeep=ShadowUpkeep(parts, tally),
            prober=Prober(parts),
        )

    @property
    def loops(self) -> Iterable[Loop]:
        """The jobs, each with what wakes it."""
        wakes = self.parts.wakes
        return (
            Loop("reconciler", self.reconciler.step, wakes.reconciler),
            Loop("dispatcher", self.dispatcher.step, wakes.dispatcher),
            Loop("janitor", self.upkeep.step, wakes.janitor),
            Loop("prober", self.prober.step, Wake()),
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
    def glance(self) -> Glance | None:
        """The last look at the queue; None before the first one."""
        return self.upkeep.glance

    @property
    def stale(self) -> Collection[TaskPk]:
        """The tasks that run for too long."""
        return self.reconciler.stale

    @property
    def standstill(self) -> Collection[TaskType]:
        """None: the queue is Pod's to move."""
        return ()

    @property
    def shadow(self) -> ShadowState:
        """What has been found out."""
        return self.tally.state()

    @property
    def blind(self) -> Collection[str]:
        """The runner managers of which nothing can be expected."""
        return self.rooms.blind()

    async def begin(self) -> None:
        """There is nothing to give back."""

    async def stop(self) -> None:
        """Give questions up, and tell the totals."""
        await self.rooms.stop()
        self.tally.sum_up()

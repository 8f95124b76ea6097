"""The seeded order in which faults are caused."""

import asyncio
from collections.abc import Mapping
from random import Random

from chaos.sabotage.daemons import DaemonFaults
from chaos.sabotage.fault import Fault, Lot
from chaos.sabotage.managers import ManagerFaults
from chaos.sabotage.pooler import PoolerFaults
from chaos.sabotage.refusals import DatabaseFaults
from chaos.sabotage.storage import StorageFaults
from chaos.stage import Stage
from chaos.timeline import Kind

KINDS: Mapping[Kind, int] = {
    Kind.DAEMON_KILL: 3,
    Kind.LEADER_KILL: 3,
    Kind.DAEMON_STOP: 2,
    Kind.DAEMON_PAUSE: 2,
    Kind.DAEMON_RELOAD: 1,
    Kind.DAEMON_BAD_RELOAD: 1,
    Kind.CLOCK_STEP: 2,
    Kind.MANAGER_KILL: 3,
    Kind.MANAGER_PAUSE: 2,
    Kind.MANAGER_SLOW: 2,
    Kind.MANAGER_LINK_CUT: 2,
    Kind.MANAGER_LINK_STALL: 2,
    Kind.MANAGER_LINK_HALF_OPEN: 2,
    Kind.RUNNER_DEATH: 3,
    Kind.MANAGER_MUTE: 2,
    Kind.TOKEN_ROTATED: 2,
    Kind.RATE_LIMIT: 1,
    Kind.SUBMISSION_ANSWERS: 5,
    Kind.STATUS_ANSWERS: 3,
    Kind.DOWNLOADS: 4,
    Kind.DATABASE_RESTART: 2,
    Kind.LEADER_CUT: 1,
    Kind.LINK_CUT: 1,
    Kind.LINK_STALL: 2,
    Kind.LINK_HALF_OPEN: 2,
    Kind.LINK_DELAY: 1,
    Kind.DISK_FULL: 2,
    Kind.UNENDED_BODIES: 2,
    Kind.ROW_LOCKED: 3,
    Kind.ROW_REFUSED: 3,
    Kind.TABLE_REFUSED: 3,
    Kind.DATABASE_FULL: 2,
    Kind.READ_ONLY: 1,
    Kind.MIGRATION: 3,
    Kind.MEDIA_HUNG: 2,
    Kind.MEDIA_STOPPED: 2,
    Kind.MEDIA_EMPTY: 2,
}
"""How often each kind is caused beside the others. Those of callbacks and rows happen all the time."""

_OF_THE_POOLER: Mapping[Kind, int] = {Kind.POOLER_KILL: 2, Kind.POOLER_CROWDED: 2}
"""Those that are caused as well where there is a pooler."""

_DRILLED = (
    Kind.DAEMON_KILL,
    Kind.LEADER_KILL,
    Kind.DATABASE_RESTART,
    Kind.LEADER_CUT,
    Kind.LINK_HALF_OPEN,
    Kind.POOLER_KILL,
)


class Saboteur:
    """Causes faults; two of them never hit one target at once.

    Args:
        stage: what is broken.
        lot: decides who is hit, for how long, and in which order.
        pace: scales the pauses between faults: 1 is about one every three seconds.
        brevity: scales the length of faults.
        kinds: those that are caused, and how often each beside the others; with a pooler, its own as well.

    Attributes:
        drilled: those whose recovery is measured with nothing else beside them.
    """

    def __init__(
        self,
        stage: Stage,
        lot: Random,
        *,
        pace: float = 1.0,
        brevity: float = 1.0,
        kinds: Mapping[Kind, int] = KINDS,
    ) -> None:
        self._shared = shared = Lot(lot, brevity)
        faults: dict[Kind, Fault] = {
            **DaemonFaults(stage, shared).faults(),
            **ManagerFaults(stage, shared).faults(),
            **StorageFaults(stage, shared).faults(),
            **DatabaseFaults(stage.connect, stage.timeline, shared, pooled=stage.pooler is not None).faults(),
        }
        if stage.pooler is not None:
            faults |= PoolerFaults(stage.pooler, stage.timeline, shared).faults()
            kinds = {**kinds, **_OF_THE_POOLER}
        self.drilled = tuple(kind for kind in _DRILLED if kind in faults)
        self._all = faults
        # Some need root.
        self._kinds = {kind: share for kind, share in kinds.items() if kind in faults}
        self._lot = lot
        self._pace = pace
        self._under_way: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    async def run(self, enough: asyncio.Event) -> None:
        """Cause faults until ``enough`` is set, then wait until those under way are over.

        Each kind has had its share before any has more than that.
        """
        bag: list[Kind] = []
        while not enough.is_set():
            if not bag:
                bag = [kind for kind, share in self._kinds.items() for _ in range(share)]
                self._lot.shuffle(bag)
            work = asyncio.create_task(self.cause(bag.pop()))
            self._under_way.add(work)
            work.add_done_callback(self._under_way.discard)
            try:
                async with asyncio.timeout(self._lot.uniform(1.0, 5.0) * self._pace):
                    await enough.wait()
            except TimeoutError:
                continue
        self._shared.is_over = True
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def cause(self, kind: Kind) -> None:
        """Cause one fault; comes back when it is over."""
        try:
            await self._all[kind]()
        except Exception as error:  # noqa: BLE001 - told at the end: a broken saboteur proves nothing
            self.failures.append(error)

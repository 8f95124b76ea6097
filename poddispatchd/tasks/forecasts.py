"""When pending and running tasks are expected to begin and end, for the daemon and for commands."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.computing import computed
from poddispatchd.database.pool import Database
from poddispatchd.domain.capacity import Capacity, ManagerNow, capacities
from poddispatchd.domain.fair_share import FairOrder
from poddispatchd.domain.forecast import PLAYED, Forecast, PendingWork, RunningWork, Workload, forecast
from poddispatchd.domain.queue_simulation import Played
from poddispatchd.domain.run_times import EndedRun, SourceSize
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, TaskPk
from poddispatchd.journal import ends, history
from poddispatchd.journal.scheduling import OwnTask
from poddispatchd.managers.rows import SiteChooser
from poddispatchd.pod import workload
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.source_sizes import SourceSizes
from poddispatchd.pod.workload import OpenWork

_RUNNING = 1000
_LOOKED_AT = 50
"""Source files whose size is asked for in one go: those of the others follow the next time."""

_SEED = 1
"""The same queue gives the same answer, however often it is asked for."""


OwnTasksOf: TypeAlias = Callable[[Collection[TaskPk]], Awaitable[Mapping[TaskPk, OwnTask]]]
"""Tells which of some tasks Pod is not submitting itself, and the waits of some of them."""


class Around(Struct, frozen=True):
    """What surrounds the queue.

    Attributes:
        managers: all of Pod's, as they are now.
        choose: for which of its sites a task is done.
        own_tasks: tells which tasks Pod is not submitting itself, and the waits of some.
        pending: how many tasks of each type wait in all, None: those that were read are all.
        order: by fair share, None: Pod's.
        is_submitted: whether tasks are submitted at all: nobody schedules, or cannot, where not.
    """

    managers: Collection[ManagerNow]
    choose: SiteChooser
    own_tasks: OwnTasksOf
    pending: Mapping[str, int] | None = None
    order: FairOrder | None = None
    is_submitted: bool = True


class Forecasts:
    """Reads what a forecast rests on, and makes it in a thread.

    Args:
        database: Pod's, with our schema in it.
        sizes: of source files, None where the media tree is not looked at.
    """

    def __init__(self, database: Database, sizes: SourceSizes | None) -> None:
        self._database = database
        self._sizes = sizes

    async def read(self, capabilities: Capabilities, around: Around, now: datetime) -> Forecast:
        """What can be expected now.

        Raises:
            DatabaseError: it cannot be read.
        """
        database = self._database
        waiting = await workload.waiting_work(database, capabilities, limit=PLAYED, order=around.order)
        running = await workload.running_work(database, limit=_RUNNING)
        if not waiting and not running:
            return Forecast(now)
        async with database.connection() as connection:
            begun = await ends.begun(connection, [item.source.pk for item in running])
            runs = await history.recent_runs(connection, [kind.value for kind in SUBMITTABLE])
        sizes = await self._sizes_of([*waiting, *running])
        own_tasks = await around.own_tasks([item.source.pk for item in waiting])
        todo = Workload(
            queue=[_pending(item, around, own_tasks, sizes) for item in waiting],
            running=[
                RunningWork(_played(item, sizes), item.manager, begun.get(item.source.pk, item.date_added))
                for item in running
            ],
            pending=around.pending or Counter(item.type for item in waiting),
        )
        managers = around.managers
        if not around.is_submitted:
            managers = [replace(manager, is_usable=False) for manager in managers]
        slots = capacities(managers, runs, _by_manager(running))
        # Nothing but arithmetic, and much of it: on the event loop callbacks would wait for it.
        return await computed(_forecast, now, todo, slots, runs)

    async def _sizes_of(self, items: Iterable[OpenWork]) -> Mapping[str, int]:
        if self._sizes is None:
            return {}
        paths = [item.source.path for item in items if item.source.path and not item.source.seconds]
        return await self._sizes.of(paths, most=_LOOKED_AT)


def _forecast(
    now: datetime, todo: Workload, slots: Collection[Capacity], runs: Collection[EndedRun]
) -> Forecast:
    chance = random.Random(_SEED)  # noqa: S311 - chance, not secrecy
    return forecast(now, todo, tuple(slots), runs, random=chance.random)


def _pending(
    item: OpenWork, around: Around, own_tasks: Mapping[TaskPk, OwnTask], sizes: Mapping[str, int]
) -> PendingWork:
    own = own_tasks.get(item.source.pk)
    wait = own.wait if own is not None and own.date_added == item.date_added else None
    return PendingWork(_played(item, sizes, around.choose), None if wait is None else wait.until)


def _played(item: OpenWork, sizes: Mapping[str, int], choose: SiteChooser | None = None) -> Played:
    source = item.source
    return Played(
        pk=source.pk,
        type=item.type,
        priority=source.priority,
        site=None if choose is None else choose(item.site_ids),
        source=SourceSize(source.seconds, sizes.get(source.path or "")),
        same=item.same,
    )


def _by_manager(running: Iterable[OpenWork]) -> Counter[ManagerId]:
    return Counter(item.manager for item in running if item.manager is not None)

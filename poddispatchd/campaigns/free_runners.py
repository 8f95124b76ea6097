"""Whether a campaign may have a runner now: one is free, and nothing in Pod's queue waits for it."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.routing import Lane, capacity
from poddispatchd.domain.task import SUBMITTABLE, SiteId, TaskPk, TaskType
from poddispatchd.journal.scheduling import Wait
from poddispatchd.managers.rows import PodSites
from poddispatchd.pod import queue_order
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.queue_order import CandidateQuery

_LOOKED_AT = 200
"""Pending tasks that are looked at: if these can all not be submitted, there is a queue all the same."""


Room: TypeAlias = Mapping[TaskType, frozenset[SiteId]]
"""On which sites some manager can be asked to take a task of a type; no type without one."""


class FreeRunners:
    """Looks at Pod's queue as the dispatcher does, but that new tasks count as well.

    Args:
        database: Pod's.
        catalogue: what Pod's tables have.
        sites: on which tasks are.
        lanes: the runner managers as routing sees them.
        waits: of the tasks that were put back into the queue.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        sites: PodSites,
        lanes: Callable[[], list[Lane]],
        waits: Callable[[], Awaitable[Mapping[TaskPk, Wait]]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._sites = sites
        self._lanes = lanes
        self._waits = waits
        self._clock = clock

    def room(self) -> Room:
        """The served sites on which some manager can be asked at once, by type; it costs no statement."""
        served = self._sites.served
        room = capacity(self._lanes(), self._clock.monotonic())
        return {kind: sites & served for kind, sites in room.items() if sites & served}

    def soon(self) -> Room:
        """The same with those that are being asked just now, and can be asked again then."""
        served, now = self._sites.served, self._clock.monotonic()
        return {
            kind: sites
            for kind in SUBMITTABLE
            if (sites := served & {lane.site for lane in self._lanes() if lane.has_room(kind, now)})
        }

    async def somebody_waits(self, room: Room, *, besides: Collection[TaskPk]) -> bool:
        """Whether a task of the queue waits for one of these runners.

        One that waits for something else does not count: for the end of another one of its source, for its
        next attempt, for a type of runner or a site that has none free.

        Args:
            room: the runners.
            besides: tasks of campaigns; who waits for one of these, as both are of one source, counts.
        """
        sites = frozenset().union(*room.values())
        waits = {pk: wait.date_added for pk, wait in (await self._waits()).items()}
        query = CandidateQuery(
            limit=_LOOKED_AT,
            types=tuple(room),
            sites=None if sites >= self._sites.known.keys() else sites,
            with_siteless=self._sites.current_id in sites,
            skip=besides,
            held=waits,
        )
        found = await queue_order.pending_tasks(self._database, self._catalogue.capabilities, query)
        choose = self._sites.chooser()
        # Whoever may stand behind those that were read counts as waiting: campaigns give way in doubt.
        return len(found) == _LOOKED_AT or any(
            (item.is_first or (item.is_duplicate_of in besides and item.running_duplicate is None))
            and not item.task.task_id
            and choose(item.site_ids) in room[item.task.type]
            for item in found
        )

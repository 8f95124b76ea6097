"""What the dispatcher sees of the queue: the tasks that may be submitted now, and what is known of them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from itertools import islice

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.config.model import DispatchSettings
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.waiting_tasks import OwnTasks, TaskMemories, Waiting
from poddispatchd.domain.routing import Lane, capacity, unserved
from poddispatchd.domain.task import SiteId, TaskPk, TaskType
from poddispatchd.managers.rows import PodSites
from poddispatchd.pod import queue_order
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.queue_order import CandidateQuery, PendingTask
from poddispatchd.runtime.supervisor import cancel_surely
from poddispatchd.tasks.fair_order import FairShares

_PAGE = 20
"""Pending tasks read at least: reading some more costs little beside finding them."""

_LARGEST_FIRST_PAGE = 200
"""Pending tasks read at once while the queue is long and goes on."""

_REREAD = 10.0
"""How many times as long as it took to read the queue it is not read again while it has tasks for everybody:
a tenth of the time at most goes into reading it, however long it is. What has changed meanwhile is met when
the intent is committed (``dispatch/intents.py``)."""

_MOST_STALE = 10.0
"""Seconds after which the queue is read again in any case."""

_LONG_READ = 0.1
"""Seconds: a queue that takes longer is read beside the submissions, as long as there are candidates."""

_JUST_OLD = 0.1
"""Seconds for which what has just become too old is good until it has been read again, beside submissions."""

_A_MOMENT = 0.01
"""Seconds: the database must agree that the grace is over."""

_GROWTH = 4

_ENOUGH = 8
"""Candidates for each manager: those that it is given now and next, and those that are read ahead for it."""


class _Asked(Struct, frozen=True):
    """What a look is for; see ``Candidates.look``."""

    lanes: list[Lane]
    skip: frozenset[TaskPk]
    types: Collection[TaskType]
    own_tasks_within: float


class Candidates:
    """Looks at the head of the queue, as far as managers can take tasks right now.

    Args:
        database: Pod's.
        catalogue: what Pod's tables have.
        sites: on which the tasks are.
        fair_shares: in which order tasks are handed out, where that is not Pod's.
        settings: the current ones.
        clock: of the daemon.
        max_attempts: submissions of one task (``reconcile.max_attempts``).
        has_journal: whether there is one, and this daemon may write it; else Pod submits whatever waits.
        read_beside: whether a long queue may be read while tasks that were read before are submitted.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        sites: PodSites,
        fair_shares: FairShares,
        settings: Callable[[], DispatchSettings],
        clock: Clock,
        max_attempts: Callable[[], int],
        has_journal: bool = True,
        read_beside: bool = False,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._sites = sites
        self._fair_shares = fair_shares
        self._has_journal = has_journal
        self._settings = settings
        self._clock = clock
        self._max_attempts = max_attempts
        self.memories = TaskMemories(clock)
        """What is remembered of tasks while they wait."""
        self.has_more = False
        """Whether there may be tasks behind those that were read last."""
        self._own_tasks = OwnTasks(database, clock)
        self._read: dict[TaskPk, Waiting] = {}
        self._stale_at = float("-inf")
        self._page_size = _PAGE
        self._read_beside = read_beside
        self._last_read_took = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def look(
        self,
        lanes: list[Lane],
        *,
        skip: frozenset[TaskPk],
        types: Collection[TaskType],
        own_tasks_within: float = 0.0,
    ) -> list[Waiting]:
        """The tasks that may be submitted now, in the order of the queue; none when nobody could take one.

        What was read last is good for a moment, as long as it has a task for everybody who can take one.

        Args:
            lanes: the managers as routing sees them.
            skip: tasks in hand.
            types: of which tasks may be submitted.
            own_tasks_within: seconds for which it is not read again which tasks need no grace or are to wait.
        """
        asked, now = _Asked(lanes, skip, types, own_tasks_within), self._clock.monotonic()
        is_fresh, is_just_old = now < self._stale_at, now < self._stale_at + _JUST_OLD
        if is_fresh or (self._read_beside and (is_just_old or self._last_read_took > _LONG_READ)):
            waiting = self._serving_all(asked, now)
            if waiting is not None:
                if not is_fresh and self._reading is None:
                    self._reading = asyncio.create_task(self._read_again(asked), name="reading of the queue")
                    self._reading.add_done_callback(self._was_read)
                return waiting
        if self._reading is not None:
            # What it finds may be of before; it must not replace what is found now.
            await self.stop()
        await self._read_again(asked)
        return list(self._read.values())

    async def stop(self) -> None:
        """End what is read beside the submissions."""
        if self._reading is not None:
            await cancel_surely(self._reading)

    def _was_read(self, reading: "asyncio.Task[None]") -> None:
        """A reading that failed is made again when the candidates run out, and told then."""
        self._reading = None
        if not reading.cancelled():
            reading.exception()

    def _serving_all(self, asked: _Asked, now: float) -> list[Waiting] | None:
        """What is left of the tasks read last, if there is one for everybody who can take one."""
        waiting: list[Waiting] = []
        free = (
            entry
            for pk, entry in self._read.items()
            if pk not in asked.skip
            and entry.item.task.type in asked.types
            and self.memories.is_free(entry, now)
        )
        served = self._sites.served
        reached = [lane for lane in asked.lanes if lane.site in served]
        # As a rule the first ones do, and the others need not be looked at.
        for most in (_ENOUGH * len(asked.lanes), None):
            waiting += islice(free, most)
            if not unserved((entry.offer for entry in waiting), reached, now):
                return waiting
        return None

    async def _read_again(self, asked: _Asked) -> None:
        """Read the queue for the managers as they were when it was asked for: soon they have their tasks."""
        begun = self._clock.monotonic()
        self.memories.forgotten.clear()
        waiting = await self._look_again(asked)
        # Those that a manager took meanwhile still waited when the database looked.
        gone = self.memories.forgotten
        self._read = {entry.item.task.pk: entry for entry in waiting if entry.item.task.pk not in gone}
        ended = self._clock.monotonic()
        self._last_read_took = ended - begun
        self._stale_at = ended + min(_REREAD * self._last_read_took, _MOST_STALE)

    def expire(self) -> None:
        """What was read is not as it was: it is read again at the next look."""
        self._stale_at = float("-inf")

    def forget_order(self) -> None:
        """Whoever was read last may not be next any more: nobody is handed out before it is read again."""
        self._read = {}
        self.expire()
        if self._reading is not None:
            self._reading.cancel()

    async def _look_again(self, asked: _Asked) -> list[Waiting]:
        """Read the queue.

        The first page holds the next tasks of any kind for which there is room. It may be full of tasks that
        cannot be placed (duplicates, tasks that some managers refuse): then another one is read with what the
        managers that are left without work could take, until they have some or nothing is left. The first
        task of a source stands before all others of it, so that a page tells of a source whatever it can:
        no further one holds any task of it.
        """
        now = self._clock.monotonic()
        if self._has_journal:
            await self._own_tasks.read(within=asked.own_tasks_within, grace=self._settings().grace)
        left, size = asked.lanes, max(self._page_size, 2 * len(asked.lanes))
        found: dict[TaskPk, PendingTask] = {}
        waiting: list[Waiting] = []
        while room := self._room(left, asked.types, now):
            page = await self._page(room, size, found.values(), asked.skip, now)
            found |= {item.task.pk: item for item in page}
            await self._own_tasks.read_losses(page)
            waiting += self._submittable(page, now)
            self.has_more = len(page) == size
            if not self.has_more:
                self._page_size = _PAGE
                break
            left = unserved((entry.offer for entry in waiting), asked.lanes, now, among=left)
            size *= _GROWTH
        if 2 * len(waiting) > self._page_size:
            # Most of what was read can be submitted, and more stands behind it.
            self._page_size = min(2 * self._page_size, _LARGEST_FIRST_PAGE)
        waiting.sort(key=lambda entry: entry.item.place)
        self.memories.forget_some(found.keys())
        return waiting

    def next_release(self, now: float) -> float | None:
        """When the next task that is left alone may be tried again; None when there is none."""
        held = self.memories.held_after(now)
        held += [moment for _, _, moment in self._own_tasks.waiting(now)]
        return min(held, default=None)

    def _room(
        self, lanes: Iterable[Lane], types: Collection[TaskType], now: float
    ) -> dict[TaskType, frozenset[SiteId]]:
        served = self._sites.served
        room = {kind: sites & served for kind, sites in capacity(lanes, now).items() if kind in types}
        return {kind: sites for kind, sites in room.items() if sites}

    async def _page(
        self,
        room: dict[TaskType, frozenset[SiteId]],
        size: int,
        seen: Collection[PendingTask],
        skip: frozenset[TaskPk],
        now: float,
    ) -> list[PendingTask]:
        """The next tasks for which there is room; Pod's own new ones are left to Pod for a while.

        Those that were put back are left alone until they have waited.

        Types with room on the same sites are asked for at once: nearly always all of them.
        """
        settings = self._settings()
        grace = settings.grace
        kinds: dict[frozenset[SiteId], list[TaskType]] = defaultdict(list)
        for kind, sites in room.items():
            kinds[sites].append(kind)
        held = {pk: date_added for pk, date_added, _ in self._own_tasks.waiting(now)}
        sourceless = {item.task.pk for item in seen if item.source is None}
        found: list[PendingTask] = []
        is_fair = self._has_journal and settings.fair_share != "none"
        order = await self._fair_shares.order() if is_fair else None
        for sites, types in kinds.items():
            query = CandidateQuery(
                limit=size,
                grace=grace,
                types=types,
                sites=None if sites >= self._sites.known.keys() else sites,
                with_siteless=self._sites.current_id in sites,
                skip=skip | sourceless,
                ignore_grace=tuple(self._own_tasks.known) if grace else (),
                held=held,
                exclude_sources={item.source for item in seen if item.source is not None},
            )
            found += await queue_order.pending_tasks(
                self._database, self._catalogue.capabilities, query, order
            )
        return sorted(found, key=lambda item: (item.grace_left > 0, item.place))[:size]

    def _submittable(self, page: list[PendingTask], now: float) -> list[Waiting]:
        """The tasks that wait for nothing but a runner: one of each source, on a site that is served."""
        choose = self._sites.chooser()
        entries = []
        for item in page:
            memory, site = self.memories.of(item), choose(item.site_ids)
            lost_by, due_at = self._own_tasks.losses(item.task)
            memory.lost(lost_by, due_at=due_at, max_attempts=self._max_attempts())
            if item.grace_left > 0:
                # The end of its grace wakes the dispatcher.
                memory.held_until = max(memory.held_until, now + item.grace_left + _A_MOMENT)
            # With an id it may run already: the reconciler finds out, and takes the id off if it does not.
            is_free = item.is_first and not item.task.task_id
            if is_free and site is not None and memory.held_until <= now:
                entries.append(Waiting(item, self._sites, self._sites.known[site], memory))
        return entries

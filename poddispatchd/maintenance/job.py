"""Ranks, purge, what imports left behind, and the figures of the queue."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial

import structlog

from poddispatchd.domain.task import SUBMITTABLE, SiteId, TaskStatus, TaskType
from poddispatchd.errors import DatabaseUnavailableError, MediaSlowError
from poddispatchd.journal import imports
from poddispatchd.maintenance import housekeeping
from poddispatchd.maintenance.acts import ActLog
from poddispatchd.maintenance.ended import EndedTasks
from poddispatchd.maintenance.opencast import purge_opencast_files
from poddispatchd.maintenance.stalled_queue import StalledQueue, stalled_words
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import queue_order, tasks
from poddispatchd.pod.media.files import free_space
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.queue_order import QueueStats
from poddispatchd.runtime import queues
from poddispatchd.runtime.lease_queue import LONGEST_WORDS

log = structlog.get_logger(__name__)

_IDLE = 120.0
_NOT_TOO_OFTEN = 1.0
_REST = 20.0
"""How many times as long as a round took the next one waits: its share of the database stays below 5 %."""

_QUICK_COUNT = 0.25
"""Seconds that counting every finished task may take each time that somebody looks."""

_COUNT_REST = 100.0
"""How many times as long as counting every finished task took their counts are good for."""

_SITES_FRESH_FOR = 60.0
"""Seconds for which it is not asked again which sites the pending tasks belong to."""

_COMPARE_EVERY = 300.0
"""Seconds after which ranks that nobody touched are compared with the order again: whose tasks come first is
said in other tables, and in them that changes rarely."""

_PURGE_EVERY = 3600.0
_SET_ASIDE_EVERY = 10.0
_BATCH = 1000


class Maintenance:
    """Keeps ranks and figures up to date, and deletes what has had its time; only the scheduler writes."""

    def __init__(self, parts: Parts, purges: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        self._parts = parts
        self._purges = purges
        self._purged_at = float("-inf")
        self._right_ranks: int | None = None
        self._compared_at = float("-inf")
        self._count_again_at = float("-inf")
        self._changes_by_hand = 0
        self._set_aside_at = float("-inf")
        self._sites: dict[str, frozenset[tuple[SiteId, ...]]] | None = None
        self._sites_again_at = float("-inf")
        self._ended = EndedTasks(parts)
        self._acts = ActLog(parts)
        self._turn = asyncio.Lock()
        self._stalled_queue = StalledQueue()
        self.queue_stats: QueueStats | None = None
        self.stalled_types: tuple[TaskType, ...] = ()
        """The types of which tasks waited for too long at the last look while none ran."""

    async def step(self) -> float:
        """One round; seconds until the next one."""
        parts = self._parts
        begun = parts.clock.monotonic()
        queue_stats = await self.look()
        await self._apart("look at the media tree", self.measure())
        await self._apart("count of what was set aside", self.count_set_aside())
        if parts.session.term is not None:
            if any(queue_stats.count(kind, TaskStatus.PENDING) for kind in TaskType) or self._is_first():
                await self._apart("writing of ranks", self._keep_ranks(queue_stats))
            if parts.clock.monotonic() - self._purged_at >= _PURGE_EVERY:
                await self.purge()
        # Each submission moves every rank behind it: a long queue must not be renumbered all the time.
        spent = parts.clock.monotonic() - begun
        await parts.clock.sleep(min(max(_NOT_TOO_OFTEN, _REST * spent), _IDLE))
        return _IDLE

    async def _apart(self, what: str, work: Awaitable[object]) -> None:
        """Do one thing of a round: when it fails, the others are done all the same (I12).

        Raises:
            DatabaseUnavailableError: the database is gone.
        """
        try:
            await work
            self._parts.incidents.recovered(what)
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told by the incidents
            self._parts.incidents.failed(what, error)

    async def look(self) -> QueueStats:
        """Count the tasks; those that are finished, if counting them was quick or is long ago."""
        async with self._turn:
            return await self._look()

    async def _look(self) -> QueueStats:
        clock, database = self._parts.clock, self._parts.database
        begun, as_of = clock.monotonic(), clock.now()
        changes = self._parts.wakeups.administration.rings
        if begun < self._count_again_at and changes == self._changes_by_hand:
            stats = await queue_order.queue_stats(database, past=self.queue_stats)
        else:
            stats = await queue_order.queue_stats(database)
            counted, self._changes_by_hand = clock.monotonic(), changes
            if counted - begun > _QUICK_COUNT:
                self._count_again_at = counted + _COUNT_REST * (counted - begun)
        if len(self._parts.sites.known) > 1 and (begun >= self._sites_again_at or self._has_new_types(stats)):
            self._sites = await queue_order.pending_sites(database)
            self._sites_again_at = clock.monotonic() + _SITES_FRESH_FOR
        self.queue_stats = replace(stats, as_of=as_of, sites=self._sites)
        if self._parts.has_journal:
            await self._ended.look(self.queue_stats)
            await self._acts.look()
        self._show(self.queue_stats)
        self._tell_of_standstill(self.queue_stats)
        return self.queue_stats

    def _has_new_types(self, stats: QueueStats) -> bool:
        """Whether tasks wait of a type of which none did when their sites were read."""
        known = self._sites or {}
        return any(stats.count(kind, TaskStatus.PENDING) and kind not in known for kind in TaskType)

    def _is_first(self) -> bool:
        return self._purged_at == float("-inf")

    async def _keep_ranks(self, queue_stats: QueueStats) -> None:
        """Write the ranks, unless they are those that were found to be right lately."""
        parts, now = self._parts, self._parts.clock.monotonic()
        if queue_stats.ranks is not None and queue_stats.ranks == self._right_ranks:
            if now - self._compared_at < _COMPARE_EVERY:
                return
            self._compared_at = now
            # Several processes of the server compare; only one can write.
            capabilities = parts.catalogue.capabilities
            order = await parts.order()
            if not (await queue_order.wrong_ranks(parts.database, capabilities, limit=1, order=order)).count:
                return
        changed = await self.write_ranks()
        self._right_ranks, self._compared_at = None if changed else queue_stats.ranks, now

    async def write_ranks(self) -> int:
        """Give every pending task its place in the queue; how many ranks changed."""
        parts = self._parts
        changed = await queue_order.write_ranks(
            parts.database, parts.catalogue.capabilities, await parts.order()
        )
        if changed:
            log.debug(Event.RANKS_WRITTEN, rows=changed)
        return changed

    async def purge(self) -> None:
        """Delete what has had its time: completed tasks, files, rows of the journal."""
        parts = self._parts
        self._purged_at = parts.clock.monotonic()
        # First: the completed tasks tell which recordings are imported.
        await self._apart("purge of recordings", purge_opencast_files(parts))
        days = parts.settings.retention.completed_days
        if days > 0:
            await self._apart("purge of completed tasks", self._purge_completed(days))
        await self._apart("purge of the journal", self._purge_journal())
        for what, purge in self._purges.items():
            await self._apart(what, purge())

    async def _purge_journal(self) -> None:
        days = self._parts.settings.retention.journal_days
        async with self._parts.database.connection() as connection:
            await housekeeping.purge(connection, days=days, batch=_BATCH)

    async def _purge_completed(self, days: int) -> None:
        parts = self._parts
        before = parts.clock.now() - timedelta(days=days)
        total = 0
        while True:
            async with parts.database.connection() as connection:
                purged = await tasks.purge_completed(connection, added_before=before, limit=_BATCH)
            total += purged
            parts.metrics.purged.inc(purged)
            if purged < _BATCH:
                break
        if total:
            log.info(Event.TASKS_PURGED, rows=total, older_than_days=days)

    async def measure(self) -> None:
        """Look at the free space; a file system that does not answer is not waited for, and not fatal."""
        parts = self._parts
        root, keep_free = parts.settings.pod.media_root, parts.settings.imports.keep_free
        try:
            free = await parts.media.look_within(
                parts.media.limits.space, Look.SPACE, partial(free_space, parts.media)
            )
        except MediaSlowError as error:
            log.warning(Event.MEDIA_SLOW, path=str(root), reason=str(error))
            parts.storage.obstructed(str(error))
        except OSError as error:
            parts.storage.obstructed(f"{root} cannot be looked at: {error.strerror or error}.")
        else:
            parts.metrics.media_free_bytes.set(free)
            if free < keep_free:
                parts.storage.obstructed(f"{free} bytes are free for {root}, less than imports.keep_free.")
            else:
                parts.storage.usable()
        await parts.evidence.check()
        await self._forget_obstacles_of_others()

    async def _forget_obstacles_of_others(self) -> None:
        """What another daemon has taken over since, or brought to an end, is no obstacle of ours any more."""
        parts, waiting = self._parts, self._parts.storage.waiting
        if not waiting:
            return
        async with parts.database.connection() as connection:
            known = await imports.last_words(connection, list(waiting))
        for task, words in waiting.items():
            last = known.get(task)
            is_ours = last is not None and last.owner == parts.instance
            is_same = last is not None and last.owner is None and last.error == words[:LONGEST_WORDS]
            if not (is_ours or is_same):
                parts.storage.usable(task)

    async def count_set_aside(self) -> None:
        """Look at what was set aside in the queues of the journal; not too often."""
        parts, now = self._parts, self._parts.clock.monotonic()
        if now - self._set_aside_at < _SET_ASIDE_EVERY:
            return
        self._set_aside_at = now
        async with parts.database.connection() as connection:
            parts.set_aside = await queues.set_aside_counts(connection)

    def _tell_of_standstill(self, queue_stats: QueueStats) -> None:
        """Tell once of a type of which tasks wait for too long while none runs."""
        parts, before = self._parts, self.stalled_types
        now, after = parts.clock.monotonic(), parts.settings.reconcile.stale_after
        self._stalled_queue.see(queue_stats, now, closed=parts.registry.closed_types())
        self.stalled_types = self._stalled_queue.lasting(now, after=after)
        news = [kind for kind in self.stalled_types if kind not in before]
        if news and parts.session.term is not None:
            log.error(Event.QUEUE_STALLED, reason=stalled_words(news, after=after))

    def _show(self, queue_stats: QueueStats) -> None:
        metrics = self._parts.metrics
        for kind in TaskType:
            for status in TaskStatus:
                metrics.tasks.labels(kind, status).set(queue_stats.count(kind, status))
            oldest = queue_stats.oldest_pending.get(kind)
            metrics.queue_oldest_pending.labels(kind).set(0 if oldest is None else oldest.timestamp())
        closed = self._parts.registry.closed_types()
        for kind in SUBMITTABLE:
            metrics.window_closed.labels(kind).set(kind in closed)
        for report in self._parts.registry.reports():
            metrics.runner_manager_paused.labels(report.name).set(report.paused)
        running: Counter[str] = Counter()
        for manager in self._parts.registry.all():
            running[manager.name] += queue_stats.running_on.get(manager.id, 0)
        for name, tasks_there in running.items():
            metrics.runner_manager_running.labels(name).set(tasks_there)

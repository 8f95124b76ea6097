"""Ranks, purge, what imports left behind, and the figures of the queue."""

import asyncio
from datetime import timedelta

import structlog

from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.imports import cleanup
from poddispatchd.journal import imports
from poddispatchd.maintenance import housekeeping
from poddispatchd.maintenance.opencast import purge_opencast_files
from poddispatchd.maintenance.stalled_queue import StalledQueue, stalled_words
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import queue, tasks
from poddispatchd.pod.queue import QueueStats
from poddispatchd.runner.download import free_space

log = structlog.get_logger(__name__)

_IDLE = 120.0
_NOT_TOO_OFTEN = 1.0
_REST = 20.0
"""How many times as long as a round took the next one waits: its share of the database stays below 5 %."""

_COUNT_REST = 100.0
"""How many times as long as counting every finished task took their counts are good for."""

_COMPARE_EVERY = 300.0
"""Seconds after which ranks that nobody touched are compared with the order again: whose tasks come first is
said in other tables, and in them that changes rarely."""

_PURGE_EVERY = 3600.0
_BATCH = 1000
_DISK_TIMEOUT = 20.0
_JOURNAL_DAYS = 90
"""Days for which the journal keeps what is settled: as long as managers keep their records, and some."""


class Maintenance:
    """Keeps ranks and figures up to date, and deletes what has had its time; only the scheduler writes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._purged_at = float("-inf")
        self._right_ranks: int | None = None
        self._compared_at = float("-inf")
        self._count_again_at = float("-inf")
        self._stalled_queue = StalledQueue()
        self.queue_stats: QueueStats | None = None
        self.stalled_types: tuple[TaskType, ...] = ()
        """The types of which tasks waited for too long at the last look while none ran."""

    async def step(self) -> float:
        """One round; seconds until the next one."""
        parts = self._parts
        begun = parts.clock.monotonic()
        queue_stats = await self.look()
        await self.measure()
        if parts.session.term is not None:
            if any(queue_stats.count(kind, TaskStatus.PENDING) for kind in TaskType) or self._is_first():
                await self._keep_ranks(queue_stats)
            if parts.clock.monotonic() - self._purged_at >= _PURGE_EVERY:
                await self.purge()
        # Each submission moves every rank behind it: a long queue must not be renumbered all the time.
        spent = parts.clock.monotonic() - begun
        await parts.clock.sleep(min(max(_NOT_TOO_OFTEN, _REST * spent), _IDLE))
        return _IDLE

    async def look(self) -> QueueStats:
        """Count the tasks; those that are finished, if counting them was quick or is long ago."""
        clock, database = self._parts.clock, self._parts.database
        begun = clock.monotonic()
        if begun < self._count_again_at:
            self.queue_stats = await queue.queue_stats(database, past=self.queue_stats)
        else:
            self.queue_stats = await queue.queue_stats(database)
            counted = clock.monotonic()
            self._count_again_at = counted + _COUNT_REST * (counted - begun)
        self._show(self.queue_stats)
        self._tell_of_standstill(self.queue_stats)
        return self.queue_stats

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
            if not (await queue.wrong_ranks(parts.database, parts.capabilities, limit=1)).count:
                return
        changed = await self.write_ranks()
        self._right_ranks, self._compared_at = None if changed else queue_stats.ranks, now

    async def write_ranks(self) -> int:
        """Give every pending task its place in the queue; how many ranks changed."""
        changed = await queue.write_ranks(self._parts.database, self._parts.capabilities)
        if changed:
            log.debug(Event.RANKS_WRITTEN, rows=changed)
        return changed

    async def purge(self) -> None:
        """Delete what has had its time: completed tasks, files of the studio, journal rows, leftovers."""
        parts = self._parts
        self._purged_at = parts.clock.monotonic()
        # First: the completed tasks tell which recordings are imported.
        await purge_opencast_files(parts)
        days = parts.settings.retention.completed_days
        if days > 0:
            await self._purge_completed(days)
        async with parts.database.connection() as connection:
            await housekeeping.purge(connection, days=_JOURNAL_DAYS, batch=_BATCH)
        await cleanup.sweep(parts)
        await cleanup.delete_obsolete(parts)

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
            async with asyncio.timeout(_DISK_TIMEOUT):
                free = await asyncio.to_thread(free_space, root)
        except TimeoutError:
            log.warning(Event.MEDIA_SLOW, path=str(root), seconds=_DISK_TIMEOUT)
        except OSError as error:
            parts.storage.obstructed(f"{root} cannot be looked at: {error.strerror or error}.")
        else:
            parts.metrics.media_free_bytes.set(free)
            if free < keep_free:
                parts.storage.obstructed(f"{free} bytes are free for {root}, less than imports.keep_free.")
            else:
                parts.storage.usable()
        if parts.storage.waiting:
            async with parts.database.connection() as connection:
                elsewhere = parts.storage.waiting - await imports.open_tasks(connection)
            parts.storage.usable(*elsewhere)

    def _tell_of_standstill(self, queue_stats: QueueStats) -> None:
        """Tell once of a type of which tasks wait for too long while none runs."""
        parts, before = self._parts, self.stalled_types
        now, after = parts.clock.monotonic(), parts.settings.reconcile.stale_after
        self._stalled_queue.see(queue_stats, now)
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

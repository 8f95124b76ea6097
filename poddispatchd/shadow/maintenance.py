"""Figures, ranks and purge as a shadow sees them, and the totals of every hour."""

from collections.abc import Callable
from datetime import datetime, timedelta
from math import inf

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.shadow import Difference
from poddispatchd.domain.task import TaskPk
from poddispatchd.maintenance.media_space import MediaSpace
from poddispatchd.maintenance.queue_counter import QueueCounter
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import queue_order, shadow_rows
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.shadow.stats import ShadowStats

_EVERY = 60.0
_SUMMARY_EVERY = 3600.0
_PURGE_EVERY = 3600.0
_RANKS_NAMED = 100


class ShadowUpkeep:
    """Counts what would be renumbered and purged; it changes nothing.

    Args:
        database: Pod's.
        catalogue: what Pod's tables have.
        counter: looks at the queue.
        media: looks at the media tree.
        stats: is told what Pod left undone.
        settings: the current ones.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        counter: QueueCounter,
        media: MediaSpace,
        stats: ShadowStats,
        settings: Callable[[], Settings],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._counter = counter
        self._media = media
        self._stats = stats
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._summed_up_at = clock.monotonic()
        self._ranks_seen_at = -inf
        self._purge_seen_at = -inf
        self._wrong_ranks: set[tuple[TaskPk, int | None]] = set()
        self._ranks_are_told = False
        self._due_to_purge: datetime | None = None

    @property
    def queue_stats(self) -> QueueStats | None:
        """The last look at the queue; None before the first one."""
        return self._counter.stats

    async def look(self) -> QueueStats:
        """Count the tasks now."""
        return await self._counter.look()

    async def step(self) -> float:
        """One round; seconds until the next one."""
        now = self._clock.monotonic()
        await self._counter.look()
        await self._media.look()
        await self._catalogue.look_again()
        if now - self._ranks_seen_at >= self._settings().shadow.cron_interval:
            self._ranks_seen_at = now
            await self._look_at_ranks()
        if now - self._purge_seen_at >= _PURGE_EVERY:
            self._purge_seen_at = now
            await self._look_at_purge()
        if now - self._summed_up_at >= _SUMMARY_EVERY:
            self._summed_up_at = now
            self._stats.sum_up()
        return min(_EVERY, self._settings().shadow.cron_interval)

    async def _look_at_ranks(self) -> None:
        """Ranks lag behind the queue until Pod's next turn: only those that stay wrong over one count."""
        wrong = await queue_order.wrong_ranks(
            self._database, self._catalogue.capabilities, limit=_RANKS_NAMED
        )
        self._metrics.shadow_wrong_ranks.set(wrong.count)
        held = {(pk, rank) for pk, (rank, _) in wrong.first.items()}
        stayed = sorted(held & self._wrong_ranks)
        self._wrong_ranks = held
        if stayed and not self._ranks_are_told:
            pk, rank = stayed[0]
            place = {task: place for task, (_, place) in wrong.first.items()}[pk]
            self._stats.differs(
                Difference.WRONG_RANKS,
                f"{wrong.count} tasks have a rank in Pod that is not their place in the queue: task {pk} has "
                f"{_said('rank', rank)} and {_said('place', place)}.",
                rows=wrong.count,
            )
        # Told again only after they were right once.
        self._ranks_are_told = bool(stayed)

    async def _look_at_purge(self) -> None:
        """What is due at one look should be gone at the next: Pod purges at each turn."""
        days = self._settings().retention.completed_days
        if days <= 0:
            self._due_to_purge = None
            self._metrics.shadow_purgeable.set(0)
            return
        # Those due at the look before: Pod has had its turns since.
        kept = 0
        if self._due_to_purge is not None:
            kept = await shadow_rows.purgeable_tasks(self._database, added_before=self._due_to_purge)
        self._due_to_purge = self._clock.now() - timedelta(days=days)
        due = await shadow_rows.purgeable_tasks(self._database, added_before=self._due_to_purge)
        self._metrics.shadow_purgeable.set(due)
        if kept:
            self._stats.differs(
                Difference.NOT_PURGED,
                f"{kept} completed tasks are kept; poddispatchd would have deleted them after {days} days.",
                rows=kept,
            )


def _said(noun: str, number: int | None) -> str:
    return f"no {noun}" if number is None else f"{noun} {number}"

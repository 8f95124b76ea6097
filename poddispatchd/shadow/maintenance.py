"""Figures, ranks and purge as a shadow sees them, and the totals of every hour."""

from datetime import datetime, timedelta
from math import inf

from poddispatchd.domain.shadow import Difference
from poddispatchd.domain.task import TaskPk
from poddispatchd.maintenance.job import Maintenance
from poddispatchd.parts import Parts
from poddispatchd.pod import observed, queue_order
from poddispatchd.pod.queue_order import QueueStats
from poddispatchd.shadow.stats import ShadowStats

_EVERY = 60.0
_SUMMARY_EVERY = 3600.0
_PURGE_EVERY = 3600.0
_RANKS_NAMED = 100


class ShadowUpkeep:
    """Counts what would be renumbered and purged; it changes nothing."""

    def __init__(self, parts: Parts, stats: ShadowStats, janitor: Maintenance) -> None:
        self._parts = parts
        self._stats = stats
        self._janitor = janitor
        self._summed_up_at = parts.clock.monotonic()
        self._ranks_seen_at = -inf
        self._purge_seen_at = -inf
        self._wrong_ranks: set[tuple[TaskPk, int | None]] = set()
        self._ranks_are_told = False
        self._due_to_purge: datetime | None = None

    @property
    def queue_stats(self) -> QueueStats | None:
        """The last look at the queue; None before the first one."""
        return self._janitor.queue_stats

    async def look(self) -> QueueStats:
        """Count the tasks now."""
        return await self._janitor.look()

    async def step(self) -> float:
        """One round; seconds until the next one."""
        now = self._parts.clock.monotonic()
        await self._janitor.look()
        await self._janitor.measure()
        if now - self._ranks_seen_at >= self._parts.settings.shadow.cron_interval:
            self._ranks_seen_at = now
            await self._look_at_ranks()
        if now - self._purge_seen_at >= _PURGE_EVERY:
            self._purge_seen_at = now
            await self._look_at_purge()
        if now - self._summed_up_at >= _SUMMARY_EVERY:
            self._summed_up_at = now
            self._stats.sum_up()
        return min(_EVERY, self._parts.settings.shadow.cron_interval)

    async def _look_at_ranks(self) -> None:
        """Ranks lag behind the queue until Pod's next turn: only those that stay wrong over one count."""
        parts = self._parts
        wrong = await queue_order.wrong_ranks(
            parts.database, parts.catalogue.capabilities, limit=_RANKS_NAMED
        )
        parts.metrics.shadow_wrong_ranks.set(wrong.count)
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
        self._ranks_are_told = bool(stayed)

    async def _look_at_purge(self) -> None:
        """What is due at one look should be gone at the next: Pod purges at each turn."""
        parts, days = self._parts, self._parts.settings.retention.completed_days
        if days <= 0:
            self._due_to_purge = None
            parts.metrics.shadow_purgeable.set(0)
            return
        kept = 0
        if self._due_to_purge is not None:
            kept = await observed.purgeable_tasks(parts.database, added_before=self._due_to_purge)
        self._due_to_purge = parts.clock.now() - timedelta(days=days)
        due = await observed.purgeable_tasks(parts.database, added_before=self._due_to_purge)
        parts.metrics.shadow_purgeable.set(due)
        if kept:
            self._stats.differs(
                Difference.NOT_PURGED,
                f"{kept} completed tasks are kept; poddispatchd would have deleted them after {days} days.",
                rows=kept,
            )


def _said(noun: str, number: int | None) -> str:
    return f"no {noun}" if number is None else f"{noun} {number}"

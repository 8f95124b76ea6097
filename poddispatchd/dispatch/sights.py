"""What is remembered of single tasks while they wait."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from poddispatchd.domain.routing import Offer
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId
from poddispatchd.pod.queue_order import PendingTask

_REFUSAL_LASTS = 3600.0
"""Seconds after which a manager that refused a task is asked again, should it wait still: it may have been
upgraded or set up anew meanwhile, and nothing else would ever find out."""


@dataclass(slots=True)
class Sight:
    """What is remembered of a pending task while it waits. Times are of the monotonic clock.

    ``refusals``: why managers refused its payload, ``refused_at`` when the last one did. ``held_until``:
    until when it is left alone.
    """

    since: float
    date_added: datetime
    refusals: dict[ManagerId, str] = field(default_factory=dict)
    refused_at: float = 0.0
    held_until: float = 0.0

    def refused(self, manager: ManagerId, words: str, now: float) -> None:
        """A manager does not take its payload."""
        self.refusals[manager] = words
        self.refused_at = now

    def reconsider(self, able: Collection[ManagerId], now: float) -> None:
        """Have those asked again that refused it: after a while, or when nobody else is left.

        ``able`` are the managers that could take it. Should all of them refuse it, it fails in their words.
        """
        is_old = now - self.refused_at >= _REFUSAL_LASTS
        if self.refusals and able and (is_old or self.refusals.keys() >= {*able}):
            self.refusals.clear()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that may be submitted now, for one of its sites."""

    item: PendingTask
    site: Site
    sight: Sight

    @property
    def offer(self) -> Offer:
        """As routing sees it."""
        task = self.item.task
        return Offer(task.pk, task.type, self.site.id, frozenset(self.sight.refusals))

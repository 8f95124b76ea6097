"""The ranks that Pod's people see: the places of the pending tasks in the queue."""

from collections.abc import Awaitable, Callable

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.fair_share import FairOrder
from poddispatchd.observability.events import Event
from poddispatchd.pod import queue_order
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.queue_stats import QueueStats

log = structlog.get_logger(__name__)

_COMPARE_EVERY = 300.0
"""Seconds after which ranks that nobody touched are compared with the order again: whose tasks come first is
said in other tables, and in them that changes rarely."""


class Ranks:
    """Writes ranks; only the scheduler does.

    Args:
        database: Pod's.
        catalogue: what Pod's tables have.
        order: reads the order of fair share; None: Pod's.
        clock: of the daemon.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        order: Callable[[], Awaitable[FairOrder | None]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._order = order
        self._clock = clock
        self._right: int | None = None
        self._compared_at = float("-inf")

    async def keep(self, stats: QueueStats) -> None:
        """Write the ranks, unless they are those that were found to be right lately."""
        now = self._clock.monotonic()
        if stats.ranks is not None and stats.ranks == self._right:
            if now - self._compared_at < _COMPARE_EVERY:
                return
            self._compared_at = now
            # Several processes of the server compare; only one can write.
            capabilities = self._catalogue.capabilities
            order = await self._order()
            if not (await queue_order.wrong_ranks(self._database, capabilities, limit=1, order=order)).count:
                return
        changed = await self.write()
        # Right are those of which none had to be changed: rows that somebody held were left as they were.
        self._right, self._compared_at = None if changed else stats.ranks, now

    async def write(self) -> int:
        """Give every pending task its place in the queue; how many ranks changed."""
        changed = await queue_order.write_ranks(
            self._database, self._catalogue.capabilities, await self._order()
        )
        if changed:
            log.debug(Event.RANKS_WRITTEN, rows=changed)
        return changed

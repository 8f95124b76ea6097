"""What people have to look at in the queues of the journal, or learn of: set aside, or in vain for long."""

from collections.abc import Mapping, Sequence

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.lease_queue import LateItems

_EVERY = 10.0


class Unsettled:
    """Counts that, not too often."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._counted_at = float("-inf")
        self.set_aside: Mapping[str, int] = {}
        """How many items were set aside, by queue, at the last look."""
        self.late: Sequence[LateItems] = ()
        """Deliveries that have been tried in vain for long, at the last look."""

    async def look(self) -> None:
        """Count it, unless that was done just now."""
        now = self._clock.monotonic()
        if now - self._counted_at < _EVERY:
            return
        # Before they are counted: while that fails it is not tried in every round.
        self._counted_at = now
        async with self._database.connection() as connection:
            self.set_aside = await queue_tables.set_aside_counts(connection)
            self.late = await queue_tables.late_deliveries(connection)

"""How many items of each queue of the journal are set aside: a person has to look at them."""

from collections.abc import Mapping

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.runtime import queue_tables

_EVERY = 10.0


class SetAsideCounts:
    """Counts them, not too often."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._counted_at = float("-inf")
        self.counts: Mapping[str, int] = {}
        """By queue, at the last look."""

    async def look(self) -> None:
        """Count them, unless that was done just now."""
        now = self._clock.monotonic()
        if now - self._counted_at < _EVERY:
            return
        # Before they are counted: while that fails it is not tried in every round.
        self._counted_at = now
        async with self._database.connection() as connection:
            self.counts = await queue_tables.set_aside_counts(connection)

"""What all have in common who wait for a database that is away: when to try again, and what is told."""

from poddispatchd.clock import Clock
from poddispatchd.domain.backoff import full_jitter

_LEAST_WAIT = 0.2
_MOST_TOLD = 8
"""Reasons told of one outage: words that differ each time would be a line in the log for each try."""


class Outage:
    """The tries to reach a database since it was lost; one object for each who tries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._told: set[str] = set()

    def is_news(self, error: Exception) -> bool:
        """Whether this reason was not told yet: the first, a closed connection, says nothing about why."""
        words = str(error)
        if words in self._told or len(self._told) == _MOST_TOLD:
            return False
        self._told.add(words)
        return True

    async def wait(self) -> None:
        """Wait until the next try; at random: many daemons that lost one server do not come back at once."""
        seconds = full_jitter(self._failures, base=0.5, cap=10.0, random=self._clock.random)
        self._failures += 1
        await self._clock.sleep(_LEAST_WAIT + seconds)

    def end(self) -> None:
        """It answers again."""
        self._failures = 0
        self._told.clear()

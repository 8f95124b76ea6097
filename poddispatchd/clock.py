"""Time and chance, injected so that tests decide about both."""

import asyncio
import random
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo


class Clock:
    """The real clock and the real dice; tests put another in its place."""

    def monotonic(self) -> float:
        """Seconds that only ever grow, also while the machine is suspended: for delays and deadlines."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> datetime:
        """The wall clock, in UTC: for what people and databases read."""
        return datetime.now(UTC)

    def now_in(self, time_zone: str) -> datetime:
        """The wall clock in a zone, as Pod's people read it."""
        return self.now().astimezone(ZoneInfo(time_zone))

    def random(self) -> float:
        """A number of [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not secrecy

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        await asyncio.sleep(seconds)

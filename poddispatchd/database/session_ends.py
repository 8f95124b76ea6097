"""Sessions that end over a statement, while the database answers everybody else."""

import time
from collections import deque
from collections.abc import Callable

_APART = 0.3
"""Seconds: sessions that end at the same moment were ended by something else than what they did."""

_WITHIN = 300.0
_OFTEN = 3
"""Moments in so many seconds; who ends all sessions by hand, or restarts a pooler, does it once."""


class SessionEnds:
    """Counts the moments at which sessions ended.

    A row that makes the server's process crash, a trigger or a timeout that ends it: each is met again by
    whoever tries again, and looks as if the whole database were lost.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._moments: deque[float] = deque(maxlen=_OFTEN)

    def is_usual(self) -> bool:
        """A session has ended; whether that has happened time and again of late."""
        now = self._monotonic()
        # Each moment once, however many sessions end then.
        if not self._moments or now - self._moments[-1] >= _APART:
            self._moments.append(now)
        return len(self._moments) == _OFTEN and now - self._moments[0] <= _WITHIN

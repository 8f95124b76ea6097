"""How long the daemon waits for whoever takes the lines of its log."""

import time
from collections.abc import Callable

_LONGEST = 0.2
"""Seconds at once: the queue of a reader who works is only ever full for a moment."""

_SHARE = 0.02
"""Of the time, in the long run: with a reader who is slow the daemon would else be as slow as he is."""


class LogWait:
    """Seconds that lines may wait: a fifth of one at once, a fiftieth of the time in the long run.

    Once one was not taken, none waits until another is taken.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._left = _LONGEST
        self._at = monotonic()
        self._is_stuck = False

    def begin(self) -> float:
        """Seconds for which the next line may wait."""
        now = self._monotonic()
        self._left = min(_LONGEST, self._left + _SHARE * (now - self._at))
        self._at = now
        # Whoever has not read one line is not waited for again until he has read another.
        return 0.0 if self._is_stuck else self._left

    def end(self, *, is_taken: bool) -> None:
        """The wait that was begun is over."""
        now = self._monotonic()
        self._left = max(0.0, self._left - (now - self._at))
        self._at = now
        self._is_stuck = not is_taken

    def taken(self) -> None:
        """A line was taken without a wait."""
        self._is_stuck = False

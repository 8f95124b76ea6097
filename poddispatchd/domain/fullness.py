"""How long a runner manager that had no free runner is left alone."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

_FIRST = 15.0
_GROWTH = 1.5
_LONGEST = 120.0

_SIGNAL_LIVES = 8.0
"""Seconds after a callback in which a slot is about to be free: our answer releases the runner."""

_QUICK_FIRST = 0.1
_QUICK_GROWTH = 2.0

_MOST_STEPS = 32
"""Keeps the powers small numbers, however long a manager is full."""


class Fullness(Struct, frozen=True):
    """What is known of free runners of one (manager, task type).

    ``until``: not asked before. ``refusals``: 503 since a task was accepted or one of ours ended there.
    ``quick``: how many of them were answered by a quick retry. ``signs``: callbacks that announced a free
    runner and have not been followed by an accepted task. ``freed_at``: the last of them. Times are seconds
    of one clock.
    """

    until: float = 0.0
    refusals: int = 0
    quick: int = 0
    signs: int = 0
    freed_at: float = float("-inf")

    def refused(self, now: float, random: Callable[[], float]) -> "Fullness":
        """After a 503: shortly again if a callback has just announced a free runner, else a growing back-off.

        The back-off grows only with its own steps: quick retries say nothing about how long the manager will
        be full, for another client may have taken the very runner that became free. The delay is jittered by
        a quarter, so that several task types and daemons do not ask in step.
        """
        quick = _QUICK_FIRST * _QUICK_GROWTH ** min(self.quick, _MOST_STEPS)
        if self.signs and now + quick <= self.freed_at + _SIGNAL_LIVES:
            return replace(self, until=now + quick, refusals=self.refusals + 1, quick=self.quick + 1)
        steps = min(self.refusals - self.quick, _MOST_STEPS)
        grown = min(_LONGEST, _FIRST * _GROWTH**steps)
        return Fullness(now + grown * (0.75 + 0.5 * random()), self.refusals + 1, self.quick)

    def freed(self, now: float) -> "Fullness":
        """After a callback of that manager: ask again at once, and back off from the beginning."""
        return Fullness(signs=self.signs + 1, freed_at=now)

    def accepted(self) -> "Fullness":
        """After an accepted task: ask for another one at once; the next refusal means what it says."""
        return Fullness(signs=max(self.signs - 1, 0), freed_at=self.freed_at)

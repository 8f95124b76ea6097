"""How long a runner manager that works is left alone: it has no free runner, or its rate is used up (I9)."""

from collections import deque
from collections.abc import Callable
from math import inf

from msgspec import Struct
from msgspec.structs import replace

_FIRST_WAIT = 15.0
_GROWTH = 1.5
_LONGEST_WAIT = 120.0
"""Seconds for which one without a free runner is left alone."""

_SIGNAL_LIVES = 8.0
"""Seconds after a callback in which a slot is about to be free: our answer releases the runner."""

_QUICK_FIRST = 0.1
_QUICK_GROWTH = 2.0

_MOST_STEPS = 32
"""Keeps the powers small numbers, however long a manager is full."""

_WINDOW = 60.0
"""Seconds in which a manager counts submissions, in fixed windows: what fits any minute fits those, too."""

_AT_ONCE = 0.8
"""The share of a minute's submissions that go as they come."""


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
        grown = min(_LONGEST_WAIT, _FIRST_WAIT * _GROWTH**steps)
        return Fullness(now + grown * (0.75 + 0.5 * random()), self.refusals + 1, self.quick)

    def freed(self, now: float) -> "Fullness":
        """After a callback of that manager: ask again at once, and back off from the beginning."""
        return Fullness(signs=self.signs + 1, freed_at=now)

    def accepted(self) -> "Fullness":
        """After an accepted task: ask for another one at once; the next refusal means what it says."""
        return Fullness(signs=max(self.signs - 1, 0), freed_at=self.freed_at)


class Pace:
    """The submissions to one manager: so many in any minute, at most.

    Most of them go as they come. Once these are used up within a minute, the others are spread over what is
    left of it: a task that comes then waits for seconds, not for the rest of the minute.

    Mirrors Esup-Runner's limiter: it counts each address and path by itself, refused requests included, and
    ``/task/execute`` is the only path that is asked for again and again.

    Args:
        per_minute: submissions in any minute; 0: any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._at_once = max(1, int(per_minute * _AT_ONCE))
        # For any number it holds nothing: nobody asks for them then.
        self._posts: deque[float] = deque(maxlen=per_minute)

    def posted(self, now: float) -> None:
        """A submission goes out, whatever will be answered. Times are seconds of one clock."""
        self._posts.append(now)

    def opening(self, now: float) -> float:
        """When the next submission may go out, as far as is known ``now``; a moment that is over: at once."""
        while self._posts and self._posts[0] + _WINDOW <= now:
            self._posts.popleft()
        used = len(self._posts)
        if not self._per_minute or used < self._at_once:
            return -inf
        renewal, last = self._posts[0] + _WINDOW, self._posts[-1]
        # What is left of the minute is shared by those that are left; after the last of them it is the
        # renewal.
        return last + (renewal - last) / (self._per_minute - used + 1)

    def lets_two_go(self, now: float) -> bool:
        """Whether the next two submissions may go out as they come, as far as is known ``now``."""
        return self.opening(now) <= now and (not self._per_minute or len(self._posts) + 1 < self._at_once)

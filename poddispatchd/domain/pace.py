"""How soon a runner manager may be asked to take another task, below its rate limit."""

from collections import deque
from math import inf

_WINDOW = 60.0
"""Seconds in which a manager counts. Its window is a fixed one: what fits any minute fits that one, too."""

_AT_ONCE = 0.8
"""The share of a minute's submissions that go as they come."""


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

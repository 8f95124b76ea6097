"""How long to wait before trying again."""

from collections.abc import Callable

from msgspec import Struct

_MOST_DOUBLINGS = 60
"""Keeps ``2 ** attempt`` a small number, however long something has been failing."""


def full_jitter(attempt: int, *, base: float, cap: float, random: Callable[[], float]) -> float:
    """Seconds to wait, anywhere between 0 and a limit that doubles with each attempt.

    Full jitter spreads the clients of a server that comes back evenly, where a fixed delay would have them
    all return together.

    Args:
        attempt: how many attempts have failed before this one; 0 for the first wait.
        base: the limit of the first wait, in seconds.
        cap: the limit never grows beyond this, in seconds.
        random: gives numbers of [0, 1).
    """
    limit = min(cap, base * 2.0 ** max(0, min(attempt, _MOST_DOUBLINGS)))
    return limit * random()


class Backoff(Struct, frozen=True):
    """How the wait before another attempt grows: ``shortest`` seconds and a random part that doubles.

    ``base`` limits the random part of the first wait, ``cap`` that of every wait, both in seconds.
    """

    shortest: float
    base: float
    cap: float

    def delay(self, attempts: int, random: Callable[[], float]) -> float:
        """Seconds to wait after so many attempts, of which the first is 1."""
        return self.shortest + full_jitter(attempts - 1, base=self.base, cap=self.cap, random=random)

"""In which order files are deleted that may be slow, or cannot be: those that were tried in vain come last.

Else they would be tried first each time, and use up the time for those behind them.
"""

from collections.abc import Collection, Sequence

from poddispatchd.clock import Clock


class LastTried:
    """Remembers, as long as the process lives, when what is still there was tried in vain.

    Args:
        clock: of the daemon.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed_at: dict[str, float] = {}

    def in_turn(self, names: Sequence[str]) -> list[str]:
        """All that is there: what was not tried, then what failed, the longest ago first.

        What was not tried stands in this order, beginning anywhere: single passes remember nothing.
        """
        self._failed_at = {name: self._failed_at[name] for name in names if name in self._failed_at}
        untried = [name for name in names if name not in self._failed_at]
        first = int(self._clock.random() * len(untried))
        return [*untried[first:], *untried[:first], *sorted(self._failed_at, key=self._failed_at.__getitem__)]

    def begin(self, names: Collection[str]) -> None:
        """These are about to be tried: should that hang, or end in an error, it was in vain."""
        self._failed_at.update(dict.fromkeys(names, self._clock.monotonic()))

    def end(self, names: Collection[str], *, failed: Collection[str] = ()) -> None:
        """These have been tried, and some of them failed."""
        for name in names:
            if name not in failed:
                self._failed_at.pop(name, None)

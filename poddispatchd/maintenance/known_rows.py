"""Which rows of a table were seen already: they do not appear in the order of their numbers."""

from poddispatchd.clock import Clock

_LONGEST_TRANSACTION = 120.0
"""Seconds after which nothing is expected any more of a transaction that took its number before another one
was seen; those of a web server, an import or a command take seconds at most."""


class KnownRows:
    """The rows that were seen, of a table whose numbers come from a sequence.

    PostgreSQL gives the number when a row is inserted, and shows the row when its transaction ends: one that
    ends later brings a lower number. Who looked only behind the highest one would never see it.

    Args:
        up_to: all rows up to this one are known.
        clock: of the daemon.
    """

    def __init__(self, up_to: int, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[int, float] = {}
        self.after = up_to
        """Rows up to this one are not looked for any more."""

    @property
    def seen(self) -> list[int]:
        """The rows behind it that are known."""
        return list(self._seen)

    def saw(self, *rows: int) -> None:
        """These are known from now on."""
        now = self._clock.monotonic()
        self._seen |= {row: now for row in rows if row > self.after and row not in self._seen}
        old = [row for row, at in self._seen.items() if now - at >= _LONGEST_TRANSACTION]
        if old:
            self.after = max(old)
            self._seen = {row: at for row, at in self._seen.items() if row > self.after}

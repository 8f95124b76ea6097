"""How much one runner manager may have recorded: whoever has a token can fill a database with it."""

from collections.abc import Hashable

from msgspec import Struct, field

from poddispatchd.domain.callback import Callback

ROW = 512
"""Bytes that a callback without any text takes, with its entries in indexes."""


class Rate(Struct, frozen=True):
    """``burst`` at once, and ``each_second`` for ever."""

    burst: float
    each_second: float


BYTES = Rate(128 * 2**20, 2**20)
"""A thousand tasks that end at once have some 100 MiB of output.

A manager that is told to wait calls again after 1, 1.5, 2 … minutes, five times: by then ten times as much is
recorded, and about what it gives up it is asked (reconcile).
"""

CALLBACKS = Rate(50_000, 20)
"""The largest consortium ends a hundred thousand tasks in a day: one or two a second, of all managers."""

UNKNOWN = Rate(100, 1)
"""Callbacks about ids that nobody knows: each of them costs a search through all of Pod's tasks."""


class Bucket:
    """A token bucket; its time is any clock that only goes forward."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._level = rate.burst
        self._filled_at: float | None = None

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much may be taken; 0: now. More than a whole burst waits for a full one."""
        since = 0.0 if self._filled_at is None else max(0.0, now - self._filled_at)
        self._level = min(self._rate.burst, self._level + since * self._rate.each_second)
        self._filled_at = now
        return max(0.0, (min(amount, self._rate.burst) - self._level) / self._rate.each_second)

    def take(self, amount: float) -> None:
        """Take so much."""
        self._level -= amount

    def give_back(self, amount: float) -> None:
        """What was taken was not used."""
        self._level = min(self._rate.burst, self._level + amount)


class _Account(Struct):
    stored: Bucket = field(default_factory=lambda: Bucket(BYTES))
    callbacks: Bucket = field(default_factory=lambda: Bucket(CALLBACKS))
    unknown: Bucket = field(default_factory=lambda: Bucket(UNKNOWN))


class Quota:
    """The buckets of all runner managers; there are no more of them than Pod has rows for."""

    def __init__(self) -> None:
        self._accounts: dict[Hashable, _Account] = {}

    def record(self, signers: Hashable, callback: Callback, now: float) -> float:
        """Take what a callback will store; the seconds to wait when that is too much now, else 0."""
        account = self._account(signers)
        size = stored_size(callback)
        # Both are asked before either is taken from: a callback that is sent away has cost nothing.
        seconds = max(account.stored.wait(size, now), account.callbacks.wait(1, now))
        if seconds == 0:
            account.stored.take(size)
            account.callbacks.take(1)
        return seconds

    def search(self, signers: Hashable, now: float) -> float:
        """Take one search for an id; the seconds to wait when there were too many, else 0."""
        unknown = self._account(signers).unknown
        seconds = unknown.wait(1, now)
        if seconds == 0:
            unknown.take(1)
        return seconds

    def found(self, signers: Hashable) -> None:
        """A search found something: it was worth it."""
        self._account(signers).unknown.give_back(1)

    def _account(self, signers: Hashable) -> _Account:
        return self._accounts.setdefault(signers, _Account())


def stored_size(callback: Callback) -> int:
    """About how many bytes a callback takes in the database until it is handled."""
    texts = (callback.error_message, callback.script_output)
    return ROW + sum(len(text.encode()) for text in texts if text is not None)

"""How tasks come, hour by hour, as they did lately: some will stand before those that wait."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from math import log
from typing import TypeAlias

from msgspec import Struct, field

from poddispatchd.domain.run_times import EndedRun, SourceSize

_LONGEST = timedelta(days=14)
_SHORTEST = timedelta(hours=1)

_Hour: TypeAlias = tuple[bool, int]
"""Whether it is of a weekend, and which hour of the day it is."""


class Arrival(Struct, frozen=True):
    """A task that will come, so many seconds from now."""

    after: float
    type: str
    source: SourceSize


class Arrivals(Struct, frozen=True):
    """How many tasks of each class come in an hour, and what they are."""

    now: datetime
    rates: Mapping[int, Mapping[_Hour, float]] = field(default_factory=dict)
    like: Mapping[int, tuple[EndedRun, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, runs: Collection[EndedRun], now: datetime) -> "Arrivals":
        """What the tasks that came lately tell.

        Of each type only a number of runs is known: they reach back for different lengths of time.
        """
        rates: dict[int, dict[_Hour, float]] = defaultdict(lambda: defaultdict(float))
        like: dict[int, list[EndedRun]] = defaultdict(list)
        by_type: dict[str, list[tuple[datetime, EndedRun]]] = defaultdict(list)
        for run in runs:
            came = run.ended_at - timedelta(seconds=run.ran + (run.waited or 0.0))
            if came > now - _LONGEST:
                by_type[run.type].append((came, run))
        for came_runs in by_type.values():
            since = min(came for came, _ in came_runs)
            span = max(now - since, _SHORTEST)
            hours = _hours(since, now)
            for came, run in came_runs:
                like[run.priority].append(run)
                if span < timedelta(days=2):
                    # Too little to tell one hour from another.
                    for hour in _ALL_HOURS:
                        rates[run.priority][hour] += 3600.0 / span.total_seconds()
                else:
                    hour = _hour(came)
                    rates[run.priority][hour] += 1.0 / max(1.0, hours[hour])
        return cls(now, rates, {priority: tuple(some) for priority, some in like.items()})

    def stream(self, priority: int, random: Callable[[], float]) -> Iterator[Arrival]:
        """The tasks of one class that come within the next days, in one possible future."""
        rates, like = self.rates.get(priority), self.like.get(priority)
        if not rates or not like:
            return
        highest = max(rates.values())
        after = 0.0
        while True:
            # Events of the highest rate, thinned out to that of their hour.
            after += -log(1.0 - random()) * 3600.0 / highest
            if after > _LONGEST.total_seconds():
                return
            if random() * highest < rates.get(_hour(self.now + timedelta(seconds=after)), 0.0):
                run = like[int(random() * len(like))]
                yield Arrival(after, run.type, run.source)


_ALL_HOURS = tuple((weekend, hour) for weekend in (False, True) for hour in range(24))


def _hour(moment: datetime) -> _Hour:
    return moment.weekday() >= 5, moment.hour


def _hours(since: datetime, until: datetime) -> Counter[_Hour]:
    """How many hours of each kind lie between two moments."""
    found: Counter[_Hour] = Counter()
    moment = since
    while moment < until:
        found[_hour(moment)] += 1
        moment += timedelta(hours=1)
    return found

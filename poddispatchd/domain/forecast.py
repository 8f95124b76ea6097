"""When tasks begin and end, as far as can be said: the queue is played through many times.

Each time every run takes as long as one like it took (``run_times``), tasks take the runners that become free
in Pod's order (``capacity``), and tasks that come later and stand before them arrive as they did lately. What
lies between the tenth and the ninetieth hundredth of the outcomes is told; what has no basis is unknown.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from poddispatchd.domain.arrivals import Arrivals
from poddispatchd.domain.capacity import Capacity
from poddispatchd.domain.queue_simulation import Played, QueuePlay, Running, SimulatedTimes
from poddispatchd.domain.run_times import EndedRun, run_times
from poddispatchd.domain.situation import duration_words
from poddispatchd.domain.task import ManagerId, TaskPk

LOW, HIGH = 0.1, 0.9
"""The hundredths between which eight of ten outcomes lie."""

ROUNDS = 100
"""How often the queue is played through."""

PLAYED = 300
"""Pending tasks that are played one by one; what stands behind them is reckoned from their pace."""

_BEYOND = 3650 * 86_400.0
"""Seconds: what is reckoned to take years rests on a number that is wrong, as of a film of 2³¹ seconds."""

_K = TypeVar("_K")


class Interval(Struct, frozen=True):
    """Between two moments, in eight of ten cases."""

    low: datetime
    high: datetime

    def words(self, now: datetime) -> str:
        """For people: ``in 4 min to 12 min``, ``within 12 min``, ``at once``."""
        low, high = (duration_words(max(moment - now, timedelta())) for moment in (self.low, self.high))
        if self.low <= now:
            return f"within {high}" if self.high > now else "at once"
        return f"in {low}" if low == high else f"in {low} to {high}"


class Forecast(Struct, frozen=True):
    """What can be expected; a task or a type that is absent is unknown.

    ``drained``: when nothing of a type waits or runs any more, if no other task came that stands behind the
    last of them.
    """

    as_of: datetime
    begins: Mapping[TaskPk, Interval] = field(default_factory=dict)
    ends: Mapping[TaskPk, Interval] = field(default_factory=dict)
    drained: Mapping[str, Interval] = field(default_factory=dict)


class PendingWork(Struct, frozen=True):
    """A pending task; ``not_before``: until when it is held back."""

    task: Played
    not_before: datetime | None = None

    def played(self, now: datetime) -> Played:
        """This task, with times in seconds from now."""
        if self.not_before is None or self.not_before <= now:
            return self.task
        return replace(self.task, ready=(self.not_before - now).total_seconds())


class RunningWork(Struct, frozen=True):
    """A task that runs since ``begun`` on a manager, None: nobody knows on which."""

    task: Played
    manager: ManagerId | None
    begun: datetime

    def played(self, now: datetime) -> Running:
        """This task, with times in seconds from now."""
        return Running(self.task, self.manager, max(0.0, (now - self.begun).total_seconds()))


class Workload(Struct, frozen=True):
    """What waits and what runs.

    ``queue`` are the first pending tasks in the order in which they are handed out, ``pending`` says how many
    of each type there are in all.
    """

    queue: Sequence[PendingWork] = ()
    running: Collection[RunningWork] = ()
    pending: Mapping[str, int] = field(default_factory=dict)

    def stretched(self, kind: str) -> float:
        """How many times as long as its beginning a whole backlog takes; infinite: nobody knows."""
        played, total = min(len(self.queue), PLAYED), sum(self.pending.values())
        if not self.pending.get(kind) or total <= played:
            return 1.0
        return total / played if any(item.task.type == kind for item in self.queue) else inf


def forecast(
    now: datetime,
    work: Workload,
    managers: Sequence[Capacity],
    runs: Collection[EndedRun],
    *,
    random: Callable[[], float],
) -> Forecast:
    """What can be expected of a queue.

    Args:
        now: the moment.
        work: what waits and runs.
        managers: those that are given tasks, with their slots.
        runs: that ended lately; what is expected rests on them.
        random: gives numbers of [0, 1).
    """
    play = QueuePlay(
        queue=[pending.played(now) for pending in work.queue[:PLAYED]],
        running=[running.played(now) for running in work.running],
        managers=managers,
        times=run_times(runs),
        arrivals=Arrivals.of(runs, now),
        random=random,
    )
    outcomes = SimulatedTimes()
    for _ in range(ROUNDS if work.queue or work.running else 0):
        play.round(outcomes)
    drained = {
        kind: [work.stretched(kind) * value for value in values] for kind, values in outcomes.drained.items()
    }
    return Forecast(
        as_of=now,
        begins=_intervals(now, outcomes.begins),
        ends=_intervals(now, outcomes.ends),
        drained=_intervals(now, drained),
    )


def _intervals(now: datetime, outcomes: Mapping[_K, Sequence[float]]) -> dict[_K, Interval]:
    found = {}
    for key, values in outcomes.items():
        ordered = sorted(values)
        low, high = (ordered[int(share * len(ordered))] for share in (LOW, HIGH))
        if high < _BEYOND:
            found[key] = Interval(now + timedelta(seconds=low), now + timedelta(seconds=high))
    return found

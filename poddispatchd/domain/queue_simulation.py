"""One possible future of the queue: runs as long as others were, runners taken as they become free."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush
from math import inf

from msgspec import Struct, field

from poddispatchd.domain.arrivals import Arrival, Arrivals
from poddispatchd.domain.availability import ALWAYS
from poddispatchd.domain.capacity import Capacity
from poddispatchd.domain.run_times import UNKNOWN_SOURCE, RunTimes, SourceSize
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk

_MOST_ARRIVALS = 1000
"""Tasks that may come and stand before those that wait; if more do, nobody knows when it is their turn."""


class Played(Struct, frozen=True):
    """A task.

    Attributes:
        pk: its id.
        type: its type.
        priority: its class in Pod's order: lower is served first.
        site: for which it is done; None: it is not.
        source: what is known of its source.
        same: what it works on: tasks of one source run once, and end together.
        ready: seconds for which it is held back.
    """

    pk: TaskPk
    type: str
    priority: int = 1
    site: SiteId | None = None
    source: SourceSize = UNKNOWN_SOURCE
    same: object = None
    ready: float = 0.0


class Running(Struct, frozen=True):
    """A task that runs on a manager for so many seconds already."""

    task: Played
    manager: ManagerId | None
    elapsed: float


class SimulatedTimes(Struct):
    """Seconds from now in each round, by task and by type; infinite: nobody knows."""

    begins: dict[TaskPk, list[float]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[TaskPk, list[float]] = field(default_factory=lambda: defaultdict(list))
    drained: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class _Pool(Struct):
    """The slots of one manager, as (seconds until it is free, a number that tells equal ones apart)."""

    capacity: Capacity
    free: list[float]

    def takes(self, task: Played) -> bool:
        types = self.capacity.types
        return task.site == self.capacity.site and (types is None or task.type in types)

    def opens(self, task: Played, ready: float) -> float:
        """When a task can begin here, if it may do so at this moment at the earliest."""
        moment, openings = max(self.free[0], ready), self.capacity.openings
        return openings.get(task.type, ALWAYS).next(moment) if openings else moment


class _Alike:
    """Tasks of one type and site, of which the first is wanted that can begin as early as any of them.

    Runners only become free later while the queue is played: who was ready in time once is so for good, and
    of those the first in the queue goes. So each is looked at twice, however different their waits are.
    """

    def __init__(self) -> None:
        self._later: list[tuple[float, int, Played]] = []
        self._ready: list[tuple[int, Played]] = []

    @property
    def is_empty(self) -> bool:
        return not self._later and not self._ready

    def add(self, place: int, task: Played) -> None:
        heappush(self._later, (task.ready, place, task))

    def turn(self, pools: Sequence[_Pool]) -> tuple[float, int]:
        """When the next one can begin, and its place in the queue."""
        task = self._ready[0][1] if self._ready else self._later[0][2]
        begin = min((pool.opens(task, task.ready) for pool in pools if pool.takes(task)), default=inf)
        while self._later and self._later[0][0] <= begin:
            _, place, other = heappop(self._later)
            heappush(self._ready, (place, other))
        return begin, self._ready[0][0]

    def pop(self) -> Played:
        """Take out the one of the last ``turn``."""
        return heappop(self._ready)[1]


class QueuePlay:
    """A queue on its runners, played through as often as wanted.

    Args:
        queue: pending tasks, in the order in which they are handed out.
        running: what runs.
        managers: those that are given tasks.
        times: how long runs take.
        arrivals: how tasks come.
        random: gives numbers of [0, 1).
    """

    def __init__(
        self,
        *,
        queue: Sequence[Played],
        running: Collection[Running],
        managers: Sequence[Capacity],
        times: RunTimes,
        arrivals: Arrivals,
        random: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._running = running
        self._managers = managers
        self._times = times
        self._arrivals = arrivals
        self._random = random

    def round(self, outcomes: SimulatedTimes) -> None:
        """Play it through once more."""
        ends: dict[TaskPk, float] = {}
        by_source: dict[object, float] = {}
        last: dict[str, float] = {}
        held: dict[ManagerId | None, list[float]] = defaultdict(list)
        for item in self._running:
            free, end = self._rest(item)
            held[item.manager].append(free)
            ends[item.task.pk] = end
            last[item.task.type] = max(end, last.get(item.task.type, 0.0))
            if item.task.same is not None:
                by_source[item.task.same] = end
        pools = [self._pool(manager, held[manager.manager]) for manager in self._managers]
        overtaking = _Overtaking(self._arrivals, self._random)
        for task in self._in_turn(pools):
            if task.same is not None and task.same in by_source:
                ends[task.pk] = by_source[task.same]
                continue
            begin, end = self._run(task, pools, overtaking)
            outcomes.begins[task.pk].append(begin)
            ends[task.pk] = end
            last[task.type] = max(end, last.get(task.type, 0.0))
            if task.same is not None:
                by_source[task.same] = end
        for pk, end in ends.items():
            outcomes.ends[pk].append(end)
        for kind, end in last.items():
            outcomes.drained[kind].append(end)

    def _in_turn(self, pools: Sequence[_Pool]) -> Iterator[Played]:
        """The queue in the order in which its tasks can begin: who waits for a window holds up nobody else.

        ``pools`` change in between.
        """
        if not any(pool.capacity.openings for pool in pools):
            yield from self._queue
            return
        alike: dict[object, _Alike] = {}
        for place, task in enumerate(self._queue):
            alike.setdefault((task.type, task.site), _Alike()).add(place, task)
        while alike:
            key, first = min(alike.items(), key=lambda each: each[1].turn(pools))
            yield first.pop()
            if first.is_empty:
                del alike[key]

    def _rest(self, item: Running) -> tuple[float, float]:
        """When its runner is free again, and when it ends: nobody knows of a run longer than any before."""
        law = self._times.law(item.task.type, item.task.source, item.manager)
        if law is None:
            return inf, inf
        rest = law.draw(self._random(), longer_than=item.elapsed) - item.elapsed
        return rest, rest if law.has_longer_than(item.elapsed) else inf

    def _pool(self, manager: Capacity, held: list[float]) -> _Pool:
        free = [*held, *(self._rest_of_others(manager) for _ in range(manager.taken))]
        free += [0.0] * (manager.slots - len(free))
        heapify(free)
        return _Pool(manager, free)

    def _rest_of_others(self, manager: Capacity) -> float:
        """When a runner is free that works for somebody else: anywhere within a run of its kind."""
        types = sorted(manager.types or ())
        if not types:
            return inf
        law = self._times.law(types[int(self._random() * len(types))], UNKNOWN_SOURCE, manager.manager)
        return inf if law is None else self._random() * law.draw(self._random())

    def _run(self, task: Played, pools: Sequence[_Pool], overtaking: "_Overtaking") -> tuple[float, float]:
        """Let a task have the first slot that is free for it, after those that come and stand before it."""
        fit = [pool for pool in pools if pool.takes(task)]
        if not fit:
            return inf, inf
        while True:
            pool = min(fit, key=lambda pool: pool.opens(task, 0.0))
            begin = pool.opens(task, task.ready)
            if begin == inf:
                return inf, inf
            arrival = overtaking.next(task.priority, before=begin)
            if arrival is None:
                break
            other = Played(TaskPk(0), arrival.type, site=task.site, source=arrival.source)
            takers = [pool for pool in pools if pool.takes(other)]
            if takers:
                taker = min(takers, key=lambda pool: pool.opens(other, 0.0))
                if (opens := taker.opens(other, arrival.after)) <= begin:
                    self._take(taker, other, opens)
        if overtaking.is_endless:
            return inf, inf
        return begin, self._take(pool, task, begin)

    def _take(self, pool: _Pool, task: Played, ready: float) -> float:
        begin = max(heappop(pool.free), ready)
        law = self._times.law(task.type, task.source, pool.capacity.manager)
        end = inf if law is None else begin + law.draw(self._random())
        heappush(pool.free, end)
        return end


class _Overtaking:
    """The tasks that will come and stand before some that wait, in the order of their coming."""

    def __init__(self, arrivals: Arrivals, random: Callable[[], float]) -> None:
        self._arrivals = arrivals
        self._random = random
        self._streams: dict[int, Iterator[Arrival]] = {}
        self._next: dict[int, Arrival | None] = {}
        self._count = 0

    @property
    def is_endless(self) -> bool:
        """Whether more come than are handed out."""
        return self._count >= _MOST_ARRIVALS

    def next(self, priority: int, *, before: float) -> Arrival | None:
        """The next one of a class that is served before this one, if it comes before a moment."""
        if self.is_endless:
            return None
        first: int | None = None
        for other in range(priority):
            if other not in self._next:
                self._streams[other] = self._arrivals.stream(other, self._random)
                self._next[other] = next(self._streams[other], None)
            arrival = self._next[other]
            best = None if first is None else self._next[first]
            if arrival is not None and (best is None or arrival.after < best.after):
                first = other
        found = None if first is None else self._next[first]
        if first is None or found is None or found.after > before:
            return None
        self._next[first] = next(self._streams[first], None)
        self._count += 1
        return found

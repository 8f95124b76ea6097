"""Whether what is expected of the queue comes true: days of a university, played and forecast.

Two kinds of days, each after two weeks from which the forecast learns: simulated ones, whose runs follow a
law like the one that is fitted, and ones like those that universities record: uploads in bursts after
lectures, heavy tails, early failures, sources of unknown length, managers that take some types only.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from math import exp, log

from benchmarks.table import Figure
from poddispatchd.domain.capacity import ManagerNow, capacities
from poddispatchd.domain.forecast import Forecast, Interval, PendingWork, RunningWork, Workload, forecast
from poddispatchd.domain.queue_simulation import Played
from poddispatchd.domain.run_times import EndedRun, SourceSize
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk

_SITE = SiteId(1)
_START = datetime(2026, 3, 2, tzinfo=UTC)
_LEARNT_FROM = 14
_DAYS = 4
"""Days that are forecast, two of them a weekend's neighbours."""

_SAMPLES = 400
"""Runs of each type that the daemon's history gives to a forecast."""

Rng = random.Random


@dataclass(slots=True)
class Job:
    """A task: when it comes, what it is, and, once it was played, when it began and ended."""

    pk: TaskPk
    came: float
    kind: str
    priority: int
    source: SourceSize
    work: float
    manager: ManagerId | None = None
    begun: float = -1.0
    ended: float = -1.0


@dataclass(slots=True)
class Runners:
    """The runners of one manager: how many there are, how quick they are, and what they take."""

    manager: ManagerId
    slots: int
    speed: float
    kinds: frozenset[str]
    busy: int = 0


@dataclass(slots=True)
class Day:
    """All that happened, in seconds since the start."""

    jobs: list[Job]
    runners: Sequence[Runners]
    waits: list[Job] = field(default_factory=list)

    def play(self) -> None:
        """Hand the jobs out in Pod's order, each to the first runner that is free for it."""
        events: list[tuple[float, int, Job, Runners | None]] = []
        numbers = count()
        for job in self.jobs:
            heappush(events, (job.came, next(numbers), job, None))
        while events:
            now, _, job, runners = heappop(events)
            if runners is None:
                self.waits.append(job)
                self.waits.sort(key=lambda item: (item.priority, item.came))
            else:
                runners.busy -= 1
            for waiting in list(self.waits):
                free = next((r for r in self.runners if r.busy < r.slots and waiting.kind in r.kinds), None)
                if free is None:
                    continue
                self.waits.remove(waiting)
                free.busy += 1
                waiting.manager, waiting.begun = free.manager, now
                waiting.ended = now + waiting.work / free.speed
                heappush(events, (waiting.ended, next(numbers), waiting, free))


def _moment(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _forecast(day: Day, now: float) -> Forecast:
    """What the daemon would have said at a moment: it knows what has ended, what runs and what waits."""
    ended = sorted((job for job in day.jobs if 0 <= job.ended <= now), key=lambda job: -job.ended)
    runs: list[EndedRun] = []
    for kind in {job.kind for job in ended}:
        runs += [
            EndedRun(
                job.kind,
                job.ended - job.begun,
                _moment(job.ended),
                job.manager,
                job.source,
                job.begun - job.came,
                job.priority,
            )
            for job in [one for one in ended if one.kind == kind][:_SAMPLES]
        ]
    running = [
        RunningWork(
            Played(job.pk, job.kind, job.priority, _SITE, job.source), job.manager, _moment(job.begun)
        )
        for job in day.jobs
        if job.begun <= now < job.ended
    ]
    waiting = sorted(
        (job for job in day.jobs if job.came <= now < job.begun), key=lambda job: (job.priority, job.came)
    )
    queue = [PendingWork(Played(job.pk, job.kind, job.priority, _SITE, job.source)) for job in waiting]
    here = {item.manager: 0 for item in day.runners}
    for item in running:
        if item.manager is not None:
            here[item.manager] += 1
    managers = [
        ManagerNow(item.manager, _SITE, True, item.kinds if here[item.manager] >= item.slots else frozenset())
        for item in day.runners
    ]
    chance = random.Random(int(now))
    return forecast(
        _moment(now), Workload(queue, running), capacities(managers, runs, here), runs, random=chance.random
    )


def _arrivals(rng: Rng, rate: Callable[[float], float], days: int) -> Iterator[float]:
    """Moments at which tasks come; ``rate`` is in tasks an hour."""
    now, highest = 0.0, 60.0
    while now < days * 86400:
        now += rng.expovariate(highest / 3600)
        if rng.random() * highest < rate(now):
            yield now


def _office_hours(now: float) -> float:
    hour, weekend = now % 86400 / 3600, int(now // 86400) % 7 >= 5
    return (2.0 if weekend else 14.0) if 8 <= hour < 19 else 1.0


def _after_lectures(now: float) -> float:
    hour, weekend = now % 86400 / 3600, int(now // 86400) % 7 >= 5
    if weekend:
        return 1.5
    return (
        45.0 if hour % 24 in (10, 12) or 10 <= hour < 10.4 or 12 <= hour < 12.4 or 16 <= hour < 16.5 else 5.0
    )


def _job(rng: Rng, number: int, came: float, work: Callable[[Rng, str, float], float], known: float) -> Job:
    kind = rng.choices(("encoding", "transcription", "studio"), (60, 30, 10))[0]
    seconds = exp(rng.gauss(log(1800), 0.9))
    size = int(seconds * exp(rng.gauss(log(300_000), 0.5)))
    source = SourceSize(
        int(seconds) if kind == "transcription" or rng.random() < known else None,
        None if kind == "studio" else size,
    )
    priority = 1 if kind == "studio" else rng.choices((0, 1, 2), (8, 60, 32))[0]
    return Job(TaskPk(number), came, kind, priority, source, work(rng, kind, seconds))


def _lawful(rng: Rng, kind: str, seconds: float) -> float:
    pace = {"encoding": 0.35, "transcription": 0.2, "studio": 0.5}[kind]
    return 20 + pace * float(seconds**0.95) * exp(rng.gauss(0, 0.3))


def _wild(rng: Rng, kind: str, seconds: float) -> float:
    if rng.random() < 0.06:
        return rng.uniform(3, 40)  # it fails at once
    heavy = 3.0 if rng.random() < 0.08 else 1.0  # 4K, or a runner that swaps
    pace = {"encoding": 0.3, "transcription": 0.15, "studio": 0.6}[kind]
    return 15 + heavy * pace * seconds * exp(rng.gauss(0, 0.4))


def _simulated() -> Day:
    rng = random.Random(11)
    kinds = frozenset({"encoding", "studio", "transcription"})
    runners = (Runners(ManagerId(1), 2, 1.0, kinds), Runners(ManagerId(2), 1, 1.6, kinds))
    moments = _arrivals(rng, _office_hours, _LEARNT_FROM + _DAYS)
    return Day([_job(rng, n, came, _lawful, 0.3) for n, came in enumerate(moments, 1)], runners)


def _recorded_like() -> Day:
    rng = random.Random(12)
    runners = (
        Runners(ManagerId(1), 2, 1.0, frozenset({"encoding", "studio"})),
        Runners(ManagerId(2), 1, 1.2, frozenset({"transcription"})),
        Runners(ManagerId(3), 1, 2.0, frozenset({"encoding", "studio", "transcription"})),
    )
    moments = _arrivals(rng, _after_lectures, _LEARNT_FROM + _DAYS)
    return Day([_job(rng, n, came, _wild, 0.15) for n, came in enumerate(moments, 1)], runners)


@dataclass(slots=True)
class _Held:
    """How often the truth lay within what was said."""

    said: int = 0
    within: int = 0
    unknown: int = 0

    def see(self, interval: Interval | None, truth: float) -> None:
        if interval is None:
            self.unknown += 1
            return
        # What is shown is rounded to seconds.
        margin = timedelta(seconds=1)
        self.said += 1
        self.within += interval.low - margin <= _moment(truth) <= interval.high + margin

    def figures(self, name: str) -> list[Figure]:
        share = 100 * self.within / max(1, self.said)
        return [
            Figure(f"{name}, {self.said} said, {self.unknown} unknown", "%", share, limit=70),
            Figure("… and at most", "%", share, limit=90, at_least=False),
        ]


def _calibration(name: str, day: Day) -> list[Figure]:
    day.play()
    waits, ends, running = _Held(), _Held(), _Held()
    took: list[float] = []
    moment = _LEARNT_FROM * 86400.0
    while moment < (_LEARNT_FROM + _DAYS) * 86400 - 6 * 3600:
        begun = time.perf_counter()
        said = _forecast(day, moment)
        took.append(time.perf_counter() - begun)
        for job in day.jobs:
            if job.came <= moment < job.begun:
                # A wait of nothing is no feat: only tasks that must wait are counted.
                waits.see(said.begins.get(job.pk), job.begun)
                ends.see(said.ends.get(job.pk), job.ended)
            elif job.begun <= moment < job.ended:
                running.see(said.ends.get(job.pk), job.ended)
        moment += 900.0
    return [
        *waits.figures(f"{name}: beginnings of those that wait within the 80 % interval"),
        *ends.figures(f"{name}: ends of those that wait"),
        *running.figures(f"{name}: ends of those that run"),
        Figure("… the longest computation", "ms", 1000 * max(took)),
    ]


def calibration() -> list[Figure]:
    """How often what was expected came true, on a simulated day and on one as recorded."""
    return [*_calibration("simulated", _simulated()), *_calibration("as recorded", _recorded_like())]

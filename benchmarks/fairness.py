"""Who waits how long on a day on which one owner floods the queue: in Pod's order, and by fair share.

A university with forty owners and four runners, whose load a day carries easily; at ten o'clock one of them
asks for 60 videos to be encoded anew. Everything is of one class. Both orders decide about the same tasks.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from math import exp, log

from benchmarks.table import Figure, percentile
from poddispatchd.domain.fair_share import (
    HALF_LIFE,
    UNKNOWN_RUN,
    Claim,
    FairOrder,
    FairShare,
    Overtaking,
    due_places,
    fair_order,
    may_put_back,
    put_back,
)
from poddispatchd.domain.task import TaskPk

_START = datetime(2026, 3, 2, tzinfo=UTC)
_RUNNERS = 4
_FLOOD = 60
_FLOOD_AT = 10 * 3600.0
_FLOODING = "flood"
_DELAY = 7200.0
_SEEDS = range(5)
"""Days that are played: one alone would tell about its chances."""


@dataclass(slots=True)
class _Job:
    claim: Claim
    came: float
    runs: float
    begun: float = -1.0


@dataclass(slots=True)
class _Day:
    """One day of tasks on the runners; without a delay in Pod's order."""

    jobs: Sequence[_Job]
    delay: float | None
    running: dict[TaskPk, _Job] = field(default_factory=dict)
    ended: list[tuple[float, _Job]] = field(default_factory=list)
    shares: dict[TaskPk, float] = field(default_factory=dict)
    put_back: float = 0.0
    beyond: float = 0.0
    """By how much a run took longer than reckoned, at most."""

    def play(self) -> Mapping[TaskPk, float]:
        """When each task began."""
        heap = sorted(((job.came, job.claim.task, job) for job in self.jobs), key=lambda event: event[:2])
        waiting: dict[TaskPk, _Job] = {}
        while heap:
            now, pk, job = heappop(heap)
            if job.begun < 0:
                waiting[pk] = job
            else:
                self.ended.append((now, self.running.pop(pk)))
            while waiting and len(self.running) < _RUNNERS:
                chosen = waiting.pop(self._next(waiting.values(), now).task)
                chosen.begun = now
                self._measure(chosen, now)
                self.running[chosen.claim.task] = chosen
                if any(other.claim.place < chosen.claim.place for other in waiting.values()):
                    self.shares[chosen.claim.task] = 1 / len(self.running)
                heappush(heap, (now + chosen.runs, chosen.claim.task, chosen))
        return {job.claim.task: job.begun for job in self.jobs}

    def _reckoned(self) -> tuple[float, float]:
        """For how long a run is reckoned to take: on average, and nine of ten at most."""
        lengths = [job.runs for _, job in self.ended] or [UNKNOWN_RUN]
        return sum(lengths) / len(lengths), percentile(lengths, 0.9)

    def _measure(self, chosen: _Job, now: float) -> None:
        _, reckoned = self._reckoned()
        self.beyond = max(self.beyond, chosen.runs - reckoned)
        self.put_back = max(self.put_back, put_back(chosen.claim, self._overtakings(now, reckoned)))

    def _next(self, waiting: Iterable[_Job], now: float) -> Claim:
        claims = [job.claim for job in waiting]
        if self.delay is None:
            return min(claims, key=lambda claim: claim.place)
        mean, reckoned = self._reckoned()
        if not may_put_back(self.delay, reckoned):
            return min(claims, key=lambda claim: claim.place)
        used: dict[str, float] = defaultdict(float)
        for ended_at, job in self.ended:
            used[job.claim.party] += job.runs * 0.5 ** ((now - ended_at) / HALF_LIFE)
        for job in self.running.values():
            used[job.claim.party] += mean
        due = due_places(self._overtakings(now, reckoned), self.delay, reckoned)
        return fair_order(claims, FairOrder(FairShare.OWNER, used, {"encoding": mean}, due))[0]

    def _overtakings(self, now: float, reckoned: float) -> list[Overtaking]:
        found = []
        for job in [*self.running.values(), *(job for _, job in self.ended)]:
            share = self.shares.get(job.claim.task)
            if share is None:
                continue
            had = min(job.runs, now - job.begun)
            until_its_end = max(had, reckoned) if job.claim.task in self.running else had
            found.append(Overtaking(1, "encoding", job.claim.place, share * had, share * until_its_end))
        return found


def _jobs(seed: int) -> list[_Job]:
    rng = random.Random(seed)
    owners = [f"owner {number}" for number in range(40)]
    moments: list[tuple[float, str]] = [(_FLOOD_AT, _FLOODING)] * _FLOOD
    now = 8 * 3600.0
    while now < 20 * 3600:
        now += rng.expovariate(9 / 3600)
        moments.append((now, rng.choice(owners)))
    made = []
    for number, (came, owner) in enumerate(sorted(moments), 1):
        claim = Claim(TaskPk(number), 1, "encoding", _START + timedelta(seconds=came), owner)
        made.append(_Job(claim, came, exp(rng.gauss(log(700), 0.7))))
    return made


def fairness() -> list[Figure]:
    """Waits of the one who floods and of the others, with and without fair share."""
    pods, fair = _waits(None), _waits(_DELAY)
    figures = []
    for name, played in (("Pod's order", pods), ("fair share", fair)):
        for who, is_meant in (("the others", _is_other), ("the one who floods", _is_flooding)):
            waits = [wait / 60 for claim, wait in played if is_meant(claim)]
            figures += [
                Figure(f"{name}: {who} wait, the middle", "min", percentile(waits, 0.5)),
                Figure("… nine of ten less than", "min", percentile(waits, 0.9)),
                Figure("… at most", "min", max(waits)),
            ]
    days = [_Day(_jobs(seed), _DELAY) for seed in _SEEDS]
    later = 0.0
    for seed, day in zip(_SEEDS, days, strict=True):
        begun, in_pods_order = day.play(), _Day(_jobs(seed), None).play()
        later = max(later, *(begun[pk] - moment for pk, moment in in_pods_order.items()))
    bound = _DELAY + max(day.beyond for day in days)
    fit = 2 * (_RUNNERS - 1) / _RUNNERS * max(job.runs for day in days for job in day.jobs)
    return [
        *figures,
        Figure(
            "put back by those that overtake, at most",
            "min",
            max(day.put_back for day in days) / 60,
            limit=bound / 60,
            at_least=False,
        ),
        Figure(
            "begun later than in Pod's order, at most",
            "min",
            later / 60,
            limit=(bound + fit) / 60,
            at_least=False,
        ),
    ]


def _is_flooding(claim: Claim) -> bool:
    return claim.party == _FLOODING


def _is_other(claim: Claim) -> bool:
    return not _is_flooding(claim)


def _waits(delay: float | None) -> list[tuple[Claim, float]]:
    """Each task of all days, and how long it waited."""
    found = []
    for seed in _SEEDS:
        jobs = _jobs(seed)
        begun = _Day(jobs, delay).play()
        found += [(job.claim, begun[job.claim.task] - job.came) for job in jobs]
    return found

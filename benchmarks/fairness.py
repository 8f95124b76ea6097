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
    Claim,
    FairOrder,
    FairShare,
    Overtaking,
    due_places,
    fair_order,
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
                self.running[chosen.claim.task] = chosen
                if any(other.claim.place < chosen.claim.place for other in waiting.values()):
                    self.shares[chosen.claim.task] = 1 / len(self.running)
                heappush(heap, (now + chosen.runs, chosen.claim.task, chosen))
        return {job.claim.task: job.begun for job in self.jobs}

    def _next(self, waiting: Iterable[_Job], now: float) -> Claim:
        claims = [job.claim for job in waiting]
        if self.delay is None:
            return min(claims, key=lambda claim: claim.place)
        mean = sum(job.runs for _, job in self.ended) / len(self.ended) if self.ended else 600.0
        used: dict[str, float] = defaultdict(float)
        for ended_at, job in self.ended:
            used[job.claim.party] += job.runs * 0.5 ** ((now - ended_at) / HALF_LIFE)
        for job in self.running.values():
            used[job.claim.party] += mean
        due = due_places(self._overtakings(now), self.delay)
        return fair_order(claims, FairOrder(FairShare.OWNER, used, {"encoding": mean}, due))[0]

    def _overtakings(self, now: float) -> list[Overtaking]:
        jobs = [*self.running.values(), *(job for _, job in self.ended)]
        return [
            Overtaking(1, "encoding", job.claim.place, share * min(job.runs, now - job.begun))
            for job in jobs
            if (share := self.shares.get(job.claim.task)) is not None
        ]


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
    later = max(ours - theirs for (_, ours), (_, theirs) in zip(fair, pods, strict=True)) / 60
    limit = (_DELAY + _longest_run()) / 60
    return [
        *figures,
        Figure("put back at most, beyond Pod's order", "min", later, limit=limit, at_least=False),
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


def _longest_run() -> float:
    return max(job.runs for seed in _SEEDS for job in _jobs(seed))

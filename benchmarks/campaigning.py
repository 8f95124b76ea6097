"""What a campaign costs those who use Pod by day, and how much of it gets done.

Two weeks of a university with four runners, whose load its days carry; all tasks are of one class. Beside
them a campaign without an end, by the rule of the daemon (``poddispatchd/campaigns/job.py``): every ten
seconds one task of it begins if a runner is free, nobody waits, and fewer than ``--at-most`` of it run. For
comparison 1,000 such tasks as rows of Pod's table, all at nine o'clock of the first day.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import exp, inf, log

from benchmarks.table import Figure, percentile

_RUNNERS = 4
_DAYS = 14
_EVERY = 10.0
_ROWS = 1000
_NINE = 9 * 3600.0


@dataclass(slots=True)
class _Task:
    came: float
    runs: float
    begun: float = -1.0


@dataclass(slots=True)
class _Campaign:
    """``is_open``: whether its hours are, at a moment."""

    at_most: int
    is_open: Callable[[float], bool]
    runs: Sequence[float]
    ended: int = 0


def _tasks() -> list[_Task]:
    rng, now, found = random.Random(16), 0.0, []
    while now < _DAYS * 86400:
        now += rng.expovariate(30 / 3600)
        hour, weekend = now % 86400 / 3600, int(now // 86400) % 7 >= 5
        rate = (3 if weekend else 14) if 8 <= hour < 19 else 2
        if rng.random() * 30 < rate:
            found.append(_Task(now, _run(rng)))
    return found


def _run(rng: random.Random) -> float:
    return exp(rng.gauss(log(550), 0.7))


def _always(_: float) -> bool:
    return True


def _at_night(now: float) -> bool:
    return not 7 <= now % 86400 / 3600 < 20


def _play(tasks: Sequence[_Task], campaign: _Campaign | None) -> None:
    """Hand the tasks out as they come, and those of the campaign between them."""
    ends: list[tuple[float, bool]] = []
    waiting: list[_Task] = []
    coming, of_campaign, begun = iter([*tasks, None]), 0, 0
    task, look = next(coming), 0.0 if campaign is not None else inf
    while task is not None or waiting:
        came, end = inf if task is None else task.came, ends[0][0] if ends else inf
        now = min(came, end, look)
        if now == end:
            _, is_campaigns = heappop(ends)
            of_campaign -= is_campaigns
            if campaign is not None:
                campaign.ended += is_campaigns
        elif now == came:
            assert task is not None
            waiting.append(task)
            task = next(coming)
        else:
            look += _EVERY
            assert campaign is not None
            is_free = len(ends) < _RUNNERS and not waiting
            if is_free and of_campaign < campaign.at_most and campaign.is_open(now):
                heappush(ends, (now + campaign.runs[begun % len(campaign.runs)], True))
                of_campaign, begun = of_campaign + 1, begun + 1
        while waiting and len(ends) < _RUNNERS:
            first = waiting.pop(0)
            first.begun = now
            heappush(ends, (now + first.runs, False))


def campaigning() -> list[Figure]:
    """Waits of Pod's own tasks without a campaign, with one, and with its rows in Pod's table."""
    rng = random.Random(17)
    runs = [_run(rng) for _ in range(5000)]
    longest = max(runs)
    alone = _tasks()
    _play(alone, None)
    figures = _figures("no campaign", alone)
    for name, at_most, is_open in (
        ("at most 1", 1, _always),
        ("at most 2", 2, _always),
        ("at most 4, at night", 4, _at_night),
        ("at most 4", 4, _always),
    ):
        campaign, tasks = _Campaign(at_most, is_open, runs), _tasks()
        _play(tasks, campaign)
        figures += _figures(name, tasks)
        later = max(ours.begun - bare.begun for ours, bare in zip(tasks, alone, strict=True))
        # What runs of it at the moment at which all runners are busy, and how runs happen to fit.
        limit = (at_most + 2 * (_RUNNERS - 1)) / _RUNNERS * longest
        figures += [
            Figure("… later than without it, at most", "min", later / 60, limit=limit / 60, at_least=False),
            Figure("… tasks of it a day", "", campaign.ended / _DAYS),
        ]
    rows = [_Task(_NINE, runs[number]) for number in range(_ROWS)]
    flooded = sorted([*_tasks(), *rows], key=lambda task: task.came)
    _play(flooded, None)
    own = [task for task in flooded if task.came != _NINE]
    return figures + _figures(f"{_ROWS} rows in Pod's table", own)


def _figures(name: str, tasks: Sequence[_Task]) -> list[Figure]:
    waits = [(task.begun - task.came) / 60 for task in tasks]
    return [
        Figure(f"{name}: Pod's own tasks wait on average", "min", sum(waits) / len(waits)),
        Figure("… nine of ten less than", "min", percentile(waits, 0.9)),
        Figure("… 99 of 100 less than", "min", percentile(waits, 0.99)),
        Figure("… at most", "min", max(waits)),
    ]

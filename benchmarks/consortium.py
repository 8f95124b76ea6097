"""A year of a large consortium: ``python -m benchmarks.consortium docs/consortium.svg`` plays and draws it.

100 runner managers, 1,000 runners, 36 million tasks: days of six kinds are played (``--part 4``: at a
quarter of that size), each twice in a row, of which the second is measured, and count as often as a year
has them. Which task goes to which manager is decided by the daemon's own routing, who is next by Pod's
order or the daemon's own fair share. What lies around these decisions is played: runs, answers, callbacks,
three daemons of which the one that schedules ends three times a day, and Pod's CRON.
"""

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from math import exp, log
from pathlib import Path

import matplotlib as mpl

from benchmarks.table import machine, percentile
from poddispatchd.domain.fair_share import Claim, FairOrder, FairShare, Overtaking, due_places, fair_order
from poddispatchd.domain.routing import Lane, Offer, assign
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskType

_SITE = SiteId(1)
_START = datetime(2026, 3, 2, tzinfo=UTC)
_DAY = 86400.0
_RUNNERS_EACH = 10
_GAP = 0.25
"""Seconds from the end of a run to the next one there: a callback, a look, a manager's answer."""
_OUTAGE = 9.0
"""Seconds without a scheduler: a daemon dies, its lease ends, another one looks at everything."""
_OUTAGES = (9.5, 13.2, 17.8)
_CRON, _CRON_RATE = 180.0, 19.0
"""Every so many seconds, so many submissions a second, as measured. Pod offers new tasks at once besides."""
_HALF_LIFE = 86400.0
_LONGEST = 7200.0

_HOURS = (1, 0.6, 0.4, 0.3, 0.3, 0.5, 1, 2, 5, 7, 12, 8, 12, 7, 7, 8, 11, 9, 6, 4, 3, 3, 2, 1.5)
"""How the tasks of a day fall into its hours: after lectures most."""

_KINDS = {
    "weekdays of a term": (150, 125_000),
    "weekdays of exams": (35, 150_000),
    "first weeks of a term": (15, 185_000),
    "weekends of a term": (80, 60_000),
    "weekdays of holidays": (60, 60_000),
    "weekends of holidays": (25, 25_000),
}
"""How many days of a year, and how many tasks each."""

_TYPES: Mapping[TaskType, tuple[float, float, float]] = {
    TaskType.ENCODING: (0.7, 200, 0.9),
    TaskType.TRANSCRIPTION: (0.25, 180, 0.8),
    TaskType.STUDIO: (0.05, 400, 0.6),
}
"""Share of all tasks, median of the runs in seconds, and how far they scatter."""

_CLASSES = {0: 0.05, 1: 0.6, 2: 0.35}
_CLASS_NAMES = {0: "priority users", 1: "everyone else", 2: "students"}


@dataclass(slots=True)
class Job:
    """A task: when it comes, and, once it was played, when it began."""

    pk: TaskPk
    came: float
    kind: TaskType
    priority: int
    runs: float
    owner: str = ""
    begun: float = -1.0

    @property
    def place(self) -> tuple[int, float, int]:
        """Where it stands in Pod's order."""
        return self.priority, self.came, self.pk

    @property
    def wait(self) -> float:
        """Seconds until it began."""
        return self.begun - self.came


@dataclass(slots=True)
class Use:
    """Runner time while tasks waited: what runs had of it, and what was lost between two of them."""

    ran: float = 0.0
    lost: float = 0.0

    @property
    def share(self) -> float:
        """In per cent."""
        return 100 * self.ran / max(1.0, self.ran + self.lost)


@dataclass(slots=True)
class Play:
    """Days of tasks on the runners."""

    managers: int
    use: Use = field(default_factory=Use)
    free: dict[ManagerId, list[float]] = field(default_factory=dict)
    given: dict[ManagerId, float] = field(default_factory=dict)
    ends: list[tuple[float, int, ManagerId]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """All runners are free at first."""
        self.free = {ManagerId(pk): [0.0] * _RUNNERS_EACH for pk in range(1, self.managers + 1)}

    def choose(self, job: Job, now: float) -> ManagerId | None:
        """The manager that gets a task, as the daemon routes it."""
        lanes = [
            Lane(pk, _SITE, 1, last_given=self.given.get(pk, 0.0))
            for pk, runners in self.free.items()
            if runners
        ]
        found = assign([Offer(job.pk, job.kind, _SITE)], lanes, now)
        return found[0].manager if found else None

    def begin(self, job: Job, at: float, now: float) -> bool:
        """Let a task run if a runner is free."""
        manager = self.choose(job, now)
        if manager is None:
            return False
        since = self.free[manager].pop()
        job.begun = at
        self.given[manager] = now
        if job.came < since:
            # It waited already when the runner became free.
            self.use.ran += job.runs
            self.use.lost += at - since
        heappush(self.ends, (at + job.runs, job.pk, manager))
        return True

    def next_end(self) -> float:
        """When the next run ends."""
        return self.ends[0][0] if self.ends else float("inf")

    def end(self) -> TaskPk:
        """A run ends, and its runner is free."""
        at, pk, manager = heappop(self.ends)
        self.free[manager].append(at)
        return TaskPk(pk)


def play_daemon(jobs: Sequence[Job], managers: int) -> Use:
    """Hand the tasks out as the daemon does, in Pod's order."""
    play, queue = Play(managers), list[tuple[tuple[int, float, int], Job]]()
    coming = iter([*jobs, None])
    job = next(coming)
    while job is not None or queue:
        came = float("inf") if job is None else job.came
        if came <= play.next_end():
            assert job is not None
            now = came
            heappush(queue, (job.place, job))
            job = next(coming)
        else:
            now = play.next_end()
            play.end()
        at = _after_outage(now) + _GAP
        while queue and play.begin(queue[0][1], at, now):
            heappop(queue)
    return play.use


def _after_outage(now: float) -> float:
    """When somebody schedules."""
    for hour in _OUTAGES:
        begun = now - now % _DAY + hour * 3600
        if begun <= now < begun + _OUTAGE:
            return begun + _OUTAGE
    return now


def play_cron(jobs: Sequence[Job], managers: int) -> Use:
    """Hand the tasks out as Pod does: new ones at once if a runner is free, others every three minutes."""
    play, queue = Play(managers), list[tuple[tuple[int, float, int], Job]]()
    coming = iter([*jobs, None])
    job, tick = next(coming), _CRON
    while job is not None or queue:
        came = float("inf") if job is None else job.came
        now = min(came, tick, play.next_end())
        if now == came:
            assert job is not None
            if not play.begin(job, now + _GAP, now):
                heappush(queue, (job.place, job))
            job = next(coming)
        elif now == tick:
            tick, submitted = tick + _CRON, 0
            while queue and play.begin(queue[0][1], now + submitted / _CRON_RATE, now):
                heappop(queue)
                submitted += 1
        else:
            play.end()
    return play.use


# --- fair share ---------------------------------------------------------------------------------------------


def play_fair(jobs: Sequence[Job], managers: int, *, every: float = 60.0) -> None:
    """Hand the tasks out by fair share of owners; the order is read again every so many seconds."""
    play, waiting = Play(managers), dict[TaskPk, Job]()
    by_pk = {job.pk: job for job in jobs}
    used: dict[str, float] = defaultdict(float)
    overtook: dict[TaskPk, float] = {}
    order, read_at = list[TaskPk](), float("-inf")
    lengths = sorted(job.runs for job in jobs)
    mean, reckoned = sum(lengths) / len(lengths), percentile(lengths, 0.9)
    share, coming = 1 / (managers * _RUNNERS_EACH), iter([*jobs, None])
    job = next(coming)
    while job is not None or waiting:
        came = float("inf") if job is None else job.came
        if came <= play.next_end():
            assert job is not None
            now = came
            waiting[job.pk] = job
            job = next(coming)
        else:
            now = play.next_end()
            ended = by_pk[play.end()]
            # Half-lives are counted from the end of all, so that nothing has to be counted again.
            used[ended.owner] += ended.runs * 2 ** ((now - jobs[-1].came) / _HALF_LIFE)
        if now - read_at >= every or not order:
            factor = 2 ** ((jobs[-1].came - now) / _HALF_LIFE)
            had = {owner: seconds * factor for owner, seconds in used.items()}
            for _, pk, _manager in play.ends:
                had[by_pk[TaskPk(pk)].owner] = had.get(by_pk[TaskPk(pk)].owner, 0.0) + mean
            first = min((each.came for each in waiting.values()), default=now)
            overtook = {pk: begun for pk, begun in overtook.items() if by_pk[pk].came >= first}
            known = [_overtaking(by_pk[pk], begun, now, share, reckoned) for pk, begun in overtook.items()]
            due = due_places(known, _LONGEST, reckoned)
            claims = [_claim(each) for each in waiting.values()]
            fair = FairOrder(FairShare.OWNER, had, {kind.value: mean for kind in TaskType}, due)
            order, read_at = [claim.task for claim in fair_order(claims, fair)][::-1], now
        while order and waiting:
            chosen = waiting.get(order[-1])
            if chosen is None or play.begin(chosen, now + _GAP, now):
                pk = order.pop()
                if chosen is not None:
                    del waiting[pk]
                    overtook[pk] = now
            else:
                break


def _claim(job: Job) -> Claim:
    return Claim(job.pk, job.priority, "any", _START + timedelta(seconds=job.came), job.owner)


def _overtaking(job: Job, begun: float, now: float, share: float, reckoned: float) -> Overtaking:
    had = min(job.runs, now - begun)
    until = max(had, reckoned) if now - begun < job.runs else had
    return Overtaking(job.priority, "any", _claim(job).place, share * had, share * until)


# --- days ---------------------------------------------------------------------------------------------------


def _jobs(rng: random.Random, tasks: int, *, floods: int = 0, days: int = 2) -> list[Job]:
    """Tasks of days, as they come; ``floods`` owners ask for a hundredth of a day's tasks each, at once."""
    moments: list[tuple[float, str]] = []
    for day in range(days):
        moments += [(_moment(rng, day), f"owner {rng.randrange(max(1, tasks // 5))}") for _ in range(tasks)]
        for flood in range(floods):
            at = day * _DAY + rng.uniform(9, 16) * 3600
            moments += [(at, f"flood {flood}")] * (tasks // 100)
    return [_job(rng, number, *moment) for number, moment in enumerate(sorted(moments), 1)]


def _moment(rng: random.Random, day: int) -> float:
    [hour] = rng.choices(range(24), _HOURS)
    return day * _DAY + (hour + rng.random()) * 3600


def _job(rng: random.Random, number: int, came: float, owner: str) -> Job:
    [kind] = rng.choices(list(_TYPES), [share for share, *_ in _TYPES.values()])
    _, median, spread = _TYPES[kind]
    # Studio tasks are in the middle class, whoever recorded them.
    [priority] = [1] if kind is TaskType.STUDIO else rng.choices(list(_CLASSES), list(_CLASSES.values()))
    return Job(TaskPk(number), came, kind, priority, exp(rng.gauss(log(median), spread)), owner)


@dataclass(slots=True)
class Measured:
    """What was found: waits by who hands out and class; use of slots; waits by hour of one kind of day."""

    waits: dict[str, dict[int, list[tuple[float, float]]]] = field(default_factory=dict)
    use: dict[str, list[tuple[float, Use]]] = field(default_factory=dict)
    hours: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    fair: dict[str, dict[str, list[float]]] = field(default_factory=dict)


_BY: Mapping[str, Callable[[Sequence[Job], int], Use]] = {
    "poddispatchd": play_daemon,
    "Pod's CRON": play_cron,
}


def measure(scale: int) -> Measured:
    """Play all kinds of days, at one part in ``scale`` of the size."""
    found = Measured()
    managers = 100 // scale
    for number, (name, (days, tasks)) in enumerate(_KINDS.items()):
        for by, play in _BY.items():
            jobs = _jobs(random.Random(number), tasks // scale)
            begun = time.monotonic()
            used = play(jobs, managers)
            second = [job for job in jobs if job.came >= _DAY]
            weight = days / len(second) * tasks
            by_class = found.waits.setdefault(by, defaultdict(list))
            for job in second:
                by_class[job.priority].append((job.wait, weight))
            found.use.setdefault(by, []).append((days * (used.ran + used.lost), used))
            if name == "first weeks of a term":
                hours = found.hours.setdefault(by, defaultdict(list))
                for job in second:
                    hours[int(job.came % _DAY // 3600)].append(job.wait)
            waits = [job.wait for job in second]
            full = (
                f"{used.share:.1f} % used while tasks wait" if used.ran + used.lost else "runners always free"
            )
            print(
                f"{name}, {by}: half {percentile(waits, 0.5):.1f} s, nine of ten"
                f" {percentile(waits, 0.9):.1f} s, at most {max(waits) / 60:.0f} min, {full}"
                f" (played in {time.monotonic() - begun:.0f} s)",
                flush=True,
            )
    _measure_fair(found)
    return found


def _measure_fair(found: Measured) -> None:
    """At a tenth of the size: the whole queue is put in order again every minute."""
    for by in ("Pod's order", "fair share"):
        jobs = _jobs(random.Random(99), 12_500, floods=8)
        if by == "fair share":
            play_fair(jobs, 10)
        else:
            play_daemon(jobs, 10)
        second = [job for job in jobs if job.came >= _DAY]
        for who in ("others", "those who flood"):
            waits = [job.wait / 60 for job in second if job.owner.startswith("flood") == (who != "others")]
            found.fair.setdefault(by, {})[who] = waits
            print(
                f"{by}, {who}: half {percentile(waits, 0.5):.1f} min, nine of ten"
                f" {percentile(waits, 0.9):.0f} min, at most {max(waits):.0f} min",
                flush=True,
            )


def weighted(waits: Iterable[tuple[float, float]], share: float) -> float:
    """The wait below which so much of all weight lies."""
    ordered = sorted(waits)
    left = share * sum(weight for _, weight in ordered)
    for wait, weight in ordered:
        left -= weight
        if left <= 0:
            return wait
    return ordered[-1][0]


def lines(found: Measured) -> Iterator[str]:
    """The year in words."""
    for by, classes in found.waits.items():
        for priority, waits in sorted(classes.items()):
            figures = ", ".join(
                f"{words} {weighted(waits, share):.1f} s"
                for words, share in (("half within", 0.5), ("nine of ten", 0.9), ("99 of 100", 0.99))
            )
            yield f"year, {by}, {_CLASS_NAMES[priority]}: {figures}"
        total = sum(weight for weight, _ in found.use[by])
        share = sum(weight * used.share for weight, used in found.use[by]) / total
        yield f"year, {by}: {share:.1f} % of the runners' time is used while tasks wait"


def draw(found: Measured, facts: Mapping[str, str], target: Path) -> None:
    """Waits of a year, of the worst kind of day by the hour, and fair share."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "poddispatchd"
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of what draws

    figure, (year, day, fair) = plt.subplots(3, 1, figsize=(9, 12))
    shares = [each / 200 for each in range(1, 200)]
    percent = [100 * share for share in shares]
    for by, style in zip(found.waits, ("-", "--"), strict=True):
        for priority, waits in sorted(found.waits[by].items()):
            values = _quantiles([max(0.1, wait) for wait, _ in waits], shares)
            year.plot(percent, values, style, color=f"C{priority}", label=f"{by}: {_CLASS_NAMES[priority]}")
    year.set(yscale="log", xlabel="per cent of the tasks of the days played", ylabel="wait no longer than, s")
    for by, hours in found.hours.items():
        for share, style, words in ((0.5, "-", "half"), (0.9, "--", "nine of ten")):
            minutes = [percentile(hours[hour], share) / 60 for hour in sorted(hours)]
            day.plot(sorted(hours), minutes, style, label=f"{by}: {words}")
    day.set(xlabel="hour of a day of the first weeks of a term", ylabel="wait no longer than, min")
    for by, groups in found.fair.items():
        for who, minutes in groups.items():
            fair.plot(
                percent, _quantiles(minutes, shares), "-" if who == "others" else "--", label=f"{by}: {who}"
            )
    fair.set(
        xlabel="per cent of the tasks of a day on which eight owners flood", ylabel="wait no longer than, min"
    )
    for place in (year, day, fair):
        place.grid(alpha=0.3)
        place.legend(fontsize="small")
    figure.suptitle(f"A consortium of 100 runner managers, played on {facts['at']}")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def _quantiles(values: Sequence[float], shares: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[int(share * len(ordered))] for share in shares]


def main(arguments: list[str]) -> int:
    """Play the year, print what was found, and draw it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consortium", description=__doc__)
    parser.add_argument("target", type=Path, help="the drawing (SVG)")
    parser.add_argument("--part", type=int, default=1, help="one part in so many of the size")
    options = parser.parse_args(arguments)
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    found = measure(options.part)
    print(*lines(found), sep="\n")
    draw(found, facts, options.target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How long runs take, learnt from those that ended: a law for each type, by what is known of the source.

A law is log-linear in the duration of the source, else in its size, else it is the plain distribution of its
type. Managers are told apart by their mean deviation, which counts the more the more runs it stands on.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import exp, log, sqrt
from statistics import fmean, pstdev

from msgspec import Struct, field
from msgspec.structs import force_setattr

from poddispatchd.domain.task import ManagerId

FEWEST = 8
"""Runs below which nothing is said about a type: there is no basis."""

_SHRINKAGE = 4.0
"""Runs of a manager that weigh as much as the mean of all."""

_STEEPEST = 1.3
"""A run that grows faster than that with its source is taken for chance."""

_NORMAL = (-1.465, -0.792, -0.366, 0.0, 0.366, 0.792, 1.465)
"""Middles of seven equal parts of the normal distribution: each run stands for what lies around it."""


class SourceSize(Struct, frozen=True):
    """What is known of a source before it is worked on; None: it is not.

    Nothing has no length, or less than none: a row that says so, as after a result that does, tells nothing.
    """

    seconds: int | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("bytes", self.bytes)):
            if value is not None and value <= 0:
                force_setattr(self, name, None)


UNKNOWN_SOURCE = SourceSize()


class EndedRun(Struct, frozen=True):
    """A run that has ended, however.

    ``ran`` and ``waited`` are in seconds, ``waited`` None when it is not known. ``priority`` is the class of
    the task in Pod's order: lower is served first.
    """

    type: str
    ran: float
    ended_at: datetime
    manager: ManagerId | None = None
    source: SourceSize = UNKNOWN_SOURCE
    waited: float | None = None
    priority: int = 1


class Law(Struct, frozen=True):
    """The distribution of one run: its centre and the deviations around it, both of the logarithm."""

    centre: float
    deviations: Sequence[float]

    def draw(self, chance: float, *, longer_than: float = 0.0) -> float:
        """Seconds that a run takes, given that it takes longer than so many.

        A run that took longer than anything that was ever seen may take as long again.

        Args:
            chance: a number of [0, 1).
            longer_than: seconds for which it has been running.
        """
        first = self._first(longer_than)
        left = len(self.deviations) - first
        if left <= 0:
            return longer_than * (1.0 + chance)
        return exp(self.centre + self.deviations[first + int(chance * left)])

    def has_longer_than(self, seconds: float) -> bool:
        """Whether any run is known to take longer than so many seconds."""
        return self._first(seconds) < len(self.deviations)

    def _first(self, seconds: float) -> int:
        return 0 if seconds <= 0 else bisect_right(self.deviations, log(seconds) - self.centre)


class _Line(Struct, frozen=True):
    """A line through the logarithms of size and run time, with what is left, sorted."""

    offset: float
    slope: float
    deviations: Sequence[float]

    def law(self, size: float, shift: float) -> Law:
        return Law(self.offset + self.slope * log(size) + shift, self.deviations)


class RunTimes(Struct, frozen=True):
    """Laws of the types that have ended often enough, in the order of preference: by duration, size, type."""

    _by_seconds: Mapping[str, _Line] = field(default_factory=dict)
    _by_bytes: Mapping[str, _Line] = field(default_factory=dict)
    _plain: Mapping[str, _Line] = field(default_factory=dict)
    _managers: Mapping[tuple[str, ManagerId], float] = field(default_factory=dict)

    def law(self, kind: str, source: SourceSize, manager: ManagerId | None = None) -> Law | None:
        """How long a task of a type runs; None when there is no basis for saying so."""
        shift = 0.0 if manager is None else self._managers.get((kind, manager), 0.0)
        for lines, size in ((self._by_seconds, source.seconds), (self._by_bytes, source.bytes)):
            line = lines.get(kind)
            if size and line is not None:
                return line.law(size, shift)
        line = self._plain.get(kind)
        return None if line is None else line.law(1.0, shift)


def run_times(runs: Iterable[EndedRun]) -> RunTimes:
    """What runs that ended tell about those to come."""
    by_type: dict[str, list[EndedRun]] = defaultdict(list)
    for run in runs:
        if run.ran > 0:
            by_type[run.type].append(run)
    by_seconds: dict[str, _Line] = {}
    by_bytes: dict[str, _Line] = {}
    plain: dict[str, _Line] = {}
    managers: dict[tuple[str, ManagerId], float] = {}
    for kind, ended in by_type.items():
        if len(ended) < FEWEST:
            continue
        shifts = _manager_shifts(ended)
        managers.update({(kind, manager): shift for manager, shift in shifts.items()})
        rest = [log(run.ran) - (shifts.get(run.manager, 0.0) if run.manager else 0.0) for run in ended]
        plain[kind] = _line([0.0] * len(rest), rest)
        for lines, sizes in (
            (by_seconds, [run.source.seconds for run in ended]),
            (by_bytes, [run.source.bytes for run in ended]),
        ):
            known = [(log(size), value) for size, value in zip(sizes, rest, strict=True) if size]
            if len(known) >= FEWEST:
                lines[kind] = _line([x for x, _ in known], [y for _, y in known])
    return RunTimes(by_seconds, by_bytes, plain, managers)


def _manager_shifts(ended: Sequence[EndedRun]) -> dict[ManagerId, float]:
    """How far each manager's runs are from the others', once the lengths of their sources are allowed for."""
    known = [(log(run.source.seconds), log(run.ran), run.manager) for run in ended if run.source.seconds]
    if len(known) < FEWEST:
        known = [(0.0, log(run.ran), run.manager) for run in ended]
    offset, slope = _fit([x for x, _, _ in known], [y for _, y, _ in known])
    by_manager: dict[ManagerId, list[float]] = defaultdict(list)
    for x, y, manager in known:
        if manager is not None:
            by_manager[manager].append(y - offset - slope * x)
    return {
        manager: sum(deviations) / (len(deviations) + _SHRINKAGE)
        for manager, deviations in by_manager.items()
    }


def _fit(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Offset and slope of the line of least squares; its slope is none that chance alone would make."""
    middle, level = fmean(sizes), fmean(values)
    spread = sum((x - middle) ** 2 for x in sizes)
    slope = 0.0
    if spread > 1e-9:
        slope = sum((x - middle) * (y - level) for x, y in zip(sizes, values, strict=True)) / spread
        slope = min(max(slope, 0.0), _STEEPEST)
    return level - slope * middle, slope


def _line(sizes: Sequence[float], values: Sequence[float]) -> _Line:
    offset, slope = _fit(sizes, values)
    count = len(values)
    # Few runs lie closer to their own line than the next one will.
    widening = sqrt((count + 1) / (count - 2))
    left = [widening * (y - offset - slope * x) for x, y in zip(sizes, values, strict=True)]
    # Silverman's rule for the width of a kernel, by the standard deviation alone.
    width = 0.9 * pstdev(left) * count**-0.2
    return _Line(offset, slope, sorted(value + width * step for value in left for step in _NORMAL))

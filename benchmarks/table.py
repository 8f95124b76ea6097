"""Figures beside what is bare, what was reached and what is wanted: as a table, and as JSON."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Args:
        name: what was measured.
        unit: of ``measured`` and ``bare``.
        measured: the daemon's, the median of all rounds.
        bare: of the same work without the daemon, in the same run; None: there is no such thing.
        ratio: of the two, the median over the rounds; None without ``bare``.
        limit: what ``judged`` must keep, or the suite fails: a little worse than what is reached today.
        reach: what is wanted.
        at_least: whether more is better.
    """

    name: str
    unit: str
    measured: float
    bare: float | None = None
    ratio: float | None = None
    limit: float | None = None
    reach: float | None = None
    at_least: bool = True

    @property
    def judged(self) -> float:
        """What the limit and the reach are about: the ratio where there is one."""
        return self.measured if self.ratio is None else self.ratio

    def keeps(self, bound: float | None) -> bool:
        """Whether it is as good as this."""
        return bound is None or (self.judged >= bound if self.at_least else self.judged <= bound)

    @property
    def verdict(self) -> str:
        """In a word."""
        if not self.keeps(self.limit):
            return "MISSED"
        return "" if self.reach is None else "reached" if self.keeps(self.reach) else "short"


def beside(
    name: str,
    unit: str,
    rounds: Sequence[tuple[float, float]],
    *,
    limit: float | None = None,
    reach: float | None = None,
    at_least: bool = True,
) -> Figure:
    """A figure from rounds of (the daemon's, the bare one), each measured one right after the other."""
    return Figure(
        name,
        unit,
        statistics.median(ours for ours, _ in rounds),
        statistics.median(bare for _, bare in rounds),
        statistics.median(ours / bare for ours, bare in rounds),
        limit,
        reach,
        at_least,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which so much of all lies, for example 0.99."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> dict[str, str]:
    """What the figures depend on besides the code."""
    processors = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    model = next((line.partition(": ")[2] for line in processors if line.startswith("model name")), "?")
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": load(),
    }


def load() -> str:
    """How much else the machine does: the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


HEAD = f"{'':<66} {'daemon':>10} {'bare':>10} {'ratio':>6} {'limit':>7} {'reach':>7}"


def line(figure: Figure) -> str:
    """The figure for people."""
    sign = ">=" if figure.at_least else "<="
    texts = [
        f"{figure.name + ', ' + figure.unit:<66}",
        f"{figure.measured:>10.4g}",
        f"{'-' if figure.bare is None else format(figure.bare, '.4g'):>10}",
        f"{'-' if figure.ratio is None else format(figure.ratio, '.2f'):>6}",
        f"{'-' if figure.limit is None else sign + format(figure.limit, 'g'):>7}",
        f"{'-' if figure.reach is None else sign + format(figure.reach, 'g'):>7}",
        figure.verdict,
    ]
    return " ".join(texts).rstrip()


def record(figure: Figure) -> dict[str, Any]:
    """The figure for programs."""
    return {name: getattr(figure, name) for name in Figure.__slots__} | {"verdict": figure.verdict}

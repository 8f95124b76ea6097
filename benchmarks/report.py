"""Figures beside their limits."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. ``limit`` None: there is nothing to compare with."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """The figure for people."""
        text = f"{self.name:<66} {self.value:9.1f} {self.unit:<3}"
        if self.limit is None:
            return text
        sign = ">=" if self.at_least else "<="
        return f"{text} {sign} {self.limit:g} {self.unit} {'ok' if self.holds else 'MISSED'}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which so much of all lies, for example 0.99."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latencies(name: str, seconds: Sequence[float], *, limit_p99: float) -> list[Figure]:
    """The middle and the 99th hundredth of durations, in milliseconds."""
    return [
        Figure(f"{name}, p50", percentile(seconds, 0.5) * 1000, "ms"),
        Figure(f"{name}, p99 of {len(seconds)}", percentile(seconds, 0.99) * 1000, "ms", limit_p99),
    ]

"""Whether what a daemon holds is flat after its warm-up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

LIMITS: Mapping[str, float] = MappingProxyType(
    {
        "rss_kib": 4 * 1024,
        "anonymous_kib": 4 * 1024,
        "heap_used_kib": 2 * 1024,
        "heap_free_kib": 4 * 1024,
        "traced_kib": 1024,
        "threads": 4,
        "descriptors": 8,
        "tasks": 8,
        "sessions": 4,
    }
)
"""How much more each may be at the end than after the warm-up.

Two thousand tasks that each left 2 KiB behind would be found. The rest allows for what is under way.
"""


OF_THE_PROCESS = frozenset({"rss_kib", "anonymous_kib", "heap_used_kib", "heap_free_kib"})
"""Not judged where memory is traced: the notes of the tracing are most of it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one daemon held at one moment; ``minute`` counts from the beginning."""

    daemon: str
    minute: float
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of one daemon: its median in the first and in the last quarter after the warm-up."""

    daemon: str
    name: str
    first: float
    last: float
    most: float
    limit: float

    @property
    def is_flat(self) -> bool:
        """Whether it has not grown by more than its limit."""
        return self.last - self.first <= self.limit


def findings(samples: Sequence[Sample], *, warm_up: float) -> list[Finding]:
    """What became of every figure after so many minutes.

    Raises:
        ValueError: there are too few samples to tell.
    """
    if not samples:
        raise ValueError("No daemon told what it holds: there is nothing to tell by.")
    found = []
    traced = {sample.daemon for sample in samples if sample.figures.get("traced_kib")}
    for daemon in sorted({sample.daemon for sample in samples}):
        warm = [sample for sample in samples if sample.daemon == daemon and sample.minute >= warm_up]
        quarter = len(warm) // 4
        if quarter < 3:
            raise ValueError(f"{len(warm)} samples of {daemon} after the warm-up are too few to tell.")
        for name, limit in LIMITS.items():
            if daemon in traced and name in OF_THE_PROCESS:
                continue
            values = [sample.figures[name] for sample in warm if name in sample.figures]
            if values and max(values) > 0:
                first, last = median(values[:quarter]), median(values[-quarter:])
                found.append(Finding(daemon, name, first, last, max(values), limit))
    return found

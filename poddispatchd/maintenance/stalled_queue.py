"""Types of which tasks wait while none runs: a long queue moves, this one may never."""

from collections.abc import Collection

from poddispatchd.config.units import format_duration
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.pod.queue_order import QueueStats


class StalledQueue:
    """Remembers since when, by the monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[TaskType, float] = {}

    def see(self, queue_stats: QueueStats, now: float, *, closed: Collection[TaskType] = ()) -> None:
        """Take note of a look at the queue; what waits for a window (``closed``) does not stand still."""
        standing = still(queue_stats).difference(closed)
        self._since = {kind: self._since.get(kind, now) for kind in TaskType if kind in standing}

    def lasting(self, now: float, *, after: float) -> tuple[TaskType, ...]:
        """The types that have stood still for longer than ``after`` seconds."""
        return tuple(kind for kind, since in self._since.items() if now - since > after)


def still(queue_stats: QueueStats) -> frozenset[TaskType]:
    """The types of which tasks wait while none runs."""
    return frozenset(
        kind
        for kind in TaskType
        if queue_stats.count(kind, TaskStatus.PENDING) and not queue_stats.count(kind, TaskStatus.RUNNING)
    )


def stalled_words(types: Collection[TaskType], *, after: float) -> str:
    """A sentence about types that stand still for longer than ``after`` seconds."""
    if set(types) == {TaskType.OTHER}:
        return (
            "Tasks of types that poddispatchd does not know have been waiting for more than "
            f"{format_duration(after)}, and nothing submits them: see 'poddispatchd tasks list --type other'."
        )
    shown = " and ".join(types)
    return (
        f"Tasks of type {shown} have been waiting for more than {format_duration(after)} while none runs: "
        "every runner is busy with others, or no runner manager of their site takes this type. "
        "See 'poddispatchd runners list'."
    )

"""Types of which tasks wait while none runs: a long queue moves, this one may never."""

from collections.abc import Callable, Collection

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import ReconcileSettings
from poddispatchd.config.units import format_duration
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.database_session import DatabaseSession

log = structlog.get_logger(__name__)


class StalledQueue:
    """Tells once of such a type, when that has lasted for too long; only the scheduler tells."""

    def __init__(
        self,
        session: DatabaseSession,
        registry: ManagerRegistry,
        settings: Callable[[], ReconcileSettings],
        clock: Clock,
    ) -> None:
        self._session = session
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._since: dict[TaskType, float] = {}
        """By the monotonic clock."""
        self.types: tuple[TaskType, ...] = ()
        """The types of which tasks had waited for too long at the last look while none ran."""

    async def look(self, stats: QueueStats) -> None:
        """Take note of a look at the queue; what waits for a window does not stand still."""
        before, now, after = self.types, self._clock.monotonic(), self._settings().stale_after
        standing = still(stats).difference(self._registry.closed_types())
        self._since = {kind: self._since.get(kind, now) for kind in TaskType if kind in standing}
        self.types = tuple(kind for kind, since in self._since.items() if now - since > after)
        news = [kind for kind in self.types if kind not in before]
        # Standbys know it as well, for their pages; one daemon tells it.
        if news and self._session.term is not None:
            log.error(Event.QUEUE_STALLED, reason=stalled_words(news, after=after))


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
        "no runner manager of their site can be used, all runners are busy with other tasks, or none takes "
        "this type. "
        "See 'poddispatchd runners list'."
    )

"""The jobs of a daemon, as the daemon sees them."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct, field

from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.task import StaleTasks, TaskType
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.lease_queue import LateItems
from poddispatchd.runtime.wakeups import Wakeup


class Loop(NamedTuple):
    """One job: its name, one step of it, and what wakes it before its time.

    ``needs_database``: it waits while the database does not answer.
    """

    name: str
    step: Callable[[], Awaitable[float]]
    wake: Wakeup
    needs_database: bool = True


class Progress(Struct, frozen=True):
    """What the jobs of a daemon tell. Not every kind of work has everything to tell.

    Args:
        queue_stats: the last look at the queue; None before the first one.
        submissions: those in progress.
        imports: those in progress.
        stale: the tasks that run for too long.
        stalled_types: the types of which tasks wait for too long while none runs.
        set_aside: how many items of each queue of the journal a person has to look at.
        late: deliveries that have been tried in vain for long.
        shadow: what a shadow has found out; None when this is none.
        blind: the runner managers of which a shadow can expect nothing: they do not tell their runners.
    """

    queue_stats: QueueStats | None = None
    submissions: int = 0
    imports: int = 0
    stale: StaleTasks = field(default_factory=StaleTasks)
    stalled_types: Collection[TaskType] = ()
    set_aside: Mapping[str, int] = field(default_factory=dict)
    late: Collection[LateItems] = ()
    shadow: ShadowState | None = None
    blind: Collection[str] = ()


class DaemonJobs(ABC):
    """What a daemon runs until it is stopped."""

    __slots__ = ()

    @property
    @abstractmethod
    def loops(self) -> Iterable[Loop]:
        """The jobs."""

    @property
    @abstractmethod
    def progress(self) -> Progress:
        """What the jobs tell now."""

    @abstractmethod
    async def look(self) -> QueueStats:
        """Count the tasks now."""

    async def begin(self) -> None:  # noqa: B027 - there need not be anything
        """Before any job runs: give back what a crashed daemon held."""

    @abstractmethod
    async def stop(self) -> None:
        """The jobs are told to end: finish what must be finished, hand back the rest."""

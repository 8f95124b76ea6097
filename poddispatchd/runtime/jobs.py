"""The jobs of a daemon, as the daemon sees them."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple

from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.task import StaleTasks, TaskType
from poddispatchd.pod.queue_order import QueueStats
from poddispatchd.runtime.wakeups import Wakeup


class Loop(NamedTuple):
    """One job: its name, one step of it, and what wakes it before its time.

    ``needs_database``: it waits while the database does not answer.
    """

    name: str
    step: Callable[[], Awaitable[float]]
    wake: Wakeup
    needs_database: bool = True


class Work(ABC):
    """What a daemon runs until it is stopped. Not every kind of work has everything to tell."""

    __slots__ = ()

    @property
    @abstractmethod
    def loops(self) -> Iterable[Loop]:
        """The jobs."""

    @property
    @abstractmethod
    def queue_stats(self) -> QueueStats | None:
        """The last look at the queue; None before the first one."""

    @abstractmethod
    async def look(self) -> QueueStats:
        """Count the tasks now."""

    @property
    @abstractmethod
    def stale(self) -> StaleTasks:
        """The tasks that run for too long."""

    @property
    def submissions(self) -> int:
        """Submissions in progress."""
        return 0

    @property
    def imports(self) -> int:
        """Imports in progress."""
        return 0

    @property
    def stalled_types(self) -> Collection[TaskType]:
        """The types of which tasks wait for too long while none runs."""
        return ()

    @property
    def shadow(self) -> ShadowState | None:
        """What a shadow has found out; None when this is none."""
        return None

    @property
    def blind(self) -> Collection[str]:
        """The runner managers of which a shadow can expect nothing: they do not tell their runners."""
        return ()

    async def begin(self) -> None:  # noqa: B027 - there need not be anything
        """Before any job runs: give back what a crashed daemon held."""

    @abstractmethod
    async def stop(self) -> None:
        """The jobs are told to end: finish what must be finished, hand back the rest."""

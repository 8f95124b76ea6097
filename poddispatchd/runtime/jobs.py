"""The jobs of a daemon, as the daemon sees them."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple, Protocol

from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.pod.queue import QueueStats
from poddispatchd.runtime.wakeups import Wakeup


class Loop(NamedTuple):
    """One job: its name, one step of it, and what wakes it before its time."""

    name: str
    step: Callable[[], Awaitable[float]]
    wake: Wakeup


class Work(Protocol):
    """What a daemon runs until it is stopped."""

    @property
    def loops(self) -> Iterable[Loop]:
        """The jobs."""

    @property
    def submissions(self) -> int:
        """Submissions in progress."""

    @property
    def imports(self) -> int:
        """Imports in progress."""

    @property
    def queue_stats(self) -> QueueStats | None:
        """The last look at the queue; None before the first one."""

    @property
    def stale(self) -> Collection[TaskPk]:
        """The tasks that run for too long."""

    @property
    def stalled_types(self) -> Collection[TaskType]:
        """The types of which tasks wait for too long while none runs."""

    @property
    def shadow(self) -> ShadowState | None:
        """What a shadow has found out; None when this is none."""

    @property
    def blind(self) -> Collection[str]:
        """The runner managers that do not tell a shadow which runners they have."""

    async def begin(self) -> None:
        """Before any job runs: give back what a crashed daemon held."""

    async def stop(self) -> None:
        """The jobs are told to end: finish what must be finished, hand back the rest."""

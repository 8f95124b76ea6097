"""Asking runner managers about tasks: each manager in turn, all of them side by side, each within bounds.

A manager that is slow or silent holds up its own tasks and nobody else's: its conversation goes on by itself
while the others are asked again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.errors import (
    OF_THE_MANAGER,
    DatabaseUnavailableError,
    PoddispatchdError,
    RecordUnavailableError,
    RunnerManagerError,
)
from poddispatchd.managers.record_errors import narrowed
from poddispatchd.observability.events import Event
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.runner.client import RunnerReader
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.supervisor import cancel_surely

log = structlog.get_logger(__name__)

PACE = 0.02
"""Seconds between two questions to one manager."""

LONGEST = 30.0
"""Seconds after which a manager is asked nothing more in one go: the rest has its turn at the next look."""

MOST_UNUSABLE = 3
"""Unusable answers in a row after which it is found out whether a manager answers at all."""

MOST_SPOILT = 10
"""Records in a row that could not be had after which the rest waits for another time, though it does."""


class Registry(Protocol):
    """What is known of the managers, as far as questions depend on it."""

    def opening_of(self, manager: ManagerId) -> float:
        """When a question may go to this manager again, on the monotonic clock."""

    def learn(self, manager: RunnerManager, error: PoddispatchdError | None) -> None:
        """A question to this manager failed so, or succeeded."""


Ask = Callable[[UnsettledTask], Awaitable[None]]
"""Asks about one task, and carries out what the answer means.

Raises:
    RunnerManagerError: it cannot be told.
    DatabaseUnavailableError: what it says cannot be stored.
"""


_ONCE_IN_A_WHILE = 2
"""Times in a row that a record may not be had: an answer may be cut, or late, by chance."""

_REMEMBERED = 1000
"""Tasks whose record was not had of late."""


class Round(Struct, frozen=True):
    """How far one go at a manager came.

    ``asked`` are the tasks that had their turn, ``answered`` those before the one that the manager did not
    answer for, ``rest`` the others; ``until`` is when these are to be asked about again, on the monotonic
    clock, None when it is as for any other task.
    """

    asked: Sequence[UnsettledTask]
    answered: Sequence[UnsettledTask]
    rest: Sequence[UnsettledTask] = ()
    until: float | None = None


class ManagerPolling:
    """The conversations with runner managers: one at a time with each.

    ``suspect`` is called when the database was lost on the way.
    """

    def __init__(
        self,
        client: RunnerReader,
        registry: Registry,
        clock: Clock,
        incidents: Incidents,
        suspect: Callable[[], None],
    ) -> None:
        self._client = client
        self._registry = registry
        self._incidents = incidents
        self._clock = clock
        self._suspect = suspect
        self._conversations: dict[ManagerId, asyncio.Task[None]] = {}
        self._not_had: dict[TaskPk, int] = {}
        """How often in a row a task's record was not had, the latest last."""

    def is_busy(self, manager: ManagerId) -> bool:
        """Whether a conversation with this manager goes on."""
        return manager in self._conversations

    def begin(self, manager: RunnerManager, conversation: Awaitable[None]) -> None:
        """Let a conversation go on by itself; none may be going on with this manager."""
        task = asyncio.create_task(self._guarded(manager, conversation), name=f"questions to {manager.name}")
        self._conversations[manager.id] = task

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for the conversations that go on, no longer than this."""
        if self._conversations:
            await asyncio.wait(list(self._conversations.values()), timeout=seconds)

    async def stop(self) -> None:
        """Break them off."""
        await cancel_surely(*self._conversations.values())

    async def in_turn(
        self,
        manager: RunnerManager,
        items: Sequence[UnsettledTask],
        ask: Ask,
        kind: str,
        *,
        teaches: bool = True,
    ) -> Round:
        """Ask one manager about tasks, one after the other.

        Args:
            manager: whom to ask.
            items: the tasks.
            ask: about one.
            kind: what failures that nobody foresaw are counted under.
            teaches: a manager that does not answer is left alone by everybody.

        Raises:
            DatabaseUnavailableError: the database is gone.
        """
        begun, unusable, spoilt = self._clock.monotonic(), 0, 0
        for position, item in enumerate(items):
            if position:
                await self._clock.sleep(PACE)
            now = self._clock.monotonic()
            before, rest = items[:position], items[position:]
            opening = self._registry.opening_of(manager.id)
            # Its breaker may open amid this, or its rate be limited, by what others meet.
            if opening > now or now - begun > LONGEST:
                return Round(before, before, rest, until=max(now, opening))
            try:
                await ask(item)
                unusable = spoilt = 0
                self._not_had.pop(item.task.pk, None)
                self._incidents.recovered(kind, task=item.task.pk)
            except DatabaseUnavailableError:
                raise
            except RunnerManagerError as error:
                unusable, spoilt = unusable + 1, spoilt + 1
                if isinstance(error, OF_THE_MANAGER) or unusable >= MOST_UNUSABLE:
                    found = await narrowed(self._client, manager, error)
                    is_about_record = isinstance(found, RecordUnavailableError)
                    # That it answers is worth knowing whatever was asked; that it does not, only of what
                    # runs.
                    if teaches or is_about_record:
                        self._registry.learn(manager, found)
                    if not is_about_record:
                        return Round(items[: position + 1], before, rest)
                    unusable = 0
                if spoilt >= MOST_SPOILT:
                    return Round(items[: position + 1], before, rest)
                if teaches:
                    self._is_not_had(item.task.pk, error, kind)
            except Exception as error:  # noqa: BLE001 - one odd row must not keep the others from being asked about
                self._incidents.failed(kind, error, task=item.task.pk)
        return Round(items, items)

    def _is_not_had(self, task: TaskPk, error: RunnerManagerError, kind: str) -> None:
        """Tell of it; when it happens again and again, once, and show it for as long as it lasts.

        The task does not move meanwhile.
        """
        times = self._not_had.pop(task, 0) + 1
        while len(self._not_had) >= _REMEMBERED:
            del self._not_had[next(iter(self._not_had))]
        self._not_had[task] = times
        if times <= _ONCE_IN_A_WHILE:
            log.warning(Event.RECONCILE_ASKED, task=task, decision="unknown", reason=str(error))
        else:
            self._incidents.failed(kind, error, task=task)

    async def apart(self, item: UnsettledTask, work: Awaitable[None], kind: str) -> None:
        """Carry out what was found out about one task: an odd row keeps no other one from its turn (I12).

        Args:
            item: the task.
            work: what is to be done.
            kind: what failures that nobody foresaw are counted under.

        Raises:
            DatabaseUnavailableError: the database is gone.
        """
        try:
            await work
            self._incidents.recovered(kind, task=item.task.pk)
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            self._incidents.failed(kind, error, task=item.task.pk)

    async def _guarded(self, manager: RunnerManager, conversation: Awaitable[None]) -> None:
        try:
            await conversation
        except DatabaseUnavailableError:
            self._suspect()
        except Exception as error:  # noqa: BLE001 - nobody waits for it: a bug must be seen all the same
            self._incidents.failed(f"conversation with {manager.name}", error)
        else:
            self._incidents.recovered(f"conversation with {manager.name}")
        finally:
            self._conversations.pop(manager.id, None)

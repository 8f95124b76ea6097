"""What follows when a submission meets an error: its task waits longer and longer, the others go on (I12)."""

from collections.abc import Callable, Collection

from poddispatchd.clock import Clock
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DatabaseUnavailableError,
    RowLockedError,
    SchemaError,
)
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.locked_rows import LockedRows

_SUBMISSION = "submission"
"""What the failures of submissions are counted under."""

_ALL_REFUSED = 3
"""Tasks that the database refused one after the other: it is not about one of them."""


class SubmissionBackoff:
    """Tells such errors to whom they concern, and remembers for how long each task is left alone.

    Args:
        incidents: tells what fails again and again.
        locked_rows: looks for who holds a row.
        session: finds out whether the database answers.
        catalogue: is read again when Pod's tables seem changed.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        incidents: Incidents,
        locked_rows: LockedRows,
        session: DatabaseSession,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self._incidents = incidents
        self._locked_rows = locked_rows
        self._session = session
        self._catalogue = catalogue
        self.of_tasks = TaskBackoff(clock.monotonic)
        """Until when each task is left alone."""

    @property
    def locked(self) -> frozenset[TaskPk]:
        """Tasks that wait because a row of theirs is held."""
        return self._locked_rows.tasks

    def met(self, pk: TaskPk, error: Exception) -> float | None:
        """A submission met an error.

        Returns:
            Seconds for which its task is left alone; None when that does not depend on the task.
        """
        if isinstance(error, RowLockedError):
            # No wait by time: the dispatcher is woken when the row can be had again.
            self._locked_rows.met(pk)
            return None
        if isinstance(error, DatabaseUnavailableError):
            self._session.suspect()
            # Without a connection all tasks wait alike, and the session finds out when it is back. A server
            # that answers and takes nothing is told and backed off from.
            if not isinstance(error, DatabaseStateError):
                return None
        delay = self._incidents.failed(_SUBMISSION, error, task=pk)
        self.of_tasks.note(pk, error, delay)
        return delay

    async def look_closer(self, error: Exception) -> None:
        """Find out whether Pod's tables were changed, if an error may come of that."""
        if not isinstance(error, SchemaError):
            return
        try:
            await self._catalogue.refresh()
        except DatabaseUnavailableError:
            self._session.suspect()
        except Exception as failure:  # noqa: BLE001 - nobody waits for it: it must be seen all the same
            self._incidents.failed("look at Pod's tables", failure)

    def went_well(self, pk: TaskPk, *, is_stored: bool) -> None:
        """A submission met no error; ``is_stored``: its row was written."""
        self.of_tasks.recovered(pk, is_stored=is_stored)
        self._incidents.recovered(_SUBMISSION, task=pk, wrote=is_stored)


class TaskBackoff:
    """Until when such a task is left alone; what happened is told by the incidents.

    When one task after the other is refused by the database and none gets through, something is wrong with
    it as a whole: then one task at a time is tried, with growing waits between, until one has got through.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: dict[TaskPk, float] = {}
        self._refused: set[TaskPk] = set()
        self._next_try = float("-inf")

    @property
    def tasks(self) -> frozenset[TaskPk]:
        """The tasks whose submission has not gone well since it met an error."""
        return frozenset(self._until)

    @property
    def nothing_gets_through(self) -> bool:
        """Whether the database refuses whatever is tried."""
        return len(self._refused & self._until.keys()) >= _ALL_REFUSED

    @property
    def may_try(self) -> bool:
        """Whether it is time to see, with one task, if the database still refuses."""
        return self._next_try <= self._monotonic()

    def note(self, task: TaskPk, error: Exception, seconds: float) -> None:
        """The submission of a task met an error: it is left alone for so many seconds."""
        self._until[task] = self._monotonic() + seconds
        if isinstance(error, DatabaseError):
            self._refused.add(task)
            self._next_try = self._until[task]

    def recovered(self, task: TaskPk, *, is_stored: bool) -> None:
        """A task met no error any more; ``is_stored``: its row was written."""
        # The database takes rows: what it refuses for other tasks is about these.
        if is_stored:
            self._refused.clear()
        self._until.pop(task, None)

    def forget(self, gone: Callable[[TaskPk], bool]) -> None:
        """Nothing is known any more of tasks that do not wait."""
        for pk in [pk for pk in self._until if gone(pk)]:
            del self._until[pk]
        self._refused &= self._until.keys()

    def is_due(self, task: TaskPk) -> bool:
        """Whether a task may be tried."""
        return self._until.get(task, 0.0) <= self._monotonic()

    def next_due(self, tasks: Collection[TaskPk]) -> float | None:
        """When the next one of these tasks may be tried again, on the monotonic clock; None when all may."""
        now = self._monotonic()
        waits = [until for pk in tasks if (until := self._until.get(pk)) is not None]
        return min((until for until in waits if until > now), default=None)

"""Tasks whose submission met an error: each is tried again later and later, and the others go on (I12)."""

from collections.abc import Callable, Collection

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import DatabaseError

_ALL_REFUSED = 3
"""Tasks that the database refused one after the other: it is not about one of them."""


class Setbacks:
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
        if is_stored:
            self._refused.clear()
        self._until.pop(task, None)

    def forget(self, gone: Callable[[TaskPk], bool]) -> None:
        """Nothing is known any more of tasks that do not wait."""
        for pk in [pk for pk in self._until if gone(pk)]:
            del self._until[pk]

    def is_due(self, task: TaskPk) -> bool:
        """Whether a task may be tried."""
        return self._until.get(task, 0.0) <= self._monotonic()

    def next_due(self, tasks: Collection[TaskPk]) -> float | None:
        """When the next one of these tasks may be tried again, on the monotonic clock; None when all may."""
        now = self._monotonic()
        waits = [until for pk in tasks if (until := self._until.get(pk)) is not None]
        return min((until for until in waits if until > now), default=None)

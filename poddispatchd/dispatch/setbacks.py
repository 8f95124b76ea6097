"""Tasks that the database does not let go on: tried again later and later, told once."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import structlog

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import DatabaseError, RowLockedError
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

_FIRST = 0.2
_LONGEST = 60.0
_LONGEST_LOCKED = 5.0
_MOST_DOUBLINGS = 10

_ALL_REFUSED = 3
"""Tasks refused one after the other: it is not about one of them."""


_TOLERATED = 3.0
"""Seconds for which a locked row is not worth a word: ranks are written, an administrator saves a form."""


@dataclass(frozen=True, slots=True)
class Setback:
    """What a task met: how often, since and until when on the monotonic clock, and in words.

    ``is_told``: it was logged.
    """

    failures: int
    since: float
    until: float
    reason: str
    is_told: bool = False


class Setbacks:
    """Which tasks met an error of the database, or a bug, and when each is tried again (I12).

    A locked row and a refused statement concern their task; the others go on. When one task after the other
    is refused and none gets through, something is wrong with the database as a whole: then nothing new is
    submitted until one of those that wait has got through.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tasks: dict[TaskPk, Setback] = {}
        self._refused: set[TaskPk] = set()

    @property
    def tasks(self) -> dict[TaskPk, str]:
        """The tasks that are delayed, and why, in words."""
        return {pk: setback.reason for pk, setback in self._tasks.items()}

    @property
    def nothing_gets_through(self) -> bool:
        """Whether the database refuses whatever is tried."""
        return len(self._refused & self._tasks.keys()) >= _ALL_REFUSED

    def __contains__(self, task: TaskPk) -> bool:
        return task in self._tasks

    def note(self, task: TaskPk, error: DatabaseError) -> float:
        """A task met an error; seconds for which it is left alone."""
        is_locked = isinstance(error, RowLockedError)
        if not is_locked:
            self._refused.add(task)
        wait = self._add(task, str(error), longest=_LONGEST_LOCKED if is_locked else _LONGEST)
        known = self._tasks[task]
        is_brief = is_locked and self._monotonic() - known.since < _TOLERATED
        if not known.is_told and not is_brief:
            log.warning(Event.SUBMISSION_DELAYED, task=task, reason=str(error))
            self._tasks[task] = replace(known, is_told=True)
        return wait

    def note_bug(self, task: TaskPk) -> float:
        """A task met an error that nobody foresaw; it may be tried again at once, but not twice."""
        return self._add(task, "An error that nobody foresaw: see the log.", at_once=True)

    def over(self, task: TaskPk, *, is_stored: bool) -> None:
        """A task met no error any more; ``is_stored``: its row was written."""
        if is_stored:
            self._refused.clear()
        known = self._tasks.pop(task, None)
        if known is not None and known.is_told:
            log.info(Event.SUBMISSION_RESUMED, task=task, attempts=known.failures)

    def forget(self, gone: Callable[[TaskPk], bool]) -> None:
        """Nothing is known any more of tasks that do not wait."""
        for pk in [pk for pk in self._tasks if gone(pk)]:
            del self._tasks[pk]

    def is_due(self, task: TaskPk) -> bool:
        """Whether a task may be tried."""
        known = self._tasks.get(task)
        return known is None or known.until <= self._monotonic()

    def next_due(self, tasks: Collection[TaskPk]) -> float | None:
        """When the next one of these tasks may be tried again, on the monotonic clock; None when all may."""
        now = self._monotonic()
        waits = [known.until for pk in tasks if (known := self._tasks.get(pk)) is not None]
        return min((until for until in waits if until > now), default=None)

    def _add(self, task: TaskPk, reason: str, *, at_once: bool = False, longest: float = _LONGEST) -> float:
        known, now = self._tasks.get(task), self._monotonic()
        failures = 1 if known is None else known.failures + 1
        doublings = min(failures - 1, _MOST_DOUBLINGS)
        wait = 0.0 if at_once and failures == 1 else min(longest, _FIRST * 2.0**doublings)
        since, is_told = (now, False) if known is None else (known.since, known.is_told)
        self._tasks[task] = Setback(failures, since, now + wait, reason, is_told)
        return wait

"""What keeps imports waiting although nothing is wrong with their results, as far as this daemon has met it.

The longer an obstacle lasts, the longer an import waits before it tries again. When one import gets past it,
or the manager answers again, the others need not wait any longer: they are due again.
"""

from collections import defaultdict
from collections.abc import Callable

from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import RunnerManagerError
from poddispatchd.journal.imports import ImportId

_SURROUNDINGS = None
"""In place of a manager: the media tree, its disk, the database."""


class Obstacles:
    """Which imports wait behind which obstacle."""

    def __init__(self) -> None:
        self._waiting: defaultdict[ManagerId | None, set[ImportId]] = defaultdict(set)
        self._down: set[ManagerId] = set()

    def met(self, import_id: ImportId, manager: ManagerId, error: Exception) -> None:
        """An import waits: for its manager, or for what is around it."""
        cause = manager if isinstance(error, RunnerManagerError) else _SURROUNDINGS
        self._waiting[cause].add(import_id)

    def passed(self, import_id: ImportId, manager: ManagerId) -> set[ImportId]:
        """A result of this manager was imported; which others wait for no reason any more."""
        waiting = self._taken(manager) | self._taken(_SURROUNDINGS)
        return waiting - {import_id}

    def answered(self, is_down: Callable[[ManagerId], bool]) -> set[ImportId]:
        """Which imports wait for a manager that was seen down and is not any more."""
        managers = {manager for manager in self._waiting if manager is not None}
        now_down = {manager for manager in managers if is_down(manager)}
        back = (self._down & managers) - now_down
        self._down = now_down
        return set().union(*map(self._taken, back))

    def _taken(self, cause: ManagerId | None) -> set[ImportId]:
        return self._waiting.pop(cause, set())

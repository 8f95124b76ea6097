"""What keeps imports waiting although nothing is wrong with their results, as far as this daemon has met it.

The longer an obstacle lasts, the longer an import waits before it tries again. When one import gets past it,
or the manager answers again, the others need not wait any longer: they are due again.
"""

from collections import defaultdict
from collections.abc import Callable

from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import MediaNotWritableError, NoSpaceError, RunnerManagerError, SchemaError
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal.imports import ImportId
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.pod.capabilities import Catalogue
from poddispatchd.runtime.storage import Storage

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


class ImportObstacles:
    """Tells whom it concerns, and remembers which imports wait for what is around them.

    Args:
        registry: learns of a manager's trouble.
        storage: shows why results cannot be written.
        catalogue: is read again when Pod's tables seem changed.
    """

    def __init__(self, registry: ManagerRegistry, storage: Storage, catalogue: Catalogue) -> None:
        self._registry = registry
        self._storage = storage
        self._catalogue = catalogue
        self._obstacles = Obstacles()

    async def met(self, job: ImportJob, error: Exception, words: str) -> None:
        """An attempt met an error.

        Args:
            job: the import.
            error: what it met.
            words: the same, for people.
        """
        if isinstance(error, SchemaError):
            await self._catalogue.refresh()
        if isinstance(error, RunnerManagerError):
            self._registry.learn(job.runner_manager_id, error)
        if isinstance(error, (NoSpaceError, MediaNotWritableError, OSError)):
            self._storage.obstructed(words, job.task_pk)
        else:
            self._storage.usable(job.task_pk)

    def keep_waiting(self, job: ImportJob, error: Exception) -> None:
        """An import is to be tried again when they have changed."""
        self._obstacles.met(job.id, job.runner_manager_id, error)

    def imported(self, job: ImportJob) -> set[ImportId]:
        """A result was imported; which other imports wait for no reason any more."""
        self.left(job)
        return self._obstacles.passed(job.id, job.runner_manager_id)

    def left(self, job: ImportJob) -> None:
        """Nobody waits any more for a result of this task to be written."""
        self._storage.usable(job.task_pk)

    def answered(self) -> set[ImportId]:
        """Which imports wait for a manager that was seen down and is not any more."""
        return self._obstacles.answered(self._registry.is_down)

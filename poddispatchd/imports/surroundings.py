"""What attempts at imports show of what is around them: runner managers, the media tree, Pod's tables."""

from poddispatchd.errors import MediaNotWritableError, NoSpaceError, RunnerManagerError, SchemaError
from poddispatchd.imports.obstacles import Obstacles
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal.imports import ImportId
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.runtime.storage import Storage


class Surroundings:
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

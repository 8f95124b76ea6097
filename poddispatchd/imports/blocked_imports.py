"""What keeps imports waiting although nothing is wrong with their results, as far as this daemon has met it.

The longer an obstacle lasts, the longer an import waits before it tries again. When one import gets past it,
or the manager answers again, the others need not wait any longer: they are due again.
"""

from collections.abc import Callable
from typing import TypeVar

from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    MediaNotWritableError,
    NoSpaceError,
    RecordUnavailableError,
    RowLockedError,
    RunnerManagerError,
    RunnerUnreachableError,
    SchemaChangedError,
    SchemaError,
    ValuesRefusedError,
)
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal.imports import ImportId
from poddispatchd.managers.record_errors import narrowed
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.runner.client import RunnerReader
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.media_health import MediaHealth

_Value = TypeVar("_Value")

_OF_ONE_RESULT = (RecordUnavailableError, RunnerUnreachableError, DatabaseError)
"""What is said of one result, or of those of one runner, while others are given: these tell nothing of it. So
may be what the database says of its rows."""

_WRITING = "writing of a result"
"""What is counted under this is told for as long as the result waits."""

_TOLD_ELSEWHERE = (DatabaseUnavailableError, RowLockedError, ValuesRefusedError)
"""Refusals of the database of which people learn in other ways, unless imports are to wait for them."""

_SURROUNDINGS = None
"""In place of a manager: the media tree, its disk, the database."""


_MOST = 10_000
"""Imports of which this is remembered, the latest. One that is forgotten is tried when its wait is over.

Those that end elsewhere, in another daemon or by a person, are never heard of again."""


class BlockedImports:
    """Which imports wait behind which obstacle."""

    def __init__(self) -> None:
        self._waiting: dict[ImportId, ManagerId | None] = {}
        """Behind which obstacle each waits, the one that met it last at the end."""
        self._down: set[ManagerId] = set()
        self._alone: dict[ImportId, None] = {}
        """Those that did not get past their obstacle when others did, the latest last."""

    def met(self, import_id: ImportId, manager: ManagerId, error: Exception) -> None:
        """An import waits: for its manager, or for what is around it."""
        # Others got past when it did not: brought forward with each of them it would be tried all the time.
        if isinstance(error, _OF_ONE_RESULT) and import_id in self._alone:
            return
        # To the end: the oldest are forgotten first.
        self._waiting.pop(import_id, None)
        self._waiting[import_id] = manager if isinstance(error, RunnerManagerError) else _SURROUNDINGS
        _bound(self._waiting)

    def passed(self, import_id: ImportId, manager: ManagerId) -> set[ImportId]:
        """A result of this manager was imported; which others wait for no reason any more."""
        # A result was written: disk and database take others as well.
        waiting = (self._taken(manager) | self._taken(_SURROUNDINGS)) - {import_id}
        self._alone |= dict.fromkeys(waiting)
        _bound(self._alone)
        return waiting

    def ended(self, import_id: ImportId) -> None:
        """An import waits for nothing any more."""
        self._waiting.pop(import_id, None)
        self._alone.pop(import_id, None)

    def answered(self, is_down: Callable[[ManagerId], bool]) -> set[ImportId]:
        """Which imports wait for a manager that was seen down and is not any more."""
        managers = {manager for manager in self._waiting.values() if manager is not None}
        now_down = {manager for manager in managers if is_down(manager)}
        back = (self._down & managers) - now_down
        self._down = now_down
        return set().union(*map(self._taken, back))

    def _taken(self, cause: ManagerId | None) -> set[ImportId]:
        taken = {import_id for import_id, met in self._waiting.items() if met == cause}
        for import_id in taken:
            del self._waiting[import_id]
        return taken


def _bound(known: dict[ImportId, _Value]) -> None:
    while len(known) > _MOST:
        del known[next(iter(known))]


class ImportObstacles:
    """Tells whom it concerns, and remembers which imports wait for what is around them.

    Args:
        client: finds out whether a manager is in trouble, or one result of its.
        registry: learns of a manager's trouble.
        media_health: shows why results cannot be written.
        catalogue: is read again when Pod's tables seem changed.
        incidents: tells of results that the database does not take.
    """

    def __init__(
        self,
        client: RunnerReader,
        registry: ManagerRegistry,
        media_health: MediaHealth,
        catalogue: Catalogue,
        incidents: Incidents,
    ) -> None:
        self._client = client
        self._registry = registry
        self._media_health = media_health
        self._catalogue = catalogue
        self._incidents = incidents
        self._blocked = BlockedImports()
        self._ready: set[ImportId] = set()

    async def met(self, job: ImportJob, error: Exception, words: str) -> Exception:
        """An attempt met an error.

        Args:
            job: the import.
            error: what it met.
            words: the same, for people.

        Returns:
            What it is to be taken for.
        """
        if isinstance(error, SchemaError):
            await self._catalogue.refresh()
        if isinstance(error, DatabaseError) and not self._is_told_elsewhere(error):
            self._incidents.failed(_WRITING, error, task=job.task_pk)
        manager = self._registry.get(job.runner_manager_id)
        if isinstance(error, RunnerManagerError) and manager is not None:
            error = await narrowed(self._client, manager, error)
            self._registry.learn(manager, error)
        if isinstance(error, (NoSpaceError, MediaNotWritableError, OSError)):
            self._media_health.obstructed(words, job.task_pk)
        else:
            self._media_health.usable(job.task_pk)
        return error

    def _is_told_elsewhere(self, error: DatabaseError) -> bool:
        # What the catalogue knows of it says more; it does not know of every statement that is refused.
        if isinstance(error, SchemaError):
            return self._catalogue.problem is not None or not isinstance(error, SchemaChangedError)
        return isinstance(error, _TOLD_ELSEWHERE)

    def keep_waiting(self, job: ImportJob, error: Exception) -> None:
        """An import is to be tried again when they have changed."""
        if isinstance(error, ValuesRefusedError):
            self._incidents.failed(_WRITING, error, task=job.task_pk)
        self._blocked.met(job.id, job.runner_manager_id, error)

    def imported(self, job: ImportJob) -> None:
        """A result was imported: other imports may wait for no reason any more."""
        self.left(job)
        self._ready |= self._blocked.passed(job.id, job.runner_manager_id)

    def left(self, job: ImportJob) -> None:
        """Nobody waits any more for a result of this task to be written."""
        self._blocked.ended(job.id)
        self._incidents.recovered(_WRITING, task=job.task_pk)
        if self._media_health.obstacles:
            self._media_health.usable(job.task_pk)

    def ready(self) -> frozenset[ImportId]:
        """Which imports wait for no reason any more, until it is told that they were ``brought_forward``."""
        self._ready |= self._blocked.answered(self._registry.is_down)
        return frozenset(self._ready)

    def brought_forward(self, imports: frozenset[ImportId]) -> None:
        """These are due again, as the database has it."""
        self._ready -= imports

"""What one attempt at an import and its aftermath share: the result, its place, and how both are left."""

import asyncio
import shutil
from pathlib import Path

import structlog

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import Task, TaskStatus
from poddispatchd.errors import DatabaseError, ResultGoneError
from poddispatchd.imports import cleanup
from poddispatchd.journal.imports import ImportJob
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts

log = structlog.get_logger(__name__)


class ImportDesk:
    """The result at hand.

    ``staging``: where it is downloaded to, once that is known. ``holds_lock``: of Pod's lock on the task.
    """

    def __init__(self, parts: Parts, job: ImportJob) -> None:
        self.parts = parts
        self.job = job
        self.staging: Path | None = None
        self.holds_lock = False

    def is_wanted(self, task: Task) -> bool:
        """Whether a row still waits for this result."""
        is_same = (task.task_id, task.runner_manager_id) == (self.job.task_id, self.job.runner_manager_id)
        return is_same and task.status != TaskStatus.COMPLETED

    async def manager(self) -> RunnerManager:
        """The manager that has the result.

        Raises:
            ResultGoneError: it is gone from Pod.
        """
        parts = self.parts
        # Its address or token may be new: nobody else looks while nothing is to be submitted, or elsewhere.
        await parts.refresh_managers()
        manager = parts.registry.get(self.job.runner_manager_id)
        if manager is None:
            raise ResultGoneError("Its runner manager has been deleted from Pod.")
        return manager

    async def clean(self) -> None:
        """Remove the staging directory and what is not needed any more; what remains is the maintenance's."""
        self.parts.storage.usable(self.job.task_pk)
        if not self.holds_lock:
            # Whoever holds it may be putting files of the same names in place.
            return
        if self.staging is not None:
            await asyncio.to_thread(shutil.rmtree, self.staging, ignore_errors=True)
        try:
            await cleanup.discard_brought(self.parts, self.job.id, self.job.task_pk)
            await cleanup.delete_obsolete(self.parts, self.job.task_pk)
        except DatabaseError as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, task=self.job.task_pk, reason=str(error))

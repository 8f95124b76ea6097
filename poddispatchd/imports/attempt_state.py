"""What one attempt at an import and its aftermath share: the result, its place, and how both are left."""

from contextlib import suppress

import structlog

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import Task, TaskStatus
from poddispatchd.errors import DatabaseError, ResultError, ResultGoneError
from poddispatchd.imports import cleanup
from poddispatchd.journal.imports import ImportJob
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod.media.files import delete_tree
from poddispatchd.pod.media.tree import MediaPath, MediaTree

log = structlog.get_logger(__name__)


class ImportDesk:
    """The result at hand.

    ``staging``: where it is downloaded to, once that is known. ``tree``: the media tree under Pod's lock on
    the task; None while that is not held.
    """

    def __init__(self, parts: Parts, job: ImportJob) -> None:
        self.parts = parts
        self.job = job
        self.staging: MediaPath | None = None
        self.tree: MediaTree | None = None

    @property
    def hangs(self) -> bool:
        """Whether a thread is still at the files of this import though nobody waits for it any more."""
        return self.tree is not None and self.tree.lane.hangs

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
        if self.tree is None or self.hangs:
            # Whoever holds it, or the thread that hangs, may be putting files of the same names in place.
            return
        await self.delete_staging()
        try:
            await cleanup.discard_brought(self.parts, self.tree, self.job.id, self.job.task_pk)
            await cleanup.delete_obsolete(self.parts, self.job.task_pk)
        except (DatabaseError, ResultError) as error:
            log.warning(Event.MEDIA_NOT_WRITABLE, task=self.job.task_pk, reason=str(error))

    async def delete_staging(self) -> None:
        """Remove the staging directory; what remains of it is swept up later."""
        if self.staging is not None:
            with suppress(ResultError):
                await self.staging.tree.run(delete_tree, self.staging)

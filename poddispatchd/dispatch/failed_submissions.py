"""What follows when a submission meets an error: its task waits, whatever else can be done goes on (I12)."""

from poddispatchd.clock import Clock
from poddispatchd.dispatch.setbacks import Setbacks
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import DatabaseStateError, DatabaseUnavailableError, RowLockedError, SchemaError
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.locked_rows import LockedRows

_SUBMISSION = "submission"
"""What the failures of submissions are counted under."""


class FailedSubmissions:
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
        self.setbacks = Setbacks(clock.monotonic)
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
            self._locked_rows.met(pk)
            return None
        if isinstance(error, DatabaseUnavailableError):
            self._session.suspect()
            if not isinstance(error, DatabaseStateError):
                return None
        delay = self._incidents.failed(_SUBMISSION, error, task=pk)
        self.setbacks.note(pk, error, delay)
        return delay

    async def look_closer(self, error: Exception) -> None:
        """Find out whether Pod's tables were changed, if an error may come of that."""
        if isinstance(error, SchemaError):
            await self._catalogue.refresh()

    def went_well(self, pk: TaskPk, *, is_stored: bool) -> None:
        """A submission met no error; ``is_stored``: its row was written."""
        self.setbacks.recovered(pk, is_stored=is_stored)
        self._incidents.recovered(_SUBMISSION, task=pk, wrote=is_stored)

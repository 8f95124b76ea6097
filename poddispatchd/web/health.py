"""What keeps the daemon from its work, in sentences: the database, the media tree, what fails."""

from collections.abc import Iterator

from poddispatchd.database.poolers import Pooling
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.runtime.blocked_writes import BlockedWrites
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.locked_rows import LockedRows
from poddispatchd.runtime.media_health import MediaHealth

_DISPATCHING = frozenset({"dispatcher", "submission"})
"""Jobs, by the names under which their failures are told, without which no task is submitted."""


class DaemonHealth:
    """Whether the daemon can do its work.

    Args:
        session: whether the database answers.
        incidents: what fails again and again.
        locked_rows: which tasks wait for rows that others hold.
        blocked_writes: whether nothing moves for minutes.
        catalogue: whether Pod's tables are as they must be.
        evidence: whether the media tree is the right one.
        media_health: whether results can be written.
    """

    def __init__(
        self,
        *,
        session: DatabaseSession,
        incidents: Incidents,
        locked_rows: LockedRows,
        blocked_writes: BlockedWrites,
        catalogue: Catalogue,
        evidence: MediaEvidence,
        media_health: MediaHealth,
    ) -> None:
        self._session = session
        self._incidents = incidents
        self._locked_rows = locked_rows
        self._blocked_writes = blocked_writes
        self._catalogue = catalogue
        self._evidence = evidence
        self._media_health = media_health

    @property
    def database_problem(self) -> str | None:
        """Why the database cannot be used."""
        if self._session.is_up:
            return None
        return self._session.problem or "The database does not answer."

    @property
    def can_write(self) -> bool:
        """Whether the database takes what the daemon has to write.

        One task whose statement is refused says little, but where the tables are not as they must be.
        """
        is_known = self._catalogue.problem is not None and self._incidents.meet_the_schema
        return self._incidents.can_write and not is_known and not self._blocked_writes.words

    @property
    def write_problem(self) -> str | None:
        """Why the database takes nothing."""
        return None if self.can_write else " ".join(self._refusing)

    @property
    def submission_problem(self) -> str | None:
        """Why nothing can be submitted, as far as that lies with the media tree."""
        return self._evidence.nothing_can_be_submitted

    @property
    def source_problems(self) -> tuple[str, ...]:
        """What keeps the tasks that have their sources at some places."""
        return self._evidence.place_problems

    @property
    def dispatch_problems(self) -> tuple[str, ...]:
        """What fails while tasks are submitted."""
        return tuple(incident.words for incident in self._incidents.active if incident.job in _DISPATCHING)

    @property
    def import_problems(self) -> tuple[str, ...]:
        """Why results cannot be written."""
        return self._media_health.problems

    @property
    def not_ready(self) -> tuple[str, ...]:
        """Why the daemon cannot do its work at all."""
        database = self.database_problem
        return (
            *(() if database is None else (database,)),
            *(() if self.can_write else self._refusing),
        )

    def problems(self, *, is_shadow: bool) -> Iterator[str]:
        """What a person must do something about; a shadow needs no notifications."""
        database, session = self.database_problem, self._session
        if database is not None:
            yield database
        elif not (session.listening or session.pooling is Pooling.TRANSACTION or is_shadow):
            yield "Notifications of the database do not arrive; the queue is polled."
        yield from filter(None, (session.lease_problem, self._catalogue.problem))
        yield from self._blocked_writes.words
        yield from self._failing
        yield from self._locked_rows.problems
        if self._evidence.problem is not None:
            yield self._evidence.problem
        yield from self._evidence.place_problems

    @property
    def _refusing(self) -> list[str]:
        """What is told of a database that takes nothing."""
        return [*self._blocked_writes.words, *self._failing, *self._locked_rows.tables]

    @property
    def _failing(self) -> list[str]:
        return [incident.words for incident in self._incidents.active]

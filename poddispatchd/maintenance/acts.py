"""One line of the daemon's log for every act of a person, whichever machine the command was given on."""

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.journal import acts
from poddispatchd.maintenance.known_rows import KnownRows
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.database_session import DatabaseSession

log = structlog.get_logger(__name__)


class ActLog:
    """Tells of what people did since the last look; only the scheduler tells."""

    def __init__(
        self, database: Database, session: DatabaseSession, registry: ManagerRegistry, clock: Clock
    ) -> None:
        self._database = database
        self._session = session
        self._registry = registry
        self._clock = clock
        self._known: KnownRows | None = None

    async def look(self, _: QueueStats) -> None:
        """Log what is new; the first look of a term takes note only.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
        """
        if self._session.term is None:
            self._known = None
            return
        async with self._database.connection() as connection:
            if self._known is None:
                self._known = KnownRows(await acts.last(connection), self._clock)
                return
            known = self._known
            news = await acts.since(connection, known.after, seen=known.seen)
        for act in news:
            manager = None if act.runner_manager is None else self._registry.get(act.runner_manager)
            log.info(
                Event.PERSON_ACTED,
                act=act.act.value,
                by=act.actor,
                task=act.task,
                status_before=act.status_before,
                runner_manager=act.runner_manager if manager is None else manager.name,
            )
        # Nothing is awaited amid them: all of them are told, or none was read.
        known.saw(*(act.id for act in news))

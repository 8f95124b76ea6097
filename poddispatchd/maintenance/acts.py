"""One line of the daemon's log for every act of a person, whichever machine the command was given on."""

import structlog

from poddispatchd.journal import acts
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts

log = structlog.get_logger(__name__)


class ActLog:
    """Tells of what people did since the last look; only the scheduler tells."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._last: int | None = None

    async def look(self) -> None:
        """Log what is new; the first look of a term takes note only.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
        """
        parts = self._parts
        if parts.session.term is None:
            self._last = None
            return
        async with parts.database.connection() as connection:
            if self._last is None:
                self._last = await acts.last(connection)
                return
            news = await acts.since(connection, self._last)
        for act in news:
            manager = None if act.runner_manager is None else parts.registry.get(act.runner_manager)
            log.info(
                Event.PERSON_ACTED,
                act=act.act.value,
                by=act.actor,
                task=act.task,
                status_before=act.status_before,
                runner_manager=act.runner_manager if manager is None else manager.name,
            )
            self._last = act.id

"""How a shadow stands with the database: it proves that it answers, and holds nothing there."""

import structlog

from poddispatchd.errors import DatabaseError
from poddispatchd.observability.events import Event
from poddispatchd.runtime.database_session import DatabaseSession

log = structlog.get_logger(__name__)

SHADOW_TERM = 0
"""A shadow decides as if it scheduled; no scheduler ever has this term."""

_PROBE_EVERY = 25.0


class ShadowSession(DatabaseSession):
    """Neither listens nor schedules: a daemon that does is not disturbed, nor is another shadow."""

    @property
    def term(self) -> int | None:
        """The term of a shadow, while the database answers."""
        return SHADOW_TERM if self.is_up else None

    async def run(self) -> None:
        """Ask, now and then, for ever."""
        while True:
            try:
                await self._database.fetchrow("SELECT 1")
            except DatabaseError as error:
                self._lost(error)
                # The pool may hold more connections that are lost: each would cost a further question.
                await self._database.expire(silent=False)
                await self._outage.wait()
            else:
                self._outage.end()
                self._found()
                await self._attention.wait(_PROBE_EVERY)

    def _found(self) -> None:
        if not self.is_up:
            self.problem = None
            self._up.set()
            self._metrics.database_up.set(1)
            log.info(Event.DATABASE_UP)
            self._wakes.ring_all()

    def _lost(self, error: DatabaseError) -> None:
        if self._outage.is_news(error):
            log.error(Event.DATABASE_DOWN, error=str(error))
        self.problem = str(error)
        self._up.clear()
        self._metrics.database_up.set(0)

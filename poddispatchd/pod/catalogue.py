"""What Pod's tables offer, looked up again when they change under the daemon (invariant I16)."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseError, SchemaError
from poddispatchd.observability.events import Event
from poddispatchd.pod import grants
from poddispatchd.pod.capabilities import Capabilities, introspect

log = structlog.get_logger(__name__)

_FRESH_FOR = 5.0
"""Seconds for which the catalogue is not read again, however many statements are refused."""


class Catalogue:
    """What the database's catalogue says of Pod's tables, as it was last read.

    Args:
        database: Pod's.
        capabilities: as they were read at the start.
        clock: of the daemon.
        missing_rights: reads what this role may not do and must.
    """

    def __init__(
        self,
        database: Database,
        capabilities: Capabilities,
        clock: Clock,
        missing_rights: Callable[[Database], Awaitable[Sequence[grants.Right]]] = grants.missing_rights,
    ) -> None:
        self._database = database
        self._clock = clock
        self._missing_rights = missing_rights
        self._read_at = float("-inf")
        self.capabilities = capabilities
        """What this Pod has."""
        self.problem: str | None = None
        """What is wrong with Pod's tables since they were changed under the daemon, in words."""

    async def refresh(self) -> None:
        """Read the catalogue again, at most every few seconds: Pod's tables were changed.

        What follows from it is told once, and stays in ``problem`` while it lasts.
        """
        now = self._clock.monotonic()
        if now - self._read_at < _FRESH_FOR:
            return
        self._read_at = now
        try:
            fresh = await introspect(self._database)
            missing = await self._missing_rights(self._database)
            words = " ".join([*fresh.problems(), *([grants.words_of(missing)] if missing else [])])
        except SchemaError as error:
            fresh, words = self.capabilities, str(error)
        except DatabaseError:
            return  # whoever needs it meets the same, and tells it
        if fresh != self.capabilities or words != (self.problem or ""):
            log.warning(Event.SCHEMA_CHANGED, reason=words or "All is known and allowed.")
        self.capabilities, self.problem = fresh, words or None

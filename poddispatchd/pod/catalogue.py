"""What the database's catalogue says of Pod's tables while the daemon runs: they may be changed under it."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseError, SchemaError
from poddispatchd.observability.events import Event
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.table_faults import every_fault

log = structlog.get_logger(__name__)

_FRESH_FOR = 5.0
"""Seconds for which the catalogue is not read again, however many statements are refused."""

_AGAIN_AFTER = 30.0
"""Seconds after which it is, while something is wrong with it: that is mended, and no statement tells it."""


class Catalogue:
    """What the database's catalogue says of Pod's tables, as it was last read (invariant I16).

    Args:
        database: Pod's.
        capabilities: as they were read at the start.
        clock: of the daemon.
        faults: finds out what else of the tables keeps statements from being taken, in sentences.
    """

    def __init__(
        self,
        database: Database,
        capabilities: Capabilities,
        clock: Clock,
        faults: Callable[[Database], Awaitable[Sequence[str]]] = every_fault,
    ) -> None:
        self._database = database
        self._clock = clock
        self._faults = faults
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
        # Before it is read: statements of many jobs are refused at once, and one reading serves all.
        self._read_at = now
        try:
            fresh = await introspect(self._database)
            words = " ".join([*fresh.problems(), *await self._faults(self._database)])
        except SchemaError as error:
            fresh, words = self.capabilities, str(error)
        except DatabaseError:
            return  # whoever needs it meets the same, and tells it
        if fresh != self.capabilities or words != (self.problem or ""):
            log.warning(Event.SCHEMA_CHANGED, reason=words or "All is known and allowed.")
        self.capabilities, self.problem = fresh, words or None

    async def look_again(self) -> None:
        """Find out whether what was wrong has been mended: then it is told no more."""
        if self.problem is not None and self._clock.monotonic() - self._read_at >= _AGAIN_AFTER:
            await self.refresh()

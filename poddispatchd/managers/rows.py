"""Pod's rows of runner managers, read into the registry now and then."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import ManagerId
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.sites import PodSites
from poddispatchd.pod import managers as pod_managers
from poddispatchd.runtime.wakeups import Wakeup

FRESH_FOR = 10.0
"""Seconds for which Pod's rows of runner managers are not read again."""

_RECENT_TASKS = 500
"""Tasks looked at for whose turn it is: several times as many as there are runner managers."""

Memories: TypeAlias = Callable[[Database], Awaitable[Mapping[ManagerId, ManagerMemory]]]
"""Reads what the journal holds of each runner manager."""


async def journal_memories(database: Database) -> Mapping[ManagerId, ManagerMemory]:
    """What the journal holds of each runner manager."""
    async with database.connection() as connection:
        return await scheduling.manager_memories(connection)


class ManagerRows:
    """Reads Pod's runner managers when what is known of them is old, or a person has changed something.

    Args:
        database: Pod's.
        registry: takes them over.
        sites: are read again when a manager is on one that is not known.
        clock: of the daemon.
        administration: rings after a person has paused or resumed a manager.
        memories: reads what the journal holds of them.
    """

    def __init__(
        self,
        *,
        database: Database,
        registry: ManagerRegistry,
        sites: PodSites,
        clock: Clock,
        administration: Wakeup,
        memories: Memories = journal_memories,
    ) -> None:
        self._database = database
        self.registry = registry
        self._sites = sites
        self._clock = clock
        self._administration = administration
        self._memories = memories
        self._read_at = float("-inf")
        self._rings = 0

    async def refresh(self, *, within: float = FRESH_FOR) -> None:
        """Read them again, unless that was done within so many seconds.

        They are read in any case after a person has paused or resumed one.
        """
        now, rings = self._clock.monotonic(), self._administration.rings
        if rings == self._rings and now - self._read_at < within:
            return
        managers = await pod_managers.runner_managers(self._database)
        memories = await self._memories(self._database)
        latest_tasks = await pod_managers.latest_tasks(self._database, among=_RECENT_TASKS)
        if any(manager.site_id not in self._sites.known for manager in managers):
            # A site was added to Pod while the daemon runs.
            await self._sites.read()
        self._read_at, self._rings = now, rings
        self.registry.refresh(managers, memories, latest_tasks)

"""Pod's rows of sites and runner managers, as they were last read; and for which sites this daemon works."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from poddispatchd.clock import Clock
from poddispatchd.config.consistency import unfit_for_pod
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.routing import capacity, site_of
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, SiteId
from poddispatchd.errors import ConfigurationError
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.pod import managers as pod_managers
from poddispatchd.runtime.wakeups import Wakeup

FRESH_FOR = 10.0
"""Seconds for which Pod's rows of runner managers are not read again."""

_RECENT_TASKS = 500
"""Tasks looked at for whose turn it is: several times as many as there are runner managers."""

Memories: TypeAlias = Callable[[Database], Awaitable[Mapping[ManagerId, ManagerMemory]]]
"""Reads what the journal holds of each runner manager."""

SiteChooser: TypeAlias = Callable[[Sequence[SiteId]], SiteId | None]
"""Which of its sites a task is done for; None when none of them is served."""


def site_chooser(
    settings: Settings, sites: Mapping[SiteId, Site], with_managers: frozenset[SiteId]
) -> SiteChooser:
    """Which of its sites a task is done for, as the dispatcher chooses."""
    current, served = SiteId(settings.pod.site_id), served_sites(settings, sites)
    return lambda own: site_of(own, current=current, served=served, with_managers=with_managers)


def served_sites(settings: Settings, sites: Mapping[SiteId, Site]) -> frozenset[SiteId]:
    """The sites whose tasks are dispatched: those of ``dispatch.sites``, or all."""
    wanted = settings.dispatch.sites
    return frozenset(pk for pk, site in sites.items() if not wanted or site.domain in wanted)


class PodSites:
    """Reads Pod's sites, and holds the settings to them.

    Args:
        database: Pod's.
        settings: the current ones.
        registry: knows which of them have runner managers.
    """

    def __init__(
        self, database: Database, settings: Callable[[], Settings], registry: ManagerRegistry
    ) -> None:
        self._database = database
        self._settings = settings
        self._registry = registry
        self.known: Mapping[SiteId, Site] = {}
        """All of them."""

    @property
    def current(self) -> Site:
        """The site of Pod's SITE_ID."""
        return self.known[self.current_id]

    @property
    def current_id(self) -> SiteId:
        """Pod's SITE_ID."""
        return SiteId(self._settings().pod.site_id)

    @property
    def served(self) -> frozenset[SiteId]:
        """The sites whose tasks are dispatched."""
        return served_sites(self._settings(), self.known)

    def chooser(self) -> SiteChooser:
        """Which of its sites a task is done for; good for one look at the queue."""
        return site_chooser(self._settings(), self.known, self._registry.active_sites)

    def take_over(self, sites: Mapping[SiteId, Site]) -> None:
        """These are Pod's sites now: a person may have added one, or given one another domain.

        Without the row of its own site Pod does nothing; we do what can be done until it is there again.
        """
        self.known = {pk: site for pk, site in self.known.items() if pk == self.current_id} | dict(sites)

    async def verify(self, settings: Settings, *, podfile: bool) -> None:
        """Read the sites, and see whether settings fit this Pod: at the start and before a reload.

        Args:
            settings: to be held to it.
            podfile: whether this Pod has its files in the tables of ``podfile``.

        Raises:
            ConfigurationError: with every setting that does not fit.
            DatabaseUnavailableError: the database cannot be reached.
        """
        sites = await pod_managers.sites(self._database)
        unfit = unfit_for_pod(settings, sites.values(), podfile=podfile)
        if problems := [f"{key}: {words}" for key, words in unfit]:
            raise ConfigurationError(*problems)
        # Only when all of it fits: a reload that is refused leaves everything as it is.
        self.known = sites


async def journal_memories(database: Database) -> Mapping[ManagerId, ManagerMemory]:
    """What the journal holds of each runner manager."""
    async with database.connection() as connection:
        return await scheduling.manager_memories(connection)


class ManagerRows:
    """Reads Pod's runner managers when what is known of them is old, or a person has changed something.

    Args:
        database: Pod's.
        registry: takes them over.
        sites: are read again with them.
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
        self._compared_at = float("-inf")
        self._rows: tuple[Sequence[RunnerManager], Mapping[ManagerId, ManagerMemory]] = ((), {})
        """They and what the journal holds of them, as they were when all was read."""
        self._rings = 0
        self._expiries = 0
        self._reads = 0
        self._taken_over = 0
        """The number of the read whose rows the registry has."""

    def expire(self) -> None:
        """Something shows that they are not what they were: they are read at the next look."""
        self._read_at = float("-inf")
        self._expiries += 1

    async def refresh(self, *, within: float = FRESH_FOR) -> None:
        """Read them again, unless that was done within so many seconds.

        They are read in any case after a person has paused or resumed one.
        """
        # As of before the statements: what is changed while they run is read the next time.
        now, rings = self._clock.monotonic(), self._administration.rings
        if rings == self._rings and now - self._read_at < within:
            return
        expiries, read = self._expiries, self._reads + 1
        self._reads = read
        managers = await pod_managers.runner_managers(self._database)
        memories = await self._memories(self._database)
        latest_tasks = await pod_managers.latest_tasks(self._database, among=_RECENT_TASKS)
        sites = await pod_managers.sites(self._database)
        if read < self._taken_over:
            return  # several jobs read, and who began later was quicker: its rows are newer
        self._rings, self._taken_over = rings, read
        if expiries == self._expiries:
            self._read_at = now
        self._rows = managers, memories
        # Before the registry has them: whoever sees a manager there finds its site.
        self._sites.take_over(sites)
        self.registry.refresh(managers, memories, latest_tasks)

    async def find(self, manager: ManagerId) -> RunnerManager | None:
        """A manager as its row is now; None when it is gone from Pod.

        One that is not known may have been added since: Pod itself gives it tasks at once.
        """
        await self.refresh()
        if self.registry.get(manager) is None:
            await self.refresh(within=0)
        return self.registry.get(manager)

    async def refresh_in_quiet(self, within: float) -> None:
        """Read them again, unless that was done within so many seconds and none of them is missing.

        Tasks may wait for want of a manager, and nothing rings when a person adds or activates one, nor,
        behind some poolers, when one is resumed: while one is missing, their rows, and what the journal holds
        of them, are looked at, and the rest is read when something of these has changed.
        """
        now = self._clock.monotonic()
        room = capacity(self.registry.lanes(), now)
        has_all = all(self._sites.served <= room.get(kind, frozenset()) for kind in SUBMITTABLE)
        if not has_all and now - max(self._read_at, self._compared_at) >= FRESH_FOR:
            rows = await pod_managers.runner_managers(self._database), await self._memories(self._database)
            self._compared_at = now
            within = within if rows == self._rows else 0.0
        await self.refresh(within=within)

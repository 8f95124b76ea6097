"""What the jobs share: built once by the composition root, handed to each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.lifecycle import Retries
from poddispatchd.domain.routing import site_of
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk
from poddispatchd.errors import ConfigurationError
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory, Wait
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.storage import Storage
from poddispatchd.runtime.wakeups import Wakeups

MANAGERS_FRESH_FOR = 10.0
"""Seconds for which Pod's rows of runner managers are not read again."""

_RECENT_TASKS = 500
"""Tasks looked at for whose turn it is: several times as many as there are runner managers."""


@dataclass(slots=True)
class Parts:
    """The shared parts of a daemon. ``instance`` names this process among those of the same database.

    ``is_shadow``: nothing is written and there need not be a journal.
    """

    settings: Settings
    database: Database
    capabilities: Capabilities
    client: RunnerClient
    registry: ManagerRegistry
    session: DatabaseSession
    wakeups: Wakeups
    metrics: Metrics
    clock: Clock
    instance: str
    is_shadow: bool = False
    sites: dict[SiteId, Site] = field(default_factory=dict)
    storage: Storage = field(default_factory=Storage)
    _managers_read_at: float = float("-inf")

    @property
    def current_site(self) -> SiteId:
        """Pod's SITE_ID."""
        return SiteId(self.settings.pod.site_id)

    @property
    def served_sites(self) -> frozenset[SiteId]:
        """The sites whose tasks are dispatched."""
        wanted = self.settings.dispatch.sites
        return frozenset(site.id for site in self.sites.values() if not wanted or site.domain in wanted)

    @property
    def serves_all_sites(self) -> bool:
        """Whether tasks are dispatched whatever their site."""
        return not self.settings.dispatch.sites

    def choice_of_site(self) -> Callable[[Sequence[SiteId]], SiteId | None]:
        """Which of its sites a task is done for, None when none is served; good for one look at the queue."""
        current, served = self.current_site, self.served_sites
        with_managers = frozenset(lane.site for lane in self.registry.lanes())
        return lambda sites: site_of(sites, current=current, served=served, with_managers=with_managers)

    @property
    def retries(self) -> Retries:
        """How often a task is submitted, and how long it waits in between."""
        settings = self.settings.reconcile
        return Retries(settings.max_attempts, settings.retry_wait, self.clock.random)

    async def own_tasks(self) -> Mapping[TaskPk, Wait | None]:
        """Pending tasks that Pod is not submitting itself: they need no grace, but some are to wait."""
        if self.is_shadow:
            return {}
        async with self.database.connection() as connection:
            return await scheduling.own_tasks(connection)

    async def refresh_sites(self) -> None:
        """Read Pod's sites.

        Raises:
            ConfigurationError: ``pod.site_id`` or a domain of ``dispatch.sites`` is none of them.
        """
        self.sites = await pod_managers.sites(self.database)
        known = ", ".join(f"{site.id} ({site.domain})" for site in self.sites.values()) or "none"
        problems = [
            f"dispatch.sites: {domain!r} is no site of this Pod; its sites are {known}."
            for domain in self.settings.dispatch.sites
            if domain not in {site.domain for site in self.sites.values()}
        ]
        if self.current_site not in self.sites:
            problems.append(
                f"pod.site_id: {self.current_site} is no site of this Pod; its sites are {known}."
            )
        if problems:
            raise ConfigurationError(*problems)

    async def refresh_managers(self, *, within: float = MANAGERS_FRESH_FOR) -> None:
        """Read Pod's runner managers again, unless that was done within so many seconds."""
        now = self.clock.monotonic()
        if now - self._managers_read_at < within:
            return
        managers = await pod_managers.runner_managers(self.database)
        memories: dict[ManagerId, ManagerMemory] = {}
        if not self.is_shadow:
            async with self.database.connection() as connection:
                memories = await scheduling.manager_memories(connection)
        latest_tasks = await pod_managers.latest_tasks(self.database, among=_RECENT_TASKS)
        if any(manager.site_id not in self.sites for manager in managers):
            # A site was added to Pod while the daemon runs.
            self.sites = await pod_managers.sites(self.database)
        self._managers_read_at = now
        self.registry.refresh(managers, memories, latest_tasks)

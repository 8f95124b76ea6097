"""What the jobs share: built once by the composition root, handed to each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import ClassVar

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.consistency import unfit_for_pod
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.lifecycle import Retries
from poddispatchd.domain.routing import site_of
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk
from poddispatchd.errors import ConfigurationError, DatabaseError, SchemaError
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory, Wait
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import grants
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.locked_rows import LockedRows
from poddispatchd.runtime.storage import Storage
from poddispatchd.runtime.wakeups import Wakeups

log = structlog.get_logger(__name__)

MANAGERS_FRESH_FOR = 10.0
"""Seconds for which Pod's rows of runner managers are not read again."""

_CATALOGUE_FRESH_FOR = 5.0
"""Seconds for which the catalogue is not read again, however many statements are refused."""

_RECENT_TASKS = 500
"""Tasks looked at for whose turn it is: several times as many as there are runner managers."""


@dataclass(slots=True)
class Parts:
    """The shared parts of a daemon. ``instance`` names this process among those of the same database."""

    has_journal: ClassVar[bool] = True
    """Whether there is a journal and this daemon may write it: not beside Pod's own CRON (``shadow``)."""

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
    incidents: Incidents
    locked_rows: LockedRows
    sites: dict[SiteId, Site] = field(default_factory=dict)
    storage: Storage = field(default_factory=Storage)
    shared_media: InitVar[MediaTree | None] = None
    media: MediaTree = field(init=False)
    evidence: MediaEvidence = field(init=False)
    schema_problem: str | None = None
    """What is wrong with Pod's tables since they were changed under the daemon, in words."""
    set_aside: dict[str, int] = field(default_factory=dict)
    """How many items of each queue are set aside, at the last look of the maintenance."""
    _managers_read_at: float = float("-inf")
    _managers_rings: int = 0
    _catalogue_read_at: float = float("-inf")

    def __post_init__(self, shared_media: MediaTree | None) -> None:
        """Everything about the media tree follows from the settings: they need a restart to change."""
        pod = self.settings.pod
        self.media = shared_media or MediaTree(pod.media_root)
        self.evidence = MediaEvidence(self.media, self.database, self.clock, pod.videos_dir)

    @property
    def current_site(self) -> SiteId:
        """Pod's SITE_ID."""
        return SiteId(self.settings.pod.site_id)

    @property
    def served_sites(self) -> frozenset[SiteId]:
        """The sites whose tasks are dispatched."""
        wanted = self.settings.dispatch.sites
        return frozenset(site.id for site in self.sites.values() if not wanted or site.domain in wanted)

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
        async with self.database.connection() as connection:
            return await scheduling.own_tasks(connection)

    async def manager_memories(self) -> Mapping[ManagerId, ManagerMemory]:
        """What the journal holds of each runner manager."""
        async with self.database.connection() as connection:
            return await scheduling.manager_memories(connection)

    async def missing_rights(self) -> Sequence[grants.Right]:
        """What this role may not do and must."""
        return await grants.missing_rights(self.database)

    async def refresh_capabilities(self) -> None:
        """Read the catalogue again, at most every few seconds: Pod's tables were changed (invariant I16).

        What follows from it is told once, and stays in ``schema_problem`` while it lasts.
        """
        now = self.clock.monotonic()
        if now - self._catalogue_read_at < _CATALOGUE_FRESH_FOR:
            return
        self._catalogue_read_at = now
        try:
            fresh = await introspect(self.database)
            missing = await self.missing_rights()
            words = " ".join([*fresh.problems(), *([grants.words_of(missing)] if missing else [])])
        except SchemaError as error:
            fresh, words = self.capabilities, str(error)
        except DatabaseError:
            return  # whoever needs it meets the same, and tells it
        if fresh != self.capabilities or words != (self.schema_problem or ""):
            log.warning(Event.SCHEMA_CHANGED, reason=words or "All is known and allowed.")
        self.capabilities, self.schema_problem = fresh, words or None

    async def refresh_sites(self) -> None:
        """Read Pod's sites.

        Raises:
            ConfigurationError: the settings do not fit them.
        """
        await self.verify(self.settings)

    async def verify(self, settings: Settings) -> None:
        """Read Pod's sites, and see whether settings fit this Pod: at the start and before a reload.

        Raises:
            ConfigurationError: with every setting that does not fit.
            DatabaseUnavailableError: the database cannot be reached.
        """
        sites = await pod_managers.sites(self.database)
        problems = [
            f"{key}: {words}"
            for key, words in unfit_for_pod(settings, sites.values(), podfile=self.capabilities.podfile)
        ]
        if problems:
            raise ConfigurationError(*problems)
        self.sites = sites

    async def refresh_managers(self, *, within: float = MANAGERS_FRESH_FOR) -> None:
        """Read Pod's runner managers again, unless that was done within so many seconds.

        They are read in any case after a person has paused or resumed one.
        """
        now, rings = self.clock.monotonic(), self.wakeups.administration.rings
        if rings == self._managers_rings and now - self._managers_read_at < within:
            return
        managers = await pod_managers.runner_managers(self.database)
        memories = await self.manager_memories()
        latest_tasks = await pod_managers.latest_tasks(self.database, among=_RECENT_TASKS)
        if any(manager.site_id not in self.sites for manager in managers):
            # A site was added to Pod while the daemon runs.
            self.sites = await pod_managers.sites(self.database)
        self._managers_read_at, self._managers_rings = now, rings
        self.registry.refresh(managers, memories, latest_tasks)

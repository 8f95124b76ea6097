"""What the jobs of one daemon have in common: made once by the composition, known to nobody else.

Each job is given what it uses, by name (``app/features/``).
"""

from collections.abc import Collection, Mapping
from dataclasses import InitVar, dataclass, field

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.fair_share import FairOrder
from poddispatchd.domain.lifecycle import Retries
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory, OwnTask, Wait
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.rows import ManagerRows, PodSites, journal_memories
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.table_faults import every_fault, reading_faults
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.locked_rows import LockedRows
from poddispatchd.runtime.media_health import MediaHealth
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.fair_order import FairShares


@dataclass(slots=True)
class Parts:
    """The shared parts of a daemon.

    ``instance`` names this process among those of the same database. ``has_journal``: whether there is a
    journal and this daemon may write it; a shadow may not, beside Pod's own CRON.
    """

    settings: Settings
    database: Database
    capabilities: InitVar[Capabilities]
    client: RunnerClient
    registry: ManagerRegistry
    session: DatabaseSession
    wakeups: Wakeups
    metrics: Metrics
    clock: Clock
    instance: str
    incidents: Incidents
    locked_rows: LockedRows
    shared_media: InitVar[MediaTree | None] = None
    has_journal: bool = True
    media_health: MediaHealth = field(default_factory=MediaHealth)
    sites: PodSites = field(init=False)
    managers: ManagerRows = field(init=False)
    catalogue: Catalogue = field(init=False)
    media: MediaTree = field(init=False)
    evidence: MediaEvidence = field(init=False)
    fair_shares: FairShares = field(init=False)

    def __post_init__(self, capabilities: Capabilities, shared_media: MediaTree | None) -> None:
        """Everything about the media tree follows from the settings: they need a restart to change."""
        pod = self.settings.pod
        self.media = shared_media or MediaTree(pod.media_root)
        self.evidence = MediaEvidence(self.media, self.database, self.clock, pod)
        self.fair_shares = FairShares(
            self.database,
            lambda: self.settings.dispatch,
            self.clock,
            self.incidents,
            is_scheduling=lambda: self.session.term is not None,
        )
        self.sites = PodSites(self.database, lambda: self.settings, self.registry)
        self.managers = ManagerRows(
            database=self.database,
            registry=self.registry,
            sites=self.sites,
            clock=self.clock,
            administration=self.wakeups.administration,
            memories=journal_memories if self.has_journal else _no_memories,
        )
        self.catalogue = Catalogue(
            self.database,
            capabilities,
            self.clock,
            every_fault if self.has_journal else reading_faults,
        )

    @property
    def output_language(self) -> str:
        """Of the words that we write into Pod's rows for people."""
        return self.settings.pod.output_language

    @property
    def retries(self) -> Retries:
        """How often a task is submitted, and how long it waits in between."""
        settings = self.settings.reconcile
        return Retries(settings.max_attempts, settings.retry_wait, self.clock.random)

    async def own_tasks(self, tasks: Collection[TaskPk]) -> Mapping[TaskPk, OwnTask]:
        """Those of these tasks that Pod is not submitting itself: they need no grace, but some are to wait.

        None without a journal: whatever waits may be Pod's to submit at this moment.
        """
        if not self.has_journal:
            return {}
        async with self.database.connection() as connection:
            return await scheduling.own_tasks(connection, tasks)

    async def waits(self) -> Mapping[TaskPk, Wait]:
        """The tasks that were put back, and wait; none without a journal."""
        if not self.has_journal:
            return {}
        async with self.database.connection() as connection:
            return await scheduling.waits(connection)

    async def order(self) -> FairOrder | None:
        """In which tasks are handed out; None: Pod's, as always without a journal.

        Raises:
            DatabaseError: it cannot be read.
        """
        return await self.fair_shares.order() if self.has_journal else None

    async def verify(self, settings: Settings) -> None:
        """Read Pod's sites, and see whether settings fit this Pod: at the start and before a reload.

        Raises:
            ConfigurationError: with every setting that does not fit.
            DatabaseUnavailableError: the database cannot be reached.
        """
        await self.sites.verify(settings, podfile=self.catalogue.capabilities.podfile)


async def _no_memories(_: Database) -> Mapping[ManagerId, ManagerMemory]:
    """Pod pauses no manager."""
    return {}

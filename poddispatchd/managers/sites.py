"""Pod's sites as they were last read, and for which of them this daemon works."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from poddispatchd.config.consistency import unfit_for_pod
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.routing import Lane, site_of
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import SiteId
from poddispatchd.errors import ConfigurationError
from poddispatchd.pod import managers as pod_managers

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
        lanes: the runner managers as routing sees them.
    """

    def __init__(
        self, database: Database, settings: Callable[[], Settings], lanes: Callable[[], list[Lane]]
    ) -> None:
        self._database = database
        self._settings = settings
        self._lanes = lanes
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
        return site_chooser(self._settings(), self.known, frozenset(lane.site for lane in self._lanes()))

    async def read(self) -> None:
        """Read them again."""
        self.known = await pod_managers.sites(self._database)

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
        self.known = sites

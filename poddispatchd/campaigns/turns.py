"""The turn of one video: whether its task can be added, and that it is added, or skipped with a reason."""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from enum import Enum, auto

import structlog

from poddispatchd.campaigns import queries
from poddispatchd.campaigns.free_runners import Room
from poddispatchd.campaigns.queries import Eligible, NextVideo, OpenCampaign
from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.database.sqlstates import FOREIGN_KEY_VIOLATION
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import SiteId, Task, TaskPk, TaskStatus
from poddispatchd.errors import (
    DatabaseError,
    MediaMissingError,
    PoddispatchdError,
    RowLockedError,
    UnsubmittableError,
)
from poddispatchd.journal.campaigns import CampaignId
from poddispatchd.managers.rows import PodSites
from poddispatchd.observability.events import Event
from poddispatchd.runtime.item_errors import is_to_blame

log = structlog.get_logger(__name__)

_LOOKED_AT = 20
"""Videos of a campaign that are tried in one look until one can be added."""
_SILENT = 3
"""So many of them whose files, or rows, cannot be had end a look: each takes seconds."""
_HELD = 600.0
"""Seconds for which such a video is left alone: its directory may hang, or the whole tree be away."""
_LOCKED = 60.0
"""The same where another session holds its row or its campaign's: each try takes a second."""

_UNFORESEEN = "poddispatchd met an error nobody foresaw ({name}): its log tells more."

Fitness = Callable[[Task, Site], Awaitable[object]]
"""Raises what keeps a task from being submitted."""


class _Tried(Enum):
    """What became of a video's turn."""

    ADDED = auto()
    SKIPPED = auto()
    WAITS = auto()
    SILENT = auto()


class Turns:
    """Adds the next task of a campaign.

    Args:
        database: Pod's.
        sites: on which videos are.
        fitness: whether a video has a source that a runner can fetch.
        added: is told of each task.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        sites: PodSites,
        fitness: Fitness,
        added: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._sites = sites
        self._fitness = fitness
        self._added = added
        self._clock = clock
        self._held: dict[tuple[CampaignId, int], float] = {}
        self.surprises: dict[CampaignId, int] = defaultdict(int)
        """Videos of each campaign, one after the other, that could not be tried, nobody foresaw why."""

    async def take(self, campaign: OpenCampaign, room: Room, term: int) -> bool:
        """Add one task of a campaign at most; whether it got further, so that another look may, too."""
        now = self._clock.monotonic()
        self._held = {key: until for key, until in self._held.items() if until > now}
        async with self._database.connection() as connection:
            videos = await queries.next_videos(
                connection, campaign, self._turn(campaign, room), limit=_LOOKED_AT
            )
        got_further, silent = False, 0
        for video in videos:
            try:
                tried = await self._try(campaign, video, room, term)
            except RowLockedError as error:
                # The other videos, and campaigns, have their turn (invariant I12).
                tried = self._leave(campaign, video, _LOCKED)
                log.warning(Event.ROW_LOCKED, campaign=campaign.name, video=video.video, reason=str(error))
            got_further |= tried in (_Tried.ADDED, _Tried.SKIPPED)
            silent += tried is _Tried.SILENT
            if tried is _Tried.ADDED or silent == _SILENT:
                break
        return got_further

    def _turn(self, campaign: OpenCampaign, room: Room) -> Eligible:
        sites, served = room[campaign.task_type], self._sites.served
        current = self._sites.current_id
        return Eligible(
            sites=sites,
            served=served,
            with_siteless=current in sites or current not in served,
            held=[place for pk, place in self._held if pk == campaign.id],
        )

    async def _try(self, campaign: OpenCampaign, video: NextVideo, room: Room, term: int) -> _Tried:
        """Add the task of a video if it can be done."""
        site = self._sites.chooser()(video.site_ids)
        if site is None:
            return await self._skip(campaign, video, "No site of it is served here (dispatch.sites).")
        # Asked for by the statement, too: a video of several sites goes by one of them.
        if site not in room[campaign.task_type]:
            return _Tried.WAITS
        try:
            await self._fitness(self._imagined(campaign, video), self._sites.known[site])
        except UnsubmittableError as error:
            return await self._skip(campaign, video, str(error))
        except MediaMissingError:
            # It says nothing about the video (invariant I16), and is told where it is found out.
            return self._leave(campaign, video, _HELD)
        except PoddispatchdError:
            raise
        except Exception as error:  # one video's surprise must not stop the others (invariant I12)
            log.exception(Event.SERVICE_CRASHED, job="campaigns", video=video.video)
            return await self._surprise(campaign, video, _UNFORESEEN.format(name=type(error).__name__))
        return await self._add(campaign, video, site, term)

    def _leave(self, campaign: OpenCampaign, video: NextVideo, seconds: float) -> _Tried:
        self._held[campaign.id, video.place] = self._clock.monotonic() + seconds
        return _Tried.SILENT

    def _imagined(self, campaign: OpenCampaign, video: NextVideo) -> Task:
        return Task(
            pk=TaskPk(0),
            type=campaign.task_type,
            status=TaskStatus.PENDING,
            task_id=None,
            runner_manager_id=None,
            video_id=video.video,
            recording_id=None,
            date_added=self._clock.now(),
        )

    async def _add(self, campaign: OpenCampaign, video: NextVideo, site: SiteId, term: int) -> _Tried:
        try:
            async with self._database.transaction() as connection:
                task = await queries.add(connection, campaign, video, term=term)
        except DatabaseError as error:
            if error.sqlstate == FOREIGN_KEY_VIOLATION:
                # It was deleted at this moment: the next look finds that out.
                return _Tried.WAITS
            if not is_to_blame(error):
                raise
            # Also for a reason of the site's own, as a trigger has: it would come again at every look.
            return await self._surprise(campaign, video, str(error))
        if task is None:
            return _Tried.SKIPPED
        # In a row: one that can be added proves that not all of them are odd.
        self.surprises.pop(campaign.id, None)
        log.info(Event.CAMPAIGN_TASK_ADDED, campaign=campaign.name, task=task, video=video.video, site=site)
        self._added()
        return _Tried.ADDED

    async def _surprise(self, campaign: OpenCampaign, video: NextVideo, words: str) -> _Tried:
        self.surprises[campaign.id] += 1
        return await self._skip(campaign, video, words)

    async def _skip(self, campaign: OpenCampaign, video: NextVideo, words: str) -> _Tried:
        async with self._database.connection() as connection:
            await queries.skip(connection, campaign, video, words)
        log.warning(Event.CAMPAIGN_VIDEO_SKIPPED, campaign=campaign.name, video=video.video, reason=words)
        return _Tried.SKIPPED

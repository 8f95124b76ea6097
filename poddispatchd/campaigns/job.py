"""Campaigns at work: one more task is added to Pod's table when a runner is free that nobody else waits for.

The row and the note that it is there are one statement: after a crash nothing has to be found out, and no
video gets two tasks. What waits in campaigns never shows in Pod's queue, its ranks or its CRON.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from zoneinfo import ZoneInfo

import structlog

from poddispatchd.campaigns import queries
from poddispatchd.campaigns.free_runners import FreeRunners, Room
from poddispatchd.campaigns.queries import NextVideo, OpenCampaign
from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import Task, TaskPk, TaskStatus
from poddispatchd.domain.time_windows import TimeWindows, parse_windows
from poddispatchd.errors import (
    MediaMissingError,
    PoddispatchdError,
    UnsubmittableError,
    ValuesRefusedError,
)
from poddispatchd.journal import campaigns
from poddispatchd.managers.sites import PodSites
from poddispatchd.observability.events import Event
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.wakeups import Wakeup, Wakeups

log = structlog.get_logger(__name__)

_IDLE = 300.0
"""Seconds between two looks while there is no campaign: a person's command rings, where NOTIFY arrives."""
_IDLE_UNHEARD = 60.0
"""The same where no notification arrives, as behind a pooler of transactions."""
_EVERY = 10.0
_SOON = 2.0
"""Seconds after a task was added: it takes its runner before another one is looked for."""
_LOOKED_AT = 20
"""Videos of a campaign that are tried in one look until one can be added."""
_FAILURES = 5
"""So many failures in a row pause a campaign: what spoils them would spoil the rest."""

_UNFORESEEN = "poddispatchd met an error nobody foresaw ({name}): its log tells more."

Fitness = Callable[[Task, Site], Awaitable[object]]
"""Raises what keeps a task from being submitted."""


class _Tried(Enum):
    """What became of a video's turn."""

    ADDED = auto()
    SKIPPED = auto()
    WAITS = auto()
    ALL_WAIT = auto()


class CampaignJob:
    """Adds the tasks of campaigns, and takes note of their ends; only the scheduler does.

    Args:
        database: Pod's.
        session: whose term it is.
        runners: whether one is free.
        sites: on which videos are.
        fitness: whether a video has a source that a runner can fetch.
        pod: how this Pod is set up.
        wakeups: of the other jobs.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        session: DatabaseSession,
        runners: FreeRunners,
        sites: PodSites,
        fitness: Fitness,
        pod: Callable[[], PodSettings],
        wakeups: Wakeups,
        clock: Clock,
    ) -> None:
        self._database = database
        self._session = session
        self._runners = runners
        self._sites = sites
        self._fitness = fitness
        self._pod = pod
        self._wakeups = wakeups
        self._clock = clock

    @property
    def wakeup(self) -> Wakeup:
        """Of this job."""
        return self._wakeups.campaigns

    async def step(self) -> float:
        """Look once; seconds until the next look. Without a campaign it is one statement."""
        term = self._session.term
        if term is None:
            return _IDLE
        async with self._database.connection() as connection:
            known = await queries.open_campaigns(connection)
        if not known:
            return _IDLE if self._session.listening else _IDLE_UNHEARD
        if any(campaign.running for campaign in known):
            await self._follow()
            async with self._database.connection() as connection:
                known = await queries.open_campaigns(connection)
        goes_on = await self._add_one([each for each in known if each.wants_more], term)
        await self._finish([each for each in known if not (each.has_more or each.running)])
        return _SOON if goes_on else _EVERY

    async def _follow(self) -> None:
        """Take note of ends; a campaign of which all fails is paused."""
        async with self._database.connection() as connection:
            failing = await queries.follow(connection)
            spoilt = [pk for pk in failing if await queries.fails_always(connection, pk, several=_FAILURES)]
            names = {each.id: each.name for each in await campaigns.campaigns(connection)} if spoilt else {}
            for pk in spoilt:
                words = f"The last {_FAILURES} tasks of it failed: see 'poddispatchd failures list'."
                if await campaigns.pause(connection, names[pk], "poddispatchd", words):
                    log.error(Event.CAMPAIGN_PAUSED, campaign=names[pk], reason=words)

    async def _add_one(self, wanting: Sequence[OpenCampaign], term: int) -> bool:
        """Add one task at most, of the campaign that has the fewest; whether another look may find more."""
        now = self._clock.now()
        ready = [each for each in wanting if self._may_begin(each, now)]
        room = self._runners.room()
        ready = [each for each in ready if each.task_type in room]
        if not ready or await self._runners.somebody_waits(room):
            return False
        for campaign in sorted(ready, key=lambda each: (each.running, each.id)):
            async with self._database.connection() as connection:
                videos = await queries.next_videos(connection, campaign, limit=_LOOKED_AT)
            tried = set[_Tried]()
            for video in videos:
                tried.add(await self._try(campaign, video, room, term))
                if not tried.isdisjoint((_Tried.ADDED, _Tried.ALL_WAIT)):
                    break
            if _Tried.ADDED in tried or _Tried.SKIPPED in tried:
                return True
        return False

    def _may_begin(self, campaign: OpenCampaign, now: datetime) -> bool:
        if campaign.windows is None:
            return True
        return TimeWindows(parse_windows(campaign.windows), ZoneInfo(self._pod().time_zone)).is_open(now)

    async def _try(self, campaign: OpenCampaign, video: NextVideo, room: Room, term: int) -> "_Tried":
        """Add the task of a video if it can be done."""
        site = self._sites.chooser()(video.site_ids)
        if site is None:
            return await self._skip(campaign, video, "No site of it is served here (dispatch.sites).")
        if site not in room[campaign.task_type]:
            return _Tried.WAITS
        imagined = Task(
            pk=TaskPk(0),
            type=campaign.task_type,
            status=TaskStatus.PENDING,
            task_id=None,
            runner_manager_id=None,
            video_id=video.video,
            recording_id=None,
            date_added=self._clock.now(),
        )
        try:
            await self._fitness(imagined, self._sites.known[site])
        except UnsubmittableError as error:
            return await self._skip(campaign, video, str(error))
        except MediaMissingError:
            # It says nothing about the video (invariant I16), and is told where it is found out.
            return _Tried.ALL_WAIT
        except PoddispatchdError:
            raise
        except Exception as error:  # one video's surprise must not stop the others (invariant I12)
            log.exception(Event.SERVICE_CRASHED, job="campaigns", video=video.video)
            return await self._skip(campaign, video, _UNFORESEEN.format(name=type(error).__name__))
        try:
            async with self._database.transaction() as connection:
                task = await queries.add(connection, campaign, video, term=term)
        except ValuesRefusedError:
            # It was deleted at this moment: the next look finds that out.
            return _Tried.WAITS
        if task is None:
            return _Tried.SKIPPED
        log.info(Event.CAMPAIGN_TASK_ADDED, campaign=campaign.name, task=task, video=video.video)
        self._wakeups.dispatcher.ring()
        self._wakeups.maintenance.ring()
        return _Tried.ADDED

    async def _skip(self, campaign: OpenCampaign, video: NextVideo, words: str) -> "_Tried":
        async with self._database.connection() as connection:
            await queries.skip(connection, campaign, video, words)
        log.warning(Event.CAMPAIGN_VIDEO_SKIPPED, campaign=campaign.name, video=video.video, reason=words)
        return _Tried.SKIPPED

    async def _finish(self, ended: Sequence[OpenCampaign]) -> None:
        for campaign in ended:
            async with self._database.connection() as connection:
                is_done = await queries.finish(connection, campaign.id)
            if is_done:
                log.info(Event.CAMPAIGN_DONE, campaign=campaign.name)

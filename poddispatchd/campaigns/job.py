"""Campaigns at work: one more task is added to Pod's table when a runner is free that nobody else waits for.

The row and the note that it is there are one statement: after a crash nothing has to be found out, and no
video gets two tasks. What waits in campaigns never shows in Pod's queue, its ranks or its CRON. A task that
got no runner is taken out of the queue again as soon as anybody else waits, or no runner can be asked.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog

from poddispatchd.campaigns import queries
from poddispatchd.campaigns.free_runners import FreeRunners, Room
from poddispatchd.campaigns.progress import CampaignMeter
from poddispatchd.campaigns.queries import OpenCampaign, Unsubmitted
from poddispatchd.campaigns.turns import Turns
from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.time_windows import TimeWindows, parse_windows
from poddispatchd.journal import campaigns
from poddispatchd.journal.campaigns import CampaignId, CampaignState
from poddispatchd.managers.rows import PodSites
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
"""Seconds after a task was added, or while one waits: it takes its runner before another one is added."""
_FAILURES = 5
"""So many failures in a row pause a campaign: what spoils them would spoil the rest."""


class CampaignJob:
    """Adds the tasks of campaigns, and takes note of their ends; only the scheduler does.

    Args:
        database: Pod's.
        session: whose term it is.
        runners: whether one is free.
        turns: adds the task of a campaign whose turn it is.
        sites: on which videos are.
        meter: shows how far campaigns are.
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
        turns: Turns,
        sites: PodSites,
        meter: CampaignMeter,
        pod: Callable[[], PodSettings],
        wakeups: Wakeups,
        clock: Clock,
    ) -> None:
        self._database = database
        self._session = session
        self._runners = runners
        self._turns = turns
        self._sites = sites
        self._meter = meter
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
            self._meter.forget()
            return _IDLE
        known = await self._open()
        if not known:
            self._meter.forget()
            return _IDLE if self._session.listening else _IDLE_UNHEARD
        unsubmitted: Sequence[Unsubmitted] = ()
        if any(campaign.running for campaign in known):
            await self._follow()
            async with self._database.connection() as connection:
                # After the ends are noted: a task that has ended is not to be withdrawn.
                unsubmitted = await queries.unsubmitted(connection)
            known = await self._open()
        goes_on = await self._look(known, unsubmitted, term)
        await self._finish([each for each in known if not (each.has_more or each.running)])
        await self._meter.measure()
        return _SOON if goes_on else _EVERY

    async def _open(self) -> list[OpenCampaign]:
        async with self._database.connection() as connection:
            return await queries.open_campaigns(connection)

    # --- what ended --------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Take note of ends; a campaign of which all fails is paused, in the same transaction."""
        words = f"The last {_FAILURES} tasks of it failed: see 'poddispatchd failures list'."
        async with self._database.transaction() as connection:
            failing = await queries.follow(connection)
            spoilt = [pk for pk in failing if await queries.fails_always(connection, pk, several=_FAILURES)]
            paused = await self._pause(connection, spoilt, words)
        self._tell_paused(paused, words)

    async def _pause(self, connection: Connection, pks: Collection[CampaignId], words: str) -> list[str]:
        names = {each.id: each.name for each in await campaigns.campaigns(connection)} if pks else {}
        return [
            names[pk] for pk in pks if await campaigns.pause(connection, names[pk], campaigns.ITSELF, words)
        ]

    def _tell_paused(self, names: Iterable[str], words: str) -> None:
        for name in names:
            log.error(Event.CAMPAIGN_PAUSED, campaign=name, reason=words)

    async def _pause_now(self, pk: CampaignId, words: str) -> None:
        async with self._database.transaction() as connection:
            paused = await self._pause(connection, [pk], words)
        self._tell_paused(paused, words)

    async def _finish(self, ended: Sequence[OpenCampaign]) -> None:
        for campaign in ended:
            async with self._database.connection() as connection:
                is_done = await queries.finish(connection, campaign.id)
            if is_done:
                log.info(Event.CAMPAIGN_DONE, campaign=campaign.name)

    # --- what begins -------------------------------------------------------------------------------------

    async def _look(self, known: Sequence[OpenCampaign], rows: Sequence[Unsubmitted], term: int) -> bool:
        """Take out of Pod's queue what must not stand there, or add one task; whether to look again soon."""
        now = self._clock.now()
        begins = {each.id: each for each in known if await self._may_begin(each, now)}
        # What waits may have a runner that is being asked just now; what is added must have one at once.
        soon, room = self._runners.soon(), self._runners.room()
        stays = [row for row in rows if row.campaign in begins and self._has_runner(row, soon)]
        ready = [each for each in begins.values() if each.wants_more and each.task_type in room]
        if (stays or ready) and await self._runners.somebody_waits(soon, besides=[row.task for row in rows]):
            stays, ready = [], []
        if away := [row for row in rows if row not in stays]:
            await self._withdraw(away, term)
        if stays:
            return True
        return await self._add_one(ready, room, term)

    async def _may_begin(self, campaign: OpenCampaign, now: datetime) -> bool:
        """Whether it is active, in its hours."""
        if campaign.state is not CampaignState.ACTIVE or campaign.windows is None:
            return campaign.state is CampaignState.ACTIVE
        try:
            windows = TimeWindows(parse_windows(campaign.windows), ZoneInfo(self._pod().time_zone))
        except ValueError:  # of another release
            await self._pause_now(campaign.id, "This release cannot read its hours.")
            return False
        return windows.is_open(now)

    def _has_runner(self, row: Unsubmitted, room: Room) -> bool:
        return self._sites.chooser()(row.site_ids) in room.get(row.task_type, ())

    async def _withdraw(self, rows: Collection[Unsubmitted], term: int) -> None:
        async with self._database.transaction() as connection:
            gone = await queries.withdraw(connection, rows, term=term)
        for each in gone:
            log.info(Event.CAMPAIGN_TASK_WITHDRAWN, campaign=each.campaign, task=each.task, video=each.video)
        if gone:
            self._wakeups.maintenance.ring()

    async def _add_one(self, ready: Sequence[OpenCampaign], room: Room, term: int) -> bool:
        """Add one task at most, of the campaign that has the fewest; whether another look may find more."""
        for campaign in sorted(ready, key=lambda each: (each.running, each.id)):
            got_further = await self._turns.take(campaign, room, term)
            if self._turns.surprises[campaign.id] >= _FAILURES:
                self._turns.surprises.pop(campaign.id)
                words = f"{_FAILURES} videos of it could not be tried: see 'poddispatchd campaigns show'."
                await self._pause_now(campaign.id, words)
            if got_further:
                return True
        return False

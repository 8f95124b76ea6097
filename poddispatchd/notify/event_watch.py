"""What outgoing events tell besides failed tasks: managers down and up, what was set aside, campaigns.

The scheduler tells, once: what was told is in the journal, so that another daemon that takes over goes on
from there. That nobody schedules is told by every daemon (``scheduler_watch``), and its end by that one.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import structlog
from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain import outgoing_events as events
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.french import in_language
from poddispatchd.domain.manager_watch import News, WatchedManager
from poddispatchd.domain.outgoing_events import EventType, GivenUpItem, OutgoingEvent
from poddispatchd.domain.task import ManagerId
from poddispatchd.journal import told_events
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.state import ManagerReport
from poddispatchd.notify import queue
from poddispatchd.notify.event_words import public_reason, wording_of
from poddispatchd.notify.scheduler_watch import SUBJECT as SCHEDULER
from poddispatchd.notify.scheduler_watch import SchedulerWatch
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.wakeups import Wakeup

log = structlog.get_logger(__name__)

_IDLE = 600.0
_EVERY = 5.0
_JOURNAL_EVERY = 30.0
_AT_ONCE = 50
_HEALTH_WITHIN = 10.0
"""Seconds that a manager gets to show that it works again."""


class EventWatch:
    """Compares what is with what was told. ``is_well``: whether a manager answers its health check now."""

    def __init__(
        self,
        *,
        database: Database,
        session: DatabaseSession,
        registry: ManagerRegistry,
        is_well: Callable[[ManagerId], Awaitable[bool]],
        settings: Callable[[], Settings],
        scheduler: SchedulerWatch,
        queued: Wakeup,
        clock: Clock,
    ) -> None:
        self._database = database
        self._session = session
        self._registry = registry
        self._is_well = is_well
        self._settings = settings
        self._scheduler = scheduler
        self._queued = queued
        self._clock = clock
        self._term: int | None = None
        self._managers: dict[ManagerId, WatchedManager] = {}
        self._told: dict[str, str] = {}
        self._journal_again_at = float("-inf")

    async def step(self) -> float:
        """Look once; seconds until the next look. While nothing is told, nothing is looked at."""
        settings = self._settings()
        if not settings.events.enabled:
            self._term = None
            return _IDLE
        if self._session.term is None:
            self._term = None
            return _EVERY
        if self._session.term != self._term:
            await self._begin(self._session.term)
        await self._look_at_managers(settings)
        await self._look_at_journal()
        return _EVERY

    async def look_once(self) -> None:
        """What a single pass can find out: managers that come and go it cannot."""
        term = self._session.term
        if self._settings().events.enabled and term is not None:
            await self._begin(term)
            await self._scheduler.step()
            await self._look_at_journal()

    async def _begin(self, term: int) -> None:
        """Go on where the scheduler before stopped."""
        async with self._database.connection() as connection:
            self._told = await told_events.states(connection)
        self._scheduler.has_told |= self._told.get(SCHEDULER) == "missing"
        self._managers, self._journal_again_at = {}, float("-inf")
        self._term = term

    # --- what is looked at -------------------------------------------------------------------------------

    async def _look_at_managers(self, settings: Settings) -> None:
        now, delay = self._clock.monotonic(), settings.events.debounce
        reports = {report.id: report for report in self._registry.reports() if report.is_active}
        self._managers = {pk: self._seen(report, now, delay) for pk, report in reports.items()}
        news = {
            pk: found for pk in reports if (found := self._managers[pk].news(now, delay=delay)) is not None
        }
        for pk, found in news.items():
            if found is News.UP:
                await self._tell_up(reports[pk])
            else:
                await self._tell_down(reports[pk], found)

    def _seen(self, report: ManagerReport, now: float, delay: float) -> WatchedManager:
        is_down = report.state is not BreakerState.CLOSED
        known = self._managers.get(report.id)
        if known is None:
            return WatchedManager(is_down, now, told_down=self._told.get(_subject(report)) == "down")
        return known.seen(now, is_down=is_down, delay=delay)

    async def _tell_up(self, report: ManagerReport) -> None:
        """A closed breaker may only not have been tried since the daemon began: the manager is asked."""
        try:
            async with asyncio.timeout(_HEALTH_WITHIN):
                is_well = await self._is_well(report.id)
        except TimeoutError:
            is_well = False
        watched = self._managers[report.id]
        if is_well:
            made = events.manager_up(_new_id(), self._clock.now(), self._wording, report.name)
            await self._tell(_subject(report), "up", made)
            self._told.pop(_subject(report), None)
            self._managers[report.id] = watched.told(is_down=False)
        else:
            # Not for another while.
            self._managers[report.id] = WatchedManager(
                False, self._clock.monotonic(), watched.went_down, watched.told_down
            )

    async def _tell_down(self, report: ManagerReport, found: News) -> None:
        made = events.manager_down(
            _new_id(),
            self._clock.now(),
            self._wording,
            report.name,
            reason=public_reason(report.error or "", self._settings().pod.language),
            comes_and_goes=found is News.COMES_AND_GOES,
        )
        await self._tell(_subject(report), "down", made)
        self._told[_subject(report)] = "down"
        self._managers[report.id] = self._managers[report.id].told(is_down=True)

    async def _look_at_journal(self) -> None:
        """Tell of what was set aside, and of campaigns; now and then."""
        settings, now = self._settings(), self._clock.monotonic()
        if now < self._journal_again_at:
            return
        self._journal_again_at = now + _JOURNAL_EVERY
        if EventType.SET_ASIDE in settings.events.types:
            await self._look_at_queues(settings)
        if not {EventType.CAMPAIGN_PAUSED, EventType.CAMPAIGN_DONE}.isdisjoint(settings.events.types):
            await self._look_at_campaigns(settings)

    async def _look_at_queues(self, settings: Settings) -> None:
        async with self._database.connection() as connection:
            items = await told_events.untold_items(connection, limit=_AT_ONCE)
        for item in items:
            reason = public_reason(item.words, settings.pod.language)
            found = GivenUpItem(item.queue, item.item, item.task, reason)
            made = events.set_aside(_new_id(), self._clock.now(), self._wording, found)
            await self._tell(item.subject, "set_aside", made)

    async def _look_at_campaigns(self, settings: Settings) -> None:
        async with self._database.connection() as connection:
            found = await told_events.untold_campaigns(connection)
        for each in found:
            reason = in_language(each.campaign.reason, settings.pod.language)
            campaign = replace(each.campaign, reason=reason)
            made = events.campaign_changed(_new_id(), self._clock.now(), self._wording, campaign)
            await self._tell(each.subject, "campaign", made)

    # --- telling -----------------------------------------------------------------------------------------

    @property
    def _wording(self) -> events.Wording:
        return wording_of(self._settings().pod)

    async def _tell(self, subject: str, state: str, event: OutgoingEvent) -> None:
        """Queue an event, unless its subject was told to be so already."""
        is_wanted = event.type in self._settings().events.types
        async with self._database.transaction() as connection:
            # Noted also where nobody wants to hear it: a type that is switched on later does not tell what is
            # old.
            if await told_events.note(connection, subject, state) and is_wanted:
                await queue.add_event(connection, event.to_content())
        # After the commit: whoever looked before would find nothing, and sleep on.
        self._queued.ring()


def _subject(report: ManagerReport) -> str:
    return f"runner manager {report.id}"


def _new_id() -> str:
    return str(uuid.uuid4())

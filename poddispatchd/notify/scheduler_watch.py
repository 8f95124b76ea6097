"""Telling other programs that nobody schedules: also while the database, where events wait, is lost."""

import uuid
from collections.abc import Callable

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain import outgoing_events as events
from poddispatchd.domain.outgoing_events import EventType, OutgoingEvent
from poddispatchd.errors import DatabaseError, DeliveryError
from poddispatchd.journal import scheduling, told_events
from poddispatchd.notify import queue
from poddispatchd.notify.event_post import hand_over
from poddispatchd.notify.event_words import public_reason, wording_of
from poddispatchd.observability.events import Event
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.wakeups import Wakeup

log = structlog.get_logger(__name__)

SUBJECT = "scheduler"

_IDLE = 600.0
_EVERY = 5.0
_SHORTEST = 30.0
"""Seconds: a lease that ends is taken over within ten."""
_TRY_AGAIN = 60.0
_MOST_TRIES = 60


class SchedulerWatch:
    """Sees whether any daemon schedules; each daemon looks.

    ``has_told``: that nobody does, and not yet its end.
    """

    def __init__(
        self,
        *,
        database: Database,
        session: DatabaseSession,
        settings: Callable[[], Settings],
        queued: Wakeup,
        clock: Clock,
    ) -> None:
        self._database = database
        self._session = session
        self._settings = settings
        self._queued = queued
        self._clock = clock
        self._since: float | None = None
        self._unsent: OutgoingEvent | None = None
        self._tries = 0
        self._next_try = float("-inf")
        self.has_told = False

    async def step(self) -> float:
        """Look once; seconds until the next look. It needs no database."""
        settings = self._settings()
        if not (settings.events.enabled and EventType.SCHEDULER_MISSING in settings.events.types):
            self._forget()
            return _IDLE
        if await self._somebody_schedules():
            self._forget()
            if self.has_told:
                await self._tell_end(settings)
            return _EVERY
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since < max(_SHORTEST, settings.events.debounce) or self.has_told:
            return _EVERY
        if self._unsent is None:
            reason = public_reason(self._reason, settings.pod.language)
            self._unsent = events.scheduler_missing(
                str(uuid.uuid4()), self._clock.now(), wording_of(settings.pod), reason=reason
            )
        self.has_told = await self._queue(self._unsent) or await self._send(self._unsent, settings)
        return _EVERY

    def _forget(self) -> None:
        self._since, self._unsent, self._tries, self._next_try = None, None, 0, float("-inf")

    async def _somebody_schedules(self) -> bool:
        if self._session.term is not None:
            return True
        if not self._session.is_up:
            return False
        try:
            async with self._database.connection() as connection:
                return (await scheduling.scheduler(connection)).is_held
        except DatabaseError:
            return False

    @property
    def _reason(self) -> str:
        if not self._session.is_up:
            return self._session.problem or "The database does not answer."
        return self._session.lease_problem or "No daemon holds the lease of the scheduler."

    async def _tell_end(self, settings: Settings) -> None:
        """Somebody schedules again: whoever told that nobody did tells it, one of them.

        Raises:
            DatabaseError: it cannot be queued: it is tried again with the next look.
        """
        event = events.scheduler_back(str(uuid.uuid4()), self._clock.now(), wording_of(settings.pod))
        async with self._database.transaction() as connection:
            # The term: after an outage in which nothing could be noted, this is news all the same.
            term = (await scheduling.leader(connection)).term
            is_news = await told_events.note(connection, SUBJECT, f"back {term}")
            if is_news and event.type in settings.events.types:
                await queue.add_event(connection, event.to_content())
        self.has_told = False
        self._queued.ring()

    async def _queue(self, event: OutgoingEvent) -> bool:
        """Leave it to the queue, unless another daemon did; False without the database."""
        if not self._session.is_up:
            return False
        try:
            async with self._database.transaction() as connection:
                if await told_events.note(connection, SUBJECT, "missing"):
                    await queue.add_event(connection, event.to_content())
        except DatabaseError:
            return False
        self._queued.ring()
        return True

    async def _send(self, event: OutgoingEvent, settings: Settings) -> bool:
        """Send it from memory, now and then, for an hour."""
        now = self._clock.monotonic()
        if now < self._next_try or self._tries >= _MOST_TRIES:
            return False
        self._next_try, self._tries = now + _TRY_AGAIN, self._tries + 1
        try:
            answer = await hand_over(settings.events, event, now=self._clock.now())
            words = None if answer.is_taken else answer.words
        except DeliveryError as error:
            words = str(error)
        if words is None:
            log.info(Event.NOTICE_SENT, channel="event")
        else:
            log.warning(Event.NOTICE_RETRIED, channel="event", reason=words)
        return words is None

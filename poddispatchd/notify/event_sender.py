"""Sending the outgoing events that are due, one by one: an endpoint that hangs holds up nothing else."""

import asyncio
from collections.abc import Callable

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.notification import EventsSettings
from poddispatchd.domain.outgoing_events import OutgoingEvent
from poddispatchd.errors import DeliveryError, ServiceUnreachableError
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.event_post import EventAnswer, hand_over
from poddispatchd.notify.queue import Delivery, DeliveryState
from poddispatchd.runtime.lease_queue import Leased

log = structlog.get_logger(__name__)

_IDLE = 600.0
_BATCH = 5
_SHUT = 60.0
"""Seconds for which an endpoint that does not answer is left alone: what else is due waits, uncounted."""
_TO_WRITE = 60.0
"""Seconds beyond ``events.timeout`` in which the end of an attempt is written."""
_NEWS_FOR = 86_400.0
"""How long an event is news: one that cannot be delivered is set aside then, however few attempts it had."""


class EventSender:
    """Sends events; those that cannot be delivered are tried again, and set aside in the end."""

    def __init__(self, deliveries: Deliveries, settings: Callable[[], EventsSettings], clock: Clock) -> None:
        self._deliveries = deliveries
        self._settings = settings
        self._clock = clock
        self._shut_until = float("-inf")
        self._is_off = False

    async def step(self) -> float:
        """Send what is due; seconds until the next look. While nothing is told, no statement is sent."""
        if await self.send_due() == _BATCH:
            return 0.0
        if self._is_off:
            return _IDLE
        return await self._deliveries.next_look(idle=_IDLE)

    async def drain(self) -> None:
        """Send everything that is due."""
        while await self.send_due():
            pass

    async def send_due(self) -> int:
        """Send a batch; how much was tried."""
        settings = self._settings()
        if not settings.enabled and self._is_off:
            return 0
        due = await self._deliveries.claim(_BATCH, enabled=settings.enabled)
        self._is_off = not settings.enabled
        for number, leased in enumerate(due):
            try:
                await self._deliveries.attempt(
                    leased,
                    lambda leased=leased: self._send(leased, settings),  # type: ignore[misc]
                    within=settings.timeout + _TO_WRITE,
                )
            except asyncio.CancelledError:
                await self._deliveries.hand_back([each.lease for each in due[number:]])
                raise
        return len(due)

    async def _send(self, leased: Leased, settings: EventsSettings) -> None:
        delivery = Delivery.of(leased)
        if (rest := self._shut_until - self._clock.monotonic()) > 0:
            await self._deliveries.postpone(delivery, rest, "The endpoint of events does not answer.")
            return
        try:
            event = OutgoingEvent.of_content(delivery.content)
            answer = await hand_over(settings, event, now=self._clock.now())
        except ServiceUnreachableError as error:
            self._shut_until = self._clock.monotonic() + _SHUT
            await self._failed(delivery, str(error))
        except DeliveryError as error:
            await self._failed(delivery, str(error))
        else:
            await self._judge(delivery, answer)

    async def _judge(self, delivery: Delivery, answer: EventAnswer) -> None:
        if answer.is_taken:
            await self._deliveries.finish(delivery, DeliveryState.DONE)
            return
        if answer.rest is not None:
            # Retry-After is about the endpoint, and not about this one event.
            self._shut_until = self._clock.monotonic() + answer.rest
        await self._failed(delivery, answer.words)

    async def _failed(self, delivery: Delivery, words: str) -> None:
        is_last = delivery.age > _NEWS_FOR
        await self._deliveries.retry(delivery, words, is_last=is_last)

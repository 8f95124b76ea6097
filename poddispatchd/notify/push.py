"""Posting the web pushes that are due; a push service that does not answer holds up no other."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from math import ceil
from typing import TypeAlias

import aiohttp

from poddispatchd.clock import Clock
from poddispatchd.config.notification import PushSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.notices import PushMessage
from poddispatchd.errors import (
    DeliveryError,
    DeliveryRefusedError,
    RecipientGoneError,
    ServiceUnreachableError,
)
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.queue import Delivery, DeliveryState
from poddispatchd.notify.webpush import Target, open_push_session, send_push
from poddispatchd.pod import recipients
from poddispatchd.runtime.lease_queue import Leased

_IDLE = 600.0
_BATCH = 50
_AT_ONE_SERVICE = 5
"""Messages posted to one push service at once."""
_SHUT = 60.0
"""Seconds for which a push service that does not answer is left alone: its messages wait, uncounted."""
_LONGEST_POST = 25.0
"""Seconds that a message may hold up those behind it: 20 for the push service (``webpush.py``)."""
_TO_WRITE = 60.0
"""Seconds beyond its turn, and those before it, in which the end of a message is written."""

_Turns: TypeAlias = dict[str | None, asyncio.Semaphore]
"""Of each push service, by its origin."""


class PushSender:
    """Sends pushes."""

    def __init__(
        self,
        deliveries: Deliveries,
        settings: Callable[[], PushSettings],
        database: Database,
        clock: Clock,
    ) -> None:
        self._deliveries = deliveries
        self._settings = settings
        self._database = database
        self._clock = clock
        self._shut_until: dict[str | None, float] = {}

    async def step(self) -> float:
        """Send a batch; seconds until the next look."""
        if await self.send_due() == _BATCH:
            return 0.0
        return await self._deliveries.next_look(idle=_IDLE)

    async def drain(self) -> None:
        """Post everything that is due; what must be tried again is left for later."""
        while await self.send_due():
            pass

    async def send_due(self) -> int:
        """Post what is due, a batch; how much was tried."""
        due = await self._deliveries.claim(_BATCH, enabled=self._settings().enabled)
        if not due:
            return 0
        now = self._clock.monotonic()
        # Services come from browsers, and anybody may name one: those of before are forgotten.
        self._shut_until = {name: until for name, until in self._shut_until.items() if until > now}
        turns: _Turns = defaultdict(lambda: asyncio.Semaphore(_AT_ONE_SERVICE))
        # All of them may be for one service: waiting for those before it is no failure of a message.
        within = _TO_WRITE + _LONGEST_POST * ceil(len(due) / _AT_ONE_SERVICE)
        async with open_push_session() as http:
            # An error of one, as a lost database is, must not cut off those that are being posted: they would
            # come twice.
            ends = await asyncio.gather(
                *(self._attempt(http, leased, turns, within) for leased in due), return_exceptions=True
            )
        for end in ends:
            if end is not None:
                raise end
        return len(due)

    async def _attempt(
        self, http: aiohttp.ClientSession, leased: Leased, turns: _Turns, within: float
    ) -> None:
        try:
            await self._deliveries.attempt(
                leased, lambda: self._post(http, Delivery.of(leased), turns), within=within
            )
        except asyncio.CancelledError:
            await self._deliveries.hand_back([leased.lease])
            raise

    async def _post(self, http: aiohttp.ClientSession, delivery: Delivery, turns: _Turns) -> None:
        """Post one message; a subscription that has ended is Pod's to delete."""
        message = PushMessage(*(str(delivery.content[name]) for name in ("head", "body", "url")))
        try:
            target = await self._target(delivery)
            async with turns[target.origin]:
                if self._shut_until.get(target.origin, 0.0) > self._clock.monotonic():
                    await self._deliveries.postpone(delivery, _SHUT, "Its push service does not answer.")
                    return
                await self._send(http, target, message)
        except RecipientGoneError as error:
            await self._deliveries.finish(delivery, DeliveryState.DROPPED, str(error))
        except DeliveryRefusedError as error:
            await self._deliveries.finish(delivery, DeliveryState.FAILED, str(error))
        except DeliveryError as error:
            await self._deliveries.retry(delivery, str(error))
        else:
            await self._deliveries.finish(delivery, DeliveryState.DONE)

    async def _send(self, http: aiohttp.ClientSession, target: Target, message: PushMessage) -> None:
        try:
            await send_push(http, self._settings(), target, message, now=self._clock.now())
        except ServiceUnreachableError:
            self._shut_until[target.origin] = self._clock.monotonic() + _SHUT
            raise

    async def _target(self, delivery: Delivery) -> Target:
        found = await recipients.subscription(self._database, int(str(delivery.content["subscription"])))
        if found is None:
            raise RecipientGoneError("The subscription was deleted meanwhile.")
        return Target(found.endpoint, found.auth, found.p256dh)

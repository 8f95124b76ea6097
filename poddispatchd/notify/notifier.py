"""Telling people what was imported and what failed: events become mail and pushes, tried until they succeed.

Nothing here decides about a task (invariant I6). No connection of the pool is held while a server is spoken
to (I1). Whether a mail arrived is not known when the connection is lost at the wrong moment: it is sent again
under the same message id, and never again once a server has said that it took it.
"""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from contextlib import suppress

import aiohttp
import structlog

from poddispatchd.domain.backoff import full_jitter
from poddispatchd.domain.notices import PushMessage
from poddispatchd.errors import DatabaseError, DeliveryError, DeliveryRefusedError, RecipientGoneError
from poddispatchd.journal import notices
from poddispatchd.journal.notices import Channel, Delivery, DeliveryId, DeliveryState
from poddispatchd.notify.message import Envelope
from poddispatchd.notify.planner import deliveries
from poddispatchd.notify.smtp import MailServer, mail_server
from poddispatchd.notify.webpush import Target, open_push_session, send_push
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import DeliveryOutcome
from poddispatchd.parts import Parts
from poddispatchd.pod import recipients

log = structlog.get_logger(__name__)

_IDLE = 600.0
_SOON = 0.1
_EVENTS = 50
_BATCH = 10
_LONGEST_BATCH = 120.0
"""Seconds after which no mail is begun: a step must end well before the watchdog wonders, and before what it
has claimed is another daemon's."""
_CLAIM = 900.0
"""Seconds after which what a killed instance was at is delivered by another."""
_LAST_WORDS = 30.0
"""Seconds that a mail under way gets at a stop."""
_MAX_ATTEMPTS = 12
_NOT_BEFORE = 15.0
_FIRST_WAIT = 60.0
_LONGEST_WAIT = 4 * 3600.0
"""With these, what cannot be delivered is given up after about eight hours."""
_STOPPED = "Stopped."
_UNFORESEEN = "poddispatchd met an error nobody foresaw: its log tells more."
"""Tried again, it would be met again."""


class Notifier:
    """Sends mail and pushes; any number of daemons with the same settings do it side by side."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._mail_is_down = False
        self._known: dict[DeliveryId, tuple[Delivery, DeliveryState, str | None]] = {}
        """What is over and not yet written: a lost database must not make us deliver it again."""

    async def step(self) -> float:
        """Find out who is to be told, and tell who is due; seconds until the next look."""
        await self._plan()
        mails, pushes = await self._mail(), await self._push()
        if max(mails, pushes) == _BATCH:
            return 0.0
        async with self._parts.database.connection() as connection:
            due = await notices.next_due(connection, (Channel.MAIL, Channel.PUSH))
        return _IDLE if due is None else min(_IDLE, max(due, _SOON))

    async def drain(self) -> None:
        """Tell everyone who is due now; what must be tried again is left for later."""
        await self._plan()
        while await self._mail() + await self._push():
            pass

    async def _plan(self) -> None:
        """Queue what follows from the events that were recorded."""
        parts = self._parts
        while True:
            async with parts.database.connection() as connection:
                waiting = await notices.waiting(connection, _EVENTS)
            for notice in waiting:
                planned = await deliveries(parts, notice)
                async with parts.database.transaction() as connection:
                    await notices.plan(connection, notice, planned)
                if any(channel is Channel.HOOK for channel, _ in planned):
                    parts.wakeups.hooks.ring()
            if len(waiting) < _EVENTS:
                return

    # --- mail --------------------------------------------------------------------------------------------

    async def _mail(self) -> int:
        """Send what is due, a batch; how much was tried."""
        settings = self._parts.settings.mail
        due = await self._claim(Channel.MAIL, enabled=settings.enabled)
        if not due:
            return 0
        waiting = list(due)
        try:
            async with mail_server(settings) as server:
                self._mail_works(server=settings.host)
                enough = self._parts.clock.monotonic() + _LONGEST_BATCH
                while waiting and self._parts.clock.monotonic() < enough:
                    first = waiting.pop(0)
                    try:
                        await _to_its_end(self._send(server, first))
                    except DeliveryError:
                        waiting.insert(0, first)
                        raise
            await self._hand_back(waiting, "The mail server is slow: there was no time for it.")
        except asyncio.CancelledError:
            await self._hand_back(waiting, _STOPPED)
            raise
        except DeliveryError as error:
            self._mail_is_broken(str(error), server=settings.host)
            for delivery in waiting:
                await self._retry(delivery, str(error))
        return len(due)

    async def _send(self, server: MailServer, delivery: Delivery) -> None:
        """Send one mail.

        Raises:
            DeliveryError: the connection is of no more use.
        """
        try:
            envelope = Envelope.from_content(delivery.content)
            sent = await server.send(envelope, delivery.created_at)
        except DeliveryRefusedError as error:
            await self._settle(delivery, DeliveryState.FAILED, str(error))
            return
        except DeliveryError as error:
            if not server.is_connected:
                raise
            await self._retry(delivery, str(error))
            return
        except Exception:  # a bug met by one mail must not stop the others
            log.exception(Event.SERVICE_CRASHED, job="notifier", task=delivery.task_pk)
            await self._settle(delivery, DeliveryState.FAILED, _UNFORESEEN)
            return
        if sent.refused:
            log.warning(Event.NOTICE_FAILED, channel="mail", task=delivery.task_pk, reason=sent.words)
        if sent.left:
            await self._retry(delivery, sent.words, left=envelope.only_to(sent.left).to_content())
        else:
            await self._settle(delivery, DeliveryState.DONE)

    def _mail_works(self, *, server: str) -> None:
        if self._mail_is_down:
            log.info(Event.MAIL_UP, server=server)
        self._mail_is_down = False

    def _mail_is_broken(self, reason: str, *, server: str) -> None:
        if not self._mail_is_down:
            log.warning(Event.MAIL_DOWN, server=server, reason=reason)
        self._mail_is_down = True

    # --- pushes ------------------------------------------------------------------------------------------

    async def _push(self) -> int:
        """Post what is due, a batch; how much was tried."""
        due = await self._claim(Channel.PUSH, enabled=self._parts.settings.push.enabled)
        if due:
            async with open_push_session() as http:
                ends = await asyncio.gather(
                    *(self._post(http, delivery) for delivery in due), return_exceptions=True
                )
            for end in ends:
                if end is not None:
                    raise end
        return len(due)

    async def _post(self, http: aiohttp.ClientSession, delivery: Delivery) -> None:
        """Post one message; a subscription that has ended is Pod's to delete."""
        parts = self._parts
        message = PushMessage(*(str(delivery.content[name]) for name in ("head", "body", "url")))
        try:
            target = await self._target(delivery)
            await send_push(http, parts.settings.push, target, message, now=parts.clock.now())
        except RecipientGoneError as error:
            await self._settle(delivery, DeliveryState.DROPPED, str(error))
        except DeliveryRefusedError as error:
            await self._settle(delivery, DeliveryState.FAILED, str(error))
        except DeliveryError as error:
            await self._retry(delivery, str(error))
        except asyncio.CancelledError:
            await self._hand_back((delivery,), _STOPPED)
            raise
        except DatabaseError:
            raise
        except Exception:  # a bug met by one push must not stop the others
            log.exception(Event.SERVICE_CRASHED, job="notifier", task=delivery.task_pk)
            await self._settle(delivery, DeliveryState.FAILED, _UNFORESEEN)
        else:
            await self._settle(delivery, DeliveryState.DONE)

    async def _target(self, delivery: Delivery) -> Target:
        found = await recipients.subscription(
            self._parts.database, int(str(delivery.content["subscription"]))
        )
        if found is None:
            raise RecipientGoneError("The subscription was deleted meanwhile.")
        return Target(found.endpoint, found.auth, found.p256dh)

    # --- the queue ---------------------------------------------------------------------------------------

    async def _claim(self, channel: Channel, *, enabled: bool) -> list[Delivery]:
        await self._write_known()
        async with self._parts.database.connection() as connection:
            if not enabled:
                await notices.drop_open(connection, channel)
                return []
            return await notices.claim_due(connection, channel, _BATCH, seconds=_CLAIM)

    async def _settle(self, delivery: Delivery, state: DeliveryState, error: str | None = None) -> None:
        self._known[delivery.id] = (delivery, state, error)
        channel = delivery.channel.value
        match state:
            case DeliveryState.DONE:
                log.info(Event.NOTICE_SENT, channel=channel, task=delivery.task_pk)
                self._count(delivery, DeliveryOutcome.SENT)
            case DeliveryState.DROPPED:
                log.info(Event.NOTICE_DROPPED, channel=channel, task=delivery.task_pk, reason=error)
                self._count(delivery, DeliveryOutcome.DROPPED)
            case _:
                log.error(Event.NOTICE_FAILED, channel=channel, task=delivery.task_pk, reason=error)
                self._count(delivery, DeliveryOutcome.FAILED)
        await self._write_known()

    async def _write_known(self) -> None:
        for known, (delivery, state, error) in list(self._known.items()):
            async with self._parts.database.connection() as connection:
                await notices.settle(connection, delivery, state, error)
            self._known.pop(known, None)

    async def _hand_back(self, untouched: Collection[Delivery], why: str) -> None:
        """What was not tried is due for anybody."""
        if not untouched:
            return
        with suppress(DatabaseError):
            async with self._parts.database.connection() as connection:
                for delivery in untouched:
                    await notices.retry(connection, delivery, seconds=0, error=why, counts=False)

    async def _retry(
        self, delivery: Delivery, error: str, *, left: Mapping[str, object] | None = None
    ) -> None:
        if delivery.attempts >= _MAX_ATTEMPTS:
            await self._settle(delivery, DeliveryState.FAILED, error)
            return
        seconds = _NOT_BEFORE + full_jitter(
            delivery.attempts - 1, base=_FIRST_WAIT, cap=_LONGEST_WAIT, random=self._parts.clock.random
        )
        async with self._parts.database.connection() as connection:
            await notices.retry(connection, delivery, seconds=seconds, error=error, content=left)
        log.debug(Event.NOTICE_RETRIED, channel=delivery.channel.value, task=delivery.task_pk, reason=error)
        self._count(delivery, DeliveryOutcome.RETRIED)

    def _count(self, delivery: Delivery, outcome: DeliveryOutcome) -> None:
        metrics = self._parts.metrics
        counter = metrics.mail if delivery.channel is Channel.MAIL else metrics.push
        counter.labels(outcome).inc()


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Let a mail be handed over, however often we are cancelled meanwhile, lest it come twice.

    A server that takes longer than ``_LAST_WORDS`` from then on is not waited for: a stop has its time.
    """
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    ends_at: float | None = None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=None if ends_at is None else max(0.0, ends_at - loop.time()))
            if ends_at is not None and loop.time() >= ends_at:
                task.cancel()
        except asyncio.CancelledError:
            ends_at = ends_at or loop.time() + _LAST_WORDS
    task.result()
    if ends_at is not None:
        raise asyncio.CancelledError

"""Sending the mail that is due, over one connection for each batch."""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.notification import MailSettings
from poddispatchd.errors import DeliveryError, DeliveryRefusedError
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.queue import Delivery, DeliveryState
from poddispatchd.notify.smtp import Envelope, MailServer, mail_server
from poddispatchd.observability.events import Event
from poddispatchd.runtime.lease_queue import Leased
from poddispatchd.runtime.supervisor import cancel_surely

log = structlog.get_logger(__name__)

_IDLE = 600.0
_BATCH = 10
_LONGEST_BATCH = 120.0
"""Seconds after which no mail is begun: a step must end well before the watchdog wonders."""
_LONGEST_ITEM = 300.0
"""Seconds that one mail may take: the server's answers (``smtp.py``), and the database."""
_LONGEST_PAUSE = 60.0
"""Seconds until a server that hangs up over one mail after the other is called again, at most."""
_FINISHED_WITHIN = 30.0
"""Seconds that a mail under way gets at a stop."""


class MailSender:
    """Sends mail; a server that hangs holds up nothing but mail."""

    def __init__(self, deliveries: Deliveries, settings: Callable[[], MailSettings], clock: Clock) -> None:
        self._deliveries = deliveries
        self._settings = settings
        self._clock = clock
        self._is_down = False
        self._hung_up = 0
        """So many connections in a row were of use for no mail."""

    async def step(self) -> float:
        """Send a batch; seconds until the next look."""
        tried = await self.send_due()
        # Else such a server would be called once for each of thousands of mails, as fast as it hangs up.
        pause = min(_LONGEST_PAUSE, 2.0 ** min(self._hung_up - 1, 10)) if self._hung_up else 0.0
        if tried == _BATCH and not pause:
            return 0.0
        return max(pause, await self._deliveries.next_look(idle=_IDLE))

    async def drain(self) -> None:
        """Send everything that is due; what must be tried again is left for later."""
        while await self.send_due():
            pass

    async def send_due(self) -> int:
        """Send what is due, a batch; how much was tried."""
        settings = self._settings()
        due = await self._deliveries.claim(_BATCH, enabled=settings.enabled)
        waiting = list(due)
        if not waiting:
            return 0
        is_let_in = is_of_use = False
        try:
            async with mail_server(settings) as server:
                is_let_in = True
                enough = self._clock.monotonic() + _LONGEST_BATCH
                while waiting and self._clock.monotonic() < enough:
                    await _to_its_end(self._attempt(server, waiting.pop(0)))
                    self._works(server=settings.host)
                    is_of_use = True
        except DeliveryError as error:
            self._is_broken(str(error), server=settings.host)
            self._hung_up += is_let_in and not is_of_use
            if not is_let_in:
                for leased in waiting:
                    await self._deliveries.retry(Delivery.of(leased), str(error))
                waiting.clear()
            # Else it may be about the one mail: those behind it are tried over another connection (I12).
        finally:
            # What was not tried is due for anybody.
            await self._deliveries.hand_back([leased.lease for leased in waiting])
        return len(due)

    async def _attempt(self, server: MailServer, leased: Leased) -> None:
        """Send one mail.

        Raises:
            DeliveryError: the connection is of no more use; that counts as an attempt of this mail.
        """
        broken: list[DeliveryError] = []

        async def work() -> None:
            try:
                await self._send(server, Delivery.of(leased))
            except DeliveryError as error:
                broken.append(error)
                await self._deliveries.retry(Delivery.of(leased), str(error))

        await self._deliveries.attempt(leased, work, within=_LONGEST_ITEM)
        for error in broken:
            raise error

    async def _send(self, server: MailServer, delivery: Delivery) -> None:
        envelope = Envelope.from_content(delivery.content)
        try:
            sent = await server.send(envelope, delivery.created_at)
        except DeliveryRefusedError as error:
            await self._deliveries.finish(delivery, DeliveryState.FAILED, str(error))
            return
        except DeliveryError as error:
            if not server.is_connected:
                raise
            await self._deliveries.retry(delivery, str(error))
            return
        if sent.refused:
            log.warning(Event.NOTICE_FAILED, channel="mail", task=delivery.task_pk, reason=sent.words)
        if sent.left:
            await self._deliveries.retry_rest(delivery, envelope.only_to(sent.left).to_content(), sent.words)
        else:
            await self._deliveries.finish(delivery, DeliveryState.DONE)

    def _works(self, *, server: str) -> None:
        if self._is_down:
            log.info(Event.MAIL_UP, server=server)
        self._is_down, self._hung_up = False, 0

    def _is_broken(self, reason: str, *, server: str) -> None:
        if not self._is_down:
            log.warning(Event.MAIL_DOWN, server=server, reason=reason)
        self._is_down = True


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Let a mail be handed over, however often we are cancelled meanwhile: it would come twice.

    A server that takes longer than ``_FINISHED_WITHIN`` from then on is not waited for: a stop has its time.
    """
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    ends_at: float | None = None
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=None if ends_at is None else max(0.0, ends_at - loop.time()))
            if ends_at is not None and loop.time() >= ends_at:
                # Not at each turn of the loop: what is tidied up on the way would be cut off, too.
                await cancel_surely(task)
        except asyncio.CancelledError:
            ends_at = ends_at or loop.time() + _FINISHED_WITHIN
    task.result()
    if ends_at is not None:
        raise asyncio.CancelledError

"""What senders of every channel do with their deliveries: claim them, settle them, try them again."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress

import structlog
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Connection, Database
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, LeaseLostError
from poddispatchd.notify import queue
from poddispatchd.notify.queue import Channel, Delivery, DeliveryState
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import DeliveryOutcome
from poddispatchd.runtime.lease_holder import LeaseHolder
from poddispatchd.runtime.lease_queue import Lease, Leased
from poddispatchd.runtime.queue_tables import DELIVERIES

log = structlog.get_logger(__name__)

_HELD_AT_ONCE = 20
"""Rows that can be found held before the others wait for the next time."""

_SWITCHED_OFF = "This is switched off by the configuration: what was queued for it is delivered to nobody."

_WRITTEN_AGAIN = 10.0
"""Seconds after which it is tried again to write down what is over."""


class _Over(Struct, frozen=True):
    """What came of a delivery: its ``state``; None: a part of it is ``left``, and to be tried again."""

    delivery: Delivery
    state: DeliveryState | None
    words: str | None
    left: Mapping[str, object] = {}


class Deliveries:
    """The deliveries of one channel, as its sender sees them; ``count`` takes every outcome."""

    def __init__(
        self,
        channel: Channel,
        *,
        database: Database,
        owner: str,
        clock: Clock,
        count: Callable[[DeliveryOutcome], None],
    ) -> None:
        self._channel = channel
        self._database = database
        self._clock = clock
        self._count = count
        self.leases = LeaseHolder(DELIVERIES, database, owner, clock)
        self._known: dict[object, _Over] = {}
        """What is over and not yet written: neither a lost database nor a row that somebody holds must make
        us deliver it again. Its lease is kept until then."""
        self._held: set[object] = set()
        """Those of it that could not be written: to wait a second for each of many is to do nothing else."""

    async def claim(self, limit: int, *, enabled: bool) -> list[Leased]:
        """What is due, in the order of its creation; nothing when the channel is switched off."""
        await self._write_known()
        if not enabled:
            async with self._database.connection() as connection:
                dropped = await queue.drop_open(connection, self._channel)
            if dropped:
                log.warning(
                    Event.NOTICE_DROPPED, channel=self._channel.value, rows=dropped, reason=_SWITCHED_OFF
                )
            for _ in range(dropped):
                self._count(DeliveryOutcome.DROPPED)
            return []
        due = await self.leases.claim(limit, only=[self._channel.value])
        # UPDATE ... RETURNING gives rows in no order.
        return sorted(due, key=lambda item: int(str(item.lease.key)))

    async def attempt(self, leased: Leased, work: Callable[[], Awaitable[None]], *, within: float) -> None:
        """Do one delivery's work (see ``LeaseHolder.attempt``), which settles it.

        Raises:
            DatabaseUnavailableError: the database is lost.
        """
        try:
            await self.leases.attempt(leased.lease, work, within=within, task=leased.row["task_pk"] or None)
        finally:
            if leased.lease.key in self._known:
                self.leases.hold(leased.lease)

    async def hand_back(self, leases: Collection[Lease]) -> None:
        """Nothing came of these, and they are due for anybody; what is over is written down, if it can be."""
        await self.leases.hand_back([lease for lease in leases if lease.key not in self._known])
        with suppress(DatabaseError):
            await self._write_known()

    async def next_look(self, *, idle: float) -> float:
        """Seconds until the next delivery is due, ``idle`` at most."""
        idle = min(idle, _WRITTEN_AGAIN) if self._known else idle
        return await self.leases.next_look(idle=idle, only=[self._channel.value])

    async def finish(
        self, delivery: Delivery, state: DeliveryState, error: str | None = None, *, is_told: bool = True
    ) -> None:
        """Close a delivery; tell and count it, unless its sender does."""
        self._known[delivery.lease.key] = _Over(delivery, state, error)
        if is_told:
            self._tell(delivery, state, error)
        await self._write(delivery.lease.key)

    def _tell(self, delivery: Delivery, state: DeliveryState, error: str | None) -> None:
        facts = {"channel": self._channel.value, "task": delivery.task_pk or None}
        match state:
            case DeliveryState.DONE:
                log.info(Event.NOTICE_SENT, **facts)
                self._count(DeliveryOutcome.SENT)
            case DeliveryState.DROPPED:
                log.info(Event.NOTICE_DROPPED, **facts, reason=error)
                self._count(DeliveryOutcome.DROPPED)
            case _:
                log.error(Event.NOTICE_FAILED, **facts, reason=error)
                self._count(DeliveryOutcome.FAILED)

    async def retry(self, delivery: Delivery, error: str, *, is_last: bool = False) -> None:
        """An attempt failed: try again later, or set it aside when this was the last one."""
        try:
            async with self._database.connection() as connection:
                seconds = await self._failed(connection, delivery.lease, error, is_last=is_last)
        except LeaseLostError:
            # Another daemon may have delivered it meanwhile: it is not told, nor counted, as failed.
            self.leases.tell_lost(delivery.lease, task=delivery.task_pk or None)
            return
        self._tell_failed(delivery, error, seconds)
        self.leases.let_go(delivery.lease)

    def _tell_failed(self, delivery: Delivery, error: str, seconds: float | None) -> None:
        facts = {"channel": self._channel.value, "task": delivery.task_pk or None, "reason": error}
        if seconds is None:
            log.error(Event.NOTICE_FAILED, **facts, attempts=delivery.attempts)
            self._count(DeliveryOutcome.FAILED)
        else:
            log.debug(Event.NOTICE_RETRIED, **facts)
            self._count(DeliveryOutcome.RETRIED)

    async def _failed(
        self, connection: Connection, lease: Lease, error: str, *, is_last: bool
    ) -> float | None:
        """Seconds until the next attempt; None when there is none.

        Raises:
            LeaseLostError: the lease was lost.
        """
        if not is_last:
            return await DELIVERIES.fail(connection, lease, error, random=self._clock.random)
        if not await DELIVERIES.set_aside(connection, lease, error):
            raise LeaseLostError
        return None

    async def postpone(self, delivery: Delivery, seconds: float, why: str) -> None:
        """Nothing was tried: look again after so many seconds."""
        async with self._database.connection() as connection:
            await DELIVERIES.postpone(connection, delivery.lease, seconds, words=why)
        self.leases.let_go(delivery.lease)

    async def retry_rest(self, delivery: Delivery, left: Mapping[str, object], error: str) -> None:
        """A part is delivered, and never again: only what is left is tried again."""
        self._known[delivery.lease.key] = _Over(delivery, None, error, left)
        await self._write(delivery.lease.key)

    async def _write_known(self) -> None:
        """Write down what is over, as far as nobody holds its rows (I12).

        Raises:
            DatabaseUnavailableError: the database is lost.
        """
        held = 0
        for known in list(self._known):
            if not await self._write(known):
                held += 1
            if held >= _HELD_AT_ONCE:
                return  # what was held now comes last the next time

    async def _write(self, known: object) -> bool:
        """Write down that one is over; False when that waits for the next time, and no other one for it.

        Raises:
            DatabaseUnavailableError: the database is lost.
        """
        if (over := self._known.get(known)) is None:
            return True
        delivery, words, seconds = over.delivery, over.words or "", None
        try:
            async with self._database.transaction(hurried=bool(self._held)) as connection:
                if over.state is not None:
                    await queue.close_delivery(connection, delivery, over.state, over.words)
                else:
                    await queue.keep_rest(connection, delivery, over.left)
                    seconds = await self._failed(connection, delivery.lease, words, is_last=False)
        except LeaseLostError:
            # A part of it is left, and whoever has it by now sends all of it.
            self.leases.tell_lost(delivery.lease, task=delivery.task_pk or None)
        except DatabaseUnavailableError:
            raise
        except DatabaseError as refused:
            if known not in self._held:
                log.warning(
                    Event.QUEUE_ITEM_POSTPONED,
                    queue=DELIVERIES.table.name,
                    item=str(known),
                    task=delivery.task_pk or None,
                    reason=str(refused),
                )
            self._held.add(known)
            self._known.pop(known, None)
            self._known[known] = over
            return False
        else:
            if over.state is None:
                self._tell_failed(delivery, words, seconds)
        self._known.pop(known, None)
        self._held.discard(known)
        self.leases.let_go(delivery.lease)
        return True

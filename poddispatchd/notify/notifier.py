"""Telling people what was imported and what failed: events become mail and pushes, tried until they succeed.

Nothing here decides about a task (invariant I6). No connection of the pool is held while a server is spoken
to (I1). Whether a mail arrived is not known when the connection is lost at the wrong moment: it is sent again
under the same message id, and never again once a server has said that it took it. What cannot be delivered is
set aside in the end, with its content, until a person has it tried again.
"""

from collections.abc import Callable, Collection

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.notify import queue
from poddispatchd.notify.mail import MailSender
from poddispatchd.notify.planner import Planner
from poddispatchd.notify.push import PushSender
from poddispatchd.notify.queue import Channel, QueuedEvent
from poddispatchd.runtime.lease_holder import LeaseHolder
from poddispatchd.runtime.lease_queue import Leased
from poddispatchd.runtime.queue_tables import NOTICES
from poddispatchd.runtime.wakeups import Wakeups

log = structlog.get_logger(__name__)

_IDLE = 600.0
_EVENTS = 50
_LONGEST_ITEM = 60.0
"""Seconds that finding out who is to be told of one event may take: a few statements."""


class Notifier:
    """Queues what follows from events; any number of daemons with the same settings do it side by side."""

    def __init__(
        self,
        *,
        database: Database,
        owner: str,
        clock: Clock,
        wakeups: Wakeups,
        planner: Planner,
        mail: MailSender,
        push: PushSender,
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._planner = planner
        self._leases = LeaseHolder(NOTICES, database, owner, clock)
        self.mail = mail
        self.push = push

    async def step(self) -> float:
        """Find out who is to be told of some events; seconds until the next look."""
        events = await self._leases.claim(_EVENTS)
        await self._leases.each(
            # In the order in which they happened: a claim gives none.
            sorted(events, key=lambda item: int(str(item.lease.key))),
            self._plan,
            within=_LONGEST_ITEM,
            task="task_pk",
        )
        if len(events) == _EVENTS:
            # A step is short, however many wait: the watchdog takes one that goes on for stuck.
            return 0.0
        return await self._leases.next_look(idle=_IDLE)

    async def drain(self) -> None:
        """Find out who is to be told of everything that has happened; ``mail`` and ``push`` tell them."""
        while await self.step() == 0.0:
            pass

    async def _plan(self, leased: Leased) -> None:
        notice = QueuedEvent.of(leased)
        planned = await self._planner.deliveries(notice)
        # Mostly nobody is to be told: one statement needs no transaction around it.
        async with self._database.transaction() if planned else self._database.connection() as connection:
            await queue.plan(connection, notice, planned)
        self._ring({channel for channel, _ in planned})

    def _ring(self, channels: Collection[Channel]) -> None:
        wakeups: dict[Channel, Callable[[], None]] = {
            Channel.MAIL: self._wakeups.mail.ring,
            Channel.PUSH: self._wakeups.push.ring,
            Channel.HOOK: self._wakeups.hooks.ring,
            Channel.EVENT: self._wakeups.events.ring,
        }
        for channel in channels:
            wakeups[channel]()

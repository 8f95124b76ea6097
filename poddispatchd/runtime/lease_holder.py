"""A worker's side of a lease queue: what it holds, how long, and what becomes of an item that fails."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Connection, Database
from poddispatchd.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    LeaseLostError,
    PoddispatchdError,
)
from poddispatchd.observability.events import Event
from poddispatchd.runtime.item_errors import is_held, is_to_blame, words_of
from poddispatchd.runtime.lease_queue import UNLIMITED, AtWork, Lease, Leased, LeaseQueue

log = structlog.get_logger(__name__)

_HELD = 2.0
"""Seconds that an item waits while another session holds a row that it needs."""

SOONEST = 0.1
"""Seconds between two looks at least: what is due now came meanwhile, and whoever added it rings."""

_WAIT = 10.0
_LONGEST_WAIT = 60.0
"""Seconds that an item waits when the database refuses what is no fault of the item's: the first number, and
at random up to the second besides."""


class LeaseHolder:
    """The items of one queue that this daemon is at.

    Their leases are renewed for as long as they are worked on, however long a server, a disk or a process
    takes. What was given up because the database was lost is given back as soon as it answers.
    """

    def __init__(self, queue: LeaseQueue, database: Database, owner: str, clock: Clock) -> None:
        self.queue = queue
        self._database = database
        self._owner = owner
        self._clock = clock
        self._held: dict[object, Lease] = {}
        self._sure_until: dict[object, float] = {}
        """Until when nobody else can have got what is held, on the monotonic clock."""
        self._abandoned: set[object] = set()
        self._renewing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._held)

    async def claim(
        self,
        limit: int,
        *,
        most_bytes: int = UNLIMITED,
        only: Collection[str] | None = None,
        held: Mapping[str, int] | None = None,
        share: int = UNLIMITED,
    ) -> list[Leased]:
        """Lease due items (see ``LeaseQueue.claim`` and ``AtWork``); each is to be let go of in the end."""
        async with self._database.connection() as connection:
            await self._give_back(connection)
            begun = self._clock.monotonic()
            # While the database was away no lease was renewed: ours look as if nobody were at them.
            at_work = AtWork(held or {}, share, list(self._held))
            items = await self.queue.claim(
                connection, self._owner, limit, most_bytes=most_bytes, only=only, at_work=at_work
            )
        for item in items:
            self.hold(item.lease)
            self._is_leased(item.lease.key, begun)
        return items

    async def next_look(self, *, idle: float, only: Collection[str] | None = None) -> float:
        """Seconds until the next item is due, ``idle`` at most; of these partitions, if any are named."""
        async with self._database.connection() as connection:
            # Not those that this daemon is at: ``claim`` does not give them, also when their leases ran out.
            due = await self.queue.next_due(connection, only=only, held=self._held)
        return idle if due is None else min(idle, max(due, SOONEST))

    def hold(self, lease: Lease) -> None:
        """Keep a lease that was claimed by ``claim``, for as long as it takes."""
        self._held[lease.key] = lease
        self._abandoned.discard(lease.key)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name=f"leases of {self.queue.table.name}")

    def surely_holds(self, key: object) -> bool:
        """Whether nobody else can have got an item yet: asked, from any thread, before what cannot be undone.

        A lease ends while a machine is frozen or cut off, and what it was amid goes on after that.
        """
        return self._clock.monotonic() < self._sure_until.get(key, float("-inf"))

    def _is_leased(self, key: object, begun: float) -> None:
        # A quarter less: what is begun before that has so long to end.
        self._sure_until[key] = begun + self.queue.table.lease_seconds * 3 / 4

    def let_go(self, lease: Lease) -> None:
        """This item is settled, postponed or given back: its lease is not renewed any more."""
        self._held.pop(lease.key, None)
        self._sure_until.pop(lease.key, None)
        if not self._held and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    def abandon(self, lease: Lease) -> None:
        """Nothing was tried, or nobody knows what came of it: give the lease back with the next claim.

        Also one that was let go of: what is settled, or another one's by then, stays as it is.
        """
        self._abandoned.add(lease.key)
        self.let_go(lease)

    async def hand_back(self, leases: Collection[Lease]) -> None:
        """Give leases back at once; without the database with the next claim."""
        for lease in leases:
            self.abandon(lease)
        if leases:
            with suppress(DatabaseError):
                async with self._database.connection() as connection:
                    await self._give_back(connection)

    async def stop(self) -> None:
        """Give back everything that this daemon holds."""
        for lease in tuple(self._held.values()):
            self.let_go(lease)
        async with self._database.connection() as connection:
            # By owner: also what a claim has leased whose answer did not arrive.
            await self.queue.release_owner(connection, self._owner)

    async def each(
        self,
        items: Iterable[Leased],
        work: Callable[[Leased], Awaitable[None]],
        *,
        within: float,
        task: str,
    ) -> None:
        """Do the work of items one after the other (see ``attempt``).

        Args:
            items: claimed ones.
            work: for one of them.
            within: seconds that one may take.
            task: the column that names the task in the log.

        Raises:
            DatabaseUnavailableError: the database is lost; what was not tried is given back later.
        """
        waiting = deque(items)
        try:
            while waiting:
                item = waiting.popleft()
                await self.attempt(item.lease, partial(work, item), within=within, task=item.row[task])
        finally:
            for item in waiting:
                self.abandon(item.lease)

    async def attempt(
        self, lease: Lease, work: Callable[[], Awaitable[None]], *, within: float, task: object
    ) -> None:
        """Do one item's work; whatever goes wrong in it ends this attempt of this item, and no more (I12).

        Args:
            lease: of the item; it is let go of.
            work: settles, postpones or gives back the item itself when all goes well.
            within: seconds that the item may take.
            task: names the task in the log.

        Raises:
            DatabaseUnavailableError: the database is lost; the lease is given back later.
        """
        try:
            async with asyncio.timeout(within):
                await work()
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self.abandon(lease)
            raise
        except Exception as error:  # noqa: BLE001 - one item must not stop the others; failed() tells of it
            await self._tell_failed(lease, error, within=within, task=task)
        finally:
            self.let_go(lease)

    async def _tell_failed(self, lease: Lease, error: Exception, *, within: float, task: object) -> None:
        try:
            await self.failed(lease, error, within=within, task=task)
        except DatabaseUnavailableError:
            self.abandon(lease)
            raise
        except LeaseLostError:
            self.tell_lost(lease, task=task)
        except DatabaseError as refused:
            # The item's own row is held, or refused: it is given back later, and the others have their turn.
            self.abandon(lease)
            log.warning(
                Event.QUEUE_ITEM_POSTPONED, queue=self.queue.table.name, item=str(lease.key), task=task,
                reason=str(refused),
            )  # fmt: skip

    def tell_lost(self, lease: Lease, *, task: object) -> None:
        """An attempt ended after its lease: nothing is said of the item, for it may well be settled."""
        self.let_go(lease)
        log.info(
            Event.QUEUE_ITEM_LEFT, queue=self.queue.table.name, item=str(lease.key), task=task,
            reason="Its lease had run out: another instance has it, or it is over.",
        )  # fmt: skip

    async def failed(self, lease: Lease, error: Exception, *, within: float, task: object) -> None:
        """An attempt ended in an error that its own work did not foresee: back off, or set the item aside.

        Raises:
            LeaseLostError: the lease was lost.
        """
        name = self.queue.table.name
        is_late = isinstance(error, TimeoutError)
        words = f"It took longer than {within:g} s." if is_late else words_of(error)
        if not is_to_blame(error):
            seconds = _HELD if is_held(error) else _WAIT + self._clock.random() * _LONGEST_WAIT
            async with self._database.connection() as connection:
                if not await self.queue.postpone(connection, lease, seconds, words=words):
                    raise LeaseLostError
            log.warning(
                Event.QUEUE_ITEM_POSTPONED, queue=name, item=str(lease.key), task=task, reason=words,
                in_seconds=round(seconds, 1),
            )  # fmt: skip
            return
        if lease.attempts == 1 and not (is_late or isinstance(error, PoddispatchdError)):
            # A traceback once for each item; the words of its later attempts say that it is the same.
            log.error(Event.SERVICE_CRASHED, queue=name, item=str(lease.key), task=task, exc_info=error)
        async with self._database.connection() as connection:
            seconds_left = await self.queue.fail(connection, lease, words, random=self._clock.random)
        if seconds_left is None:
            log.error(
                Event.QUEUE_ITEM_SET_ASIDE, queue=name, item=str(lease.key), task=task, reason=words,
                attempts=lease.attempts,
            )  # fmt: skip
        else:
            log.warning(
                Event.QUEUE_ITEM_FAILED, queue=name, item=str(lease.key), task=task, reason=words,
                attempts=lease.attempts, in_seconds=round(seconds_left, 1),
            )  # fmt: skip

    async def _give_back(self, connection: Connection) -> None:
        # Each by one claim alone: another one would give back what has been leased anew meanwhile.
        abandoned, self._abandoned = self._abandoned, set()
        if abandoned:
            try:
                await self.queue.release(connection, self._owner, abandoned)
            except BaseException:
                self._abandoned |= abandoned - self._held.keys()
                raise

    async def _renew(self) -> None:
        """Real seconds: a lease runs out by the database's clock."""
        while True:
            # Two renewals can fail: the third is in time, before another daemon may begin.
            await asyncio.sleep(self.queue.table.lease_seconds / 4)
            try:
                async with self._database.connection() as connection:
                    begun = self._clock.monotonic()
                    for key in await self.queue.renew(connection, self._owner, list(self._held)):
                        if key in self._held:
                            self._is_leased(key, begun)
            except DatabaseError:
                continue  # whoever works meets it as well, and tells
            except Exception:  # without renewals another daemon would begin the same
                log.exception(Event.SERVICE_CRASHED, job=f"leases of {self.queue.table.name}")

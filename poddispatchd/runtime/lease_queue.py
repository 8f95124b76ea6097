"""One queue in a table: items leased to one daemon at a time, tried with back-off, set aside when that fails.

Every queue of the journal works so: callbacks, imports, notices, deliveries, obsolete files. A lease runs by
the database's clock; who dies is waited for as long as a lease lasts, and no longer. An item that fails is
tried again after a growing random delay; after ``max_attempts`` it is set aside with its words, out of the
way of the others and in sight of people (invariant I12), who can have it tried again. What is set aside is
not lost: it is deleted together with what is settled, long after.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import asyncpg
from msgspec import Struct, field

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.errors import LeaseLostError
from poddispatchd.runtime.lease_table import QueueTable

_QUERIES = load_queries(__package__, "lease_queue.sql")

UNLIMITED = 2**31 - 1

LONGEST_WORDS = 2000
"""Characters of the words that are kept with an item."""


class Lease(Struct, frozen=True):
    """An item that is ours for a while; ``attempts`` counts this one."""

    key: object
    owner: str
    attempts: int


class Leased(Struct, frozen=True):
    """What a claim gives; ``age`` is in seconds by the database's clock, for ours may be days off."""

    lease: Lease
    row: asyncpg.Record
    age: float


class AtWork(Struct, frozen=True):
    """What a claimer is at already: partitions of fewer ``items`` come first; ``share`` bounds each.

    ``keys`` are those of its items: they are not given again, though their leases have run out.
    """

    items: Mapping[str, int] = field(default_factory=dict)
    share: int = UNLIMITED
    keys: Collection[object] = ()


class QueueFigures(Struct, frozen=True):
    """How a queue stands; ``oldest``: since when the oldest open item waits."""

    open: int
    leased: int
    set_aside: int
    oldest: datetime | None


class LateItems(Struct, frozen=True):
    """Items of a partition that failed before; ``age``, in seconds, and ``words`` are those of the oldest."""

    partition: str
    items: int
    age: float
    words: str


class SetAsideItem(Struct, frozen=True):
    """An item that was given up, as it is told to people; ``task`` is Pod's task, or the runner's."""

    key: str
    task: str | None
    attempts: int
    words: str
    created_at: datetime
    set_aside_at: datetime


class LeaseQueue:
    """A queue in one table."""

    def __init__(self, table: QueueTable) -> None:
        self.table = table
        places = table.places()
        self._sql = {name: query.fill(**places) for name, query in _QUERIES.items()}

    # --- a daemon at work --------------------------------------------------------------------------------

    async def claim(
        self,
        connection: Connection,
        owner: str,
        limit: int,
        *,
        most_bytes: int = UNLIMITED,
        only: Collection[str] | None = None,
        at_work: AtWork | None = None,
    ) -> list[Leased]:
        """Lease due items, in turn between partitions.

        Args:
            connection: any.
            owner: this instance.
            limit: how many at most.
            most_bytes: none besides those that have so many together.
            only: of these partitions, as text; None: of all.
            at_work: what the caller is at already; None: nothing.
        """
        busy = at_work or AtWork()
        rows = await connection.fetch(
            *self._sql["claim"](
                owner=owner,
                seconds=self.table.lease_seconds,
                limit=limit,
                most_bytes=most_bytes,
                partitions=None if only is None else list(only),
                held_partitions=list(busy.items),
                held_counts=list(busy.items.values()),
                share=busy.share,
                at_work=list(busy.keys),
            ),
        )
        return [Leased(Lease(row["key"], owner, row["attempts"]), row, row["age"]) for row in rows]

    async def renew(self, connection: Connection, owner: str, keys: Collection[object]) -> list[object]:
        """Keep these leases for another ``lease_seconds``; those that were kept."""
        rows = await connection.fetch(
            *self._sql["renew"](owner=owner, seconds=self.table.lease_seconds, keys=list(keys))
        )
        return [row["key"] for row in rows]

    async def holds(self, connection: Connection, lease: Lease) -> bool:
        """Whether the lease is still ours; in a transaction nobody else gets it until its end."""
        return bool(await connection.fetchval(*self._sql["holds"](key=lease.key, owner=lease.owner)))

    async def postpone(
        self,
        connection: Connection,
        lease: Lease,
        seconds: float,
        *,
        words: str | None = None,
        counts: bool = False,
    ) -> bool:
        """Give a lease back, due after so many seconds; False when it was lost.

        ``counts``: this was an attempt that failed.
        """
        kept = None if words is None else _storable(words)
        status = await connection.execute(
            *self._sql["postpone"](
                key=lease.key, owner=lease.owner, seconds=seconds, words=kept, counts=counts
            )
        )
        return status == "UPDATE 1"

    async def set_aside(self, connection: Connection, lease: Lease, words: str) -> bool:
        """Give an item up; False when the lease was lost."""
        status = await connection.execute(
            *self._sql["set_aside"](key=lease.key, owner=lease.owner, words=_storable(words))
        )
        return status == "UPDATE 1"

    async def fail(
        self, connection: Connection, lease: Lease, words: str, *, random: Callable[[], float]
    ) -> float | None:
        """An attempt failed: back off, or set the item aside when this was the last attempt.

        Returns:
            Seconds until the next attempt; None when there is none.

        Raises:
            LeaseLostError: what becomes of the item is told by whoever has it.
        """
        seconds = None
        if lease.attempts >= self.table.max_attempts:
            is_ours = await self.set_aside(connection, lease, words)
        else:
            seconds = self.table.backoff.delay(lease.attempts, random)
            is_ours = await self.postpone(connection, lease, seconds, words=words, counts=True)
        if not is_ours:
            raise LeaseLostError
        return seconds

    async def release(self, connection: Connection, owner: str, keys: Collection[object]) -> None:
        """Give leases back, due at once; nothing was tried."""
        await connection.execute(*self._sql["release"](owner=owner, keys=list(keys)))

    async def release_owner(self, connection: Connection, owner: str) -> None:
        """Give back every lease of an owner; nothing was tried."""
        await connection.execute(*self._sql["release_owner"](owner=owner))

    async def release_dead(self, connection: Connection, is_dead: Callable[[str], bool]) -> None:
        """Give back the leases of owners that have ended without a word."""
        for row in await connection.fetch(*self._sql["owners"]()):
            if is_dead(row["owner"]):
                await self.release_owner(connection, row["owner"])

    async def next_due(
        self, connection: Connection, *, only: Collection[str] | None = None, held: Collection[object] = ()
    ) -> float | None:
        """Seconds until the next item not ``held`` is due, 0 or less when it is; None when there is none."""
        named = None if only is None else list(only)
        query = self._sql["next_due"](partitions=named, at_work=list(held))
        seconds: float | None = await connection.fetchval(*query)
        return seconds

    # --- people ------------------------------------------------------------------------------------------

    async def figures(self, connection: Connection) -> QueueFigures:
        """How the queue stands."""
        row = await connection.fetchrow(*self._sql["figures"]())
        assert row is not None  # noqa: S101 - an aggregate without GROUP BY always has a row
        return QueueFigures(row["open"], row["leased"], row["set_aside"], row["oldest"])

    async def late(self, connection: Connection, *, after: float) -> list[LateItems]:
        """What has been tried in vain for longer than ``after`` seconds, and is tried again; by partition."""
        rows = await connection.fetch(*self._sql["late"](seconds=after))
        return [LateItems(**row) for row in rows]

    async def set_aside_items(self, connection: Connection, limit: int) -> list[SetAsideItem]:
        """What was given up, the latest first."""
        rows = await connection.fetch(*self._sql["set_aside_items"](limit=limit))
        return [SetAsideItem(**row) for row in rows]

    async def retry(self, connection: Connection, key: str) -> bool:
        """Try an item again that was set aside; False when there is none."""
        return await connection.execute(*self._sql["retry"](key=key)) == "UPDATE 1"

    async def dismiss(self, connection: Connection, key: str) -> bool:
        """Take an item that was set aside out of sight; False when there is none."""
        if self.table.dismissed is None:
            return await connection.execute(*self._sql["forget"](key=key)) == "DELETE 1"
        query = self._sql["dismiss"](key=key, state=self.table.dismissed)
        return await connection.execute(*query) == "UPDATE 1"

    async def purge(self, connection: Connection, *, days: int, batch: int) -> bool:
        """Forget ``batch`` items settled, or set aside, more than ``days`` ago; whether there may be more."""
        return await connection.execute(*self._sql["purge"](days=days, batch=batch)) == f"DELETE {batch}"


def _storable(words: str) -> str:
    """Words that PostgreSQL takes."""
    # Its texts hold no NUL, and in UTF-8 no surrogates that stand alone, as names of files may have.
    return words[:LONGEST_WORDS].replace("\0", "").encode(errors="replace").decode()

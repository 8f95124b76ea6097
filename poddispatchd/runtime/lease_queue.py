"""One queue in a table: items leased to one daemon at a time, tried with back-off, set aside when that fails.

Every queue of the journal works so: callbacks, imports, notices, deliveries, obsolete files. A lease runs by
the database's clock; who dies is waited for as long as a lease lasts, and no longer. An item that fails is
tried again after a growing random delay; after ``max_attempts`` it is set aside with its words, out of the
way of the others and in sight of people (invariant I12), who can have it tried again. What is set aside is
not lost: it is deleted together with what is settled, long after.
"""

import re
from collections.abc import Callable, Collection, Mapping

import asyncpg
from msgspec import Struct, field

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.domain.backoff import Backoff
from poddispatchd.errors import LeaseLostError
from poddispatchd.runtime.item_figures import LateItems, QueueFigures, SetAsideItem
from poddispatchd.runtime.longest_waits import longest_wait

_TEMPLATE = load_queries(__package__, "lease_queue.sql")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")

_COLUMNS = ("key", "partition", "task", "created_at", "settled_at", "lease_owner", "lease_expires_at")

UNLIMITED = 2**31 - 1

LONGEST_WORDS = 2000
"""Characters of the words that are kept with an item."""


class QueueTable(Struct, frozen=True):
    """A table of our schema as a queue.

    Attributes:
        name: of the table.
        payload: the columns that a claim gives besides the key and the attempts.
        partition: the column by which a claim takes turns.
        task: the column that names the task to people.
        lease_seconds: how long a lease lasts unless it is renewed.
        max_attempts: after so many failed attempts an item is set aside.
        backoff: the wait between them.
        key: the primary key.
        order: in which items of a partition are taken.
        created_at: since when an item waits.
        settled_at: when it was settled or set aside.
        lease_owner: who holds its lease.
        lease_expires_at: until when.
        size: SQL for the bytes of an item, by which a claim can be limited; its table is called ``item``.
        condition: SQL that decides whether a due item may be claimed at all; its table is called ``item``.
        dismissed: the state of an item that a person has seen to after it was set aside; None: it is deleted.
        content: the columns that are forgotten then.
        on_dismiss: SQL of what else that sets, with a comma behind it.
        longest_uncounted: the longest wait, in seconds, after an attempt that does not count.
        on_claim: SQL of what else a claim sets, with a comma behind it.
    """

    name: str
    payload: tuple[str, ...]
    partition: str
    task: str
    lease_seconds: float
    max_attempts: int
    backoff: Backoff
    key: str = "id"
    order: tuple[str, ...] = ("next_attempt_at", "id")
    created_at: str = "created_at"
    settled_at: str = "settled_at"
    lease_owner: str = "lease_owner"
    lease_expires_at: str = "lease_expires_at"
    size: str = "0"
    condition: str = "true"
    dismissed: str | None = None
    content: tuple[str, ...] = ()
    on_dismiss: str = ""
    longest_uncounted: float = 120.0
    on_claim: str = ""

    def statements(self) -> Mapping[str, Query]:
        """The statements of this queue, by name.

        Raises:
            ValueError: a name is no plain identifier.
        """
        places = {
            "table": self._quoted(self.name),
            "order": ", ".join(self._quoted(column) for column in self.order),
            "payload": ", ".join(f"item.{self._quoted(column)}" for column in self.payload),
            "size": self.size,
            "condition": f"({self.condition})",
            "on_claim": self.on_claim,
            "longest_wait": longest_wait(self.lease_seconds, self.longest_uncounted, self.backoff),
            "forgotten": self.on_dismiss
            + "".join(f"{self._quoted(column)} = NULL, " for column in self.content),
        }
        places |= {place: self._quoted(getattr(self, place)) for place in _COLUMNS}
        return {name: query.fill(**places) for name, query in _TEMPLATE.items()}

    def _quoted(self, identifier: str) -> str:
        if _IDENTIFIER.fullmatch(identifier) is None:
            raise ValueError(f"queue {self.name!r}: {identifier!r} is no plain identifier")
        return f'"{identifier}"'


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


class LeaseQueue:
    """A queue in one table."""

    def __init__(self, table: QueueTable) -> None:
        self.table = table
        self._sql = table.statements()

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

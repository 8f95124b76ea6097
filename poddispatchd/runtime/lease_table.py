"""A table of our schema as a lease queue: its columns, its limits, and what statements say of them."""

import re
from collections.abc import Mapping

from msgspec import Struct

from poddispatchd.domain.backoff import Backoff

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_COLUMNS = ("key", "partition", "task", "created_at", "settled_at", "lease_owner", "lease_expires_at")


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

    def places(self) -> Mapping[str, str]:
        """What stands at the places of ``lease_queue.sql`` for this table.

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
            "longest_wait": self._longest_wait,
            "forgotten": self.on_dismiss
            + "".join(f"{self._quoted(column)} = NULL, " for column in self.content),
        }
        return places | {place: self._quoted(getattr(self, place)) for place in _COLUMNS}

    def _quoted(self, identifier: str) -> str:
        if _IDENTIFIER.fullmatch(identifier) is None:
            raise ValueError(f"queue {self.name!r}: {identifier!r} is no plain identifier")
        return f'"{identifier}"'

    @property
    def _longest_wait(self) -> str:
        """SQL for a wait, or the rest of a lease, that no item with its attempts has been given.

        Where one would wait longer, the clock was set back. The table of the item is called ``item`` there.
        """
        # Whoever lives renews a lease several times meanwhile: after twice as many seconds another daemon may
        # take it for a dead one's.
        uncounted = max(2 * self.lease_seconds, self.longest_uncounted) + self.backoff.shortest
        base, cap = max(1.0, self.backoff.base), self.backoff.cap
        counted = f"least({cap}, {base} * power(2, least(item.attempts, 30)))"
        return f"make_interval(secs => {uncounted} + {counted})"

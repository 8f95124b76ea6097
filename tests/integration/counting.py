"""What some work costs the database, as the driver sends it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

_BOUNDS = ("BEGIN", "COMMIT", "ROLLBACK")
_WRITE = re.compile(r"\b(INSERT INTO|DELETE FROM|(?<!FOR )(?<!KEY )UPDATE) ")
"""But not what only locks rows."""


@dataclass(slots=True)
class Cost:
    """Statements besides those that begin and end transactions, and the transactions that write."""

    statements: list[str] = field(default_factory=list)
    transactions: int = 0

    def add(self, query: str, *, is_in_transaction: bool) -> None:
        """One more was sent."""
        words = query.upper()
        if not words.startswith(_BOUNDS):
            self.statements.append(query)
        if words.startswith("COMMIT") or (not is_in_transaction and _WRITE.search(words)):
            self.transactions += 1


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cost]:
    """Count what every connection of this process sends."""
    cost = Cost()
    connection_class = asyncpg.connection.Connection

    def counting(name: str) -> None:
        original = getattr(connection_class, name)

        async def sent(self: object, query: str, *arguments: object, **named: object) -> object:
            is_in_transaction = self.is_in_transaction()  # type: ignore[attr-defined]
            cost.add(query, is_in_transaction=is_in_transaction)
            return await original(self, query, *arguments, **named)

        patching.setattr(connection_class, name, sent)

    with monkeypatch.context() as patching:
        for name in ("fetch", "fetchrow", "fetchval", "execute"):
            counting(name)
        yield cost

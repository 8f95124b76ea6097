"""Statements that fail: each call of the database in a pass of some work, one after the other."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from types import TracebackType
from typing import Any

import pytest

from poddispatchd.database.connections import GuardedConnection, GuardedTransaction
from poddispatchd.errors import DatabaseError, DatabaseStateError, DatabaseUnavailableError, RowLockedError

_STATEMENTS = ("execute", "fetch", "fetchrow", "fetchval")


class Failure(Enum):
    """How a call fails."""

    LOST = auto()
    """The connection was lost before the server had heard of it."""
    ANSWER_LOST = auto()
    """It was carried out, and the connection lost with the answer."""
    HELD = auto()
    """Somebody else holds the row."""
    READ_ONLY = auto()
    """The server takes no change just now."""
    REFUSED = auto()
    """The server refuses it for a reason that nobody knows, as a trigger of the site does."""
    CANCELLED = auto()
    """The daemon stops at this moment."""

    @property
    def error(self) -> DatabaseError:
        """What the caller gets."""
        match self:
            case Failure.HELD:
                return RowLockedError("A row is held by another database session.")
            case Failure.READ_ONLY:
                return DatabaseStateError("The database is read-only.")
            case Failure.REFUSED:
                return DatabaseError("The database refuses a statement.")
            case _:
                return DatabaseUnavailableError("The database cannot be reached: the connection is lost.")


class Failing:
    """The n-th call fails, and no other one.

    ``met``: whether there were so many. ``work`` is cancelled instead where the daemon is to stop then.
    """

    def __init__(self, nth: int, failure: Failure, work: "asyncio.Future[None]") -> None:
        self._nth = nth
        self._failure = failure
        self._work = work
        self._calls = itertools.count(1)
        self.met = False

    async def __call__(self, carry_out: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - of any statement
        """Carry out a call, or have it fail."""
        if next(self._calls) != self._nth:
            return await carry_out()
        self.met = True
        match self._failure:
            case Failure.CANCELLED:
                self._work.cancel()
                return await carry_out()
            case Failure.ANSWER_LOST:
                await carry_out()
        raise self._failure.error


@asynccontextmanager
async def failing(
    monkeypatch: pytest.MonkeyPatch, nth: int, failure: Failure, work: "asyncio.Future[None]"
) -> AsyncIterator[Failing]:
    """Have the n-th call of some work fail until the end of the block; a commit is a call, too."""
    fails = Failing(nth, failure, work)

    def statement(name: str) -> Callable[..., Awaitable[object]]:
        real = getattr(GuardedConnection, name)

        async def call(self: GuardedConnection, *arguments: object) -> object:
            return await fails(lambda: real(self, *arguments))

        return call

    leave = GuardedTransaction.__aexit__

    async def commit(
        self: GuardedTransaction,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            await leave(self, kind, error, trace)
            return
        try:
            await fails(lambda: leave(self, None, None, None))
        except DatabaseError:
            if self._raw is not None and failure is not Failure.ANSWER_LOST:
                await self._raw.rollback()
            raise

    with monkeypatch.context() as patch:
        for name in _STATEMENTS:
            patch.setattr(GuardedConnection, name, statement(name))
        patch.setattr(GuardedTransaction, "__aexit__", commit)
        yield fails


def in_turn(failures: Sequence[Failure], nth: int, *, thorough: bool) -> Sequence[Failure]:
    """The failures of the n-th call: all of them, or one after the other."""
    return failures if thorough else [failures[nth // 3 % len(failures)]]

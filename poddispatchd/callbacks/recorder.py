"""Committing callbacks: all that wait are recorded by one statement and answered after its commit."""

import asyncio
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.answer_deadline import ANSWER_WITHIN, within
from poddispatchd.callbacks.inbox import Entry
from poddispatchd.callbacks.rate_limits import stored_size
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, PoddispatchdError

_MOST_TOGETHER = 200
_MOST_BYTES_TOGETHER = 4 * 2**20
"""Of one statement; one larger callback goes alone."""

_MOST_WAITING = 64 * 2**20
"""Bytes that may wait for a statement; of more, a manager is told to call again."""


_LEAST = 0.25
"""Of ``ANSWER_WITHIN``, for a statement in any case: who has waited long spoils nothing for others."""


class _Waiting(Struct, frozen=True):
    entry: Entry
    size: int
    until: float
    recorded: "asyncio.Future[bool]"


class Recorder:
    """Puts callbacks into the inbox, one statement after the other (invariant I3).

    What arrives in one turn of the event loop, or while a statement runs, goes into the next one: under load
    a commit serves many callbacks, and an idle daemon keeps nobody waiting.
    """

    def __init__(self, database: Database, *, answer_within: float = ANSWER_WITHIN) -> None:
        self._database = database
        self._answer_within = answer_within
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._work: asyncio.Task[None] | None = None
        self.statements = 0

    async def record(self, entry: Entry) -> bool:
        """Record a callback; False: it concerns no task that is known without a search, nothing is recorded.

        Raises:
            DatabaseUnavailableError: it cannot be recorded now, or not in time for an answer.
            DatabaseError: the database refuses it.
        """
        size = stored_size(entry.callback)
        if self._bytes + size > _MOST_WAITING and self._waiting:
            raise DatabaseUnavailableError("Too many callbacks wait for the database.")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(entry, size, loop.time() + self._answer_within, loop.create_future())
        self._waiting.append(waiting)
        self._bytes += size
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="callback recorder")
        return await waiting.recorded

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._commit(self._next_batch())
        finally:
            self._work = None
            # Only when this task is cancelled is anything left: nobody is kept waiting for it.
            while self._waiting:
                _refuse(self._drop_first(), DatabaseUnavailableError())

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < _MOST_TOGETHER:
            size += self._waiting[0].size
            if batch and size > _MOST_BYTES_TOGETHER:
                break
            batch.append(self._drop_first())
        return batch

    def _drop_first(self) -> _Waiting:
        first = self._waiting.popleft()
        self._bytes -= first.size
        return first

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        now = asyncio.get_running_loop().time()
        for waiting in batch:
            if waiting.until <= now:
                _refuse(waiting, DatabaseUnavailableError("The database is too slow to record the callback."))
        batch = [waiting for waiting in batch if not waiting.recorded.done()]  # some have gone, too
        if not batch:
            return
        # The first has waited longest: one limit for all of them is cheaper than a timer for each.
        try:
            await within(max(batch[0].until - now, _LEAST * self._answer_within), self._insert(batch))
        except DatabaseUnavailableError as error:
            for waiting in batch:
                _refuse(waiting, error)
        except DatabaseError as error:
            if len(batch) == 1:
                _refuse(batch[0], error)
                return
            # One of them is refused by the database: the others must not suffer for it.
            for waiting in batch:
                await self._commit([waiting])
        except Exception:
            for waiting in batch:
                _refuse(waiting, PoddispatchdError("The callback could not be recorded."))
            raise
        finally:
            # Whatever ended it, also while they were tried one by one: nobody waits for ever (I12).
            for waiting in batch:
                _refuse(waiting, DatabaseUnavailableError())

    async def _insert(self, batch: Sequence[_Waiting]) -> None:
        self.statements += 1
        async with self._database.connection() as connection:
            recorded = await inbox.record_all(connection, [waiting.entry for waiting in batch])
            # Nobody waits until the connection is given back.
            for waiting, is_recorded in zip(batch, recorded, strict=True):
                if not waiting.recorded.done():
                    waiting.recorded.set_result(is_recorded)


def _refuse(waiting: _Waiting, error: PoddispatchdError) -> None:
    if not waiting.recorded.done():
        waiting.recorded.set_exception(error)

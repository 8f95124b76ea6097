"""Committing callbacks: all that wait are recorded by one statement and answered after its commit."""

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog
from msgspec import Struct

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.answer_deadline import ANSWER_WITHIN, within
from poddispatchd.callbacks.inbox import Entry
from poddispatchd.callbacks.rate_limits import stored_size
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, PoddispatchdError
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

_MOST_TOGETHER = 200
_MOST_BYTES_TOGETHER = 4 * 2**20
"""Of one statement; one larger callback goes alone."""

_MOST_WAITING = 64 * 2**20
"""Bytes that may wait for a statement; of more, a manager is told to call again."""

_STATEMENTS_AT_ONCE = 2
"""While one is brought to the disk, or waits for another session, the other is carried out."""

_LEAST = 0.25
"""Of ``ANSWER_WITHIN``, for a statement in any case: who has waited long spoils nothing for others."""


class _Waiting(Struct, frozen=True):
    entry: Entry
    size: int
    until: float
    recorded: "asyncio.Future[bool]"


class Recorder:
    """Puts callbacks into the inbox, a few statements at once (invariant I3).

    What arrives in one turn of the event loop, or while statements run, goes into the next one: under load
    a commit serves many callbacks, and an idle daemon keeps nobody waiting. While one is brought to the disk,
    the next is on its way; one that hangs keeps only those waiting that are in it (invariant I12).

    Of each task, one statement runs at a time: its callbacks are recorded in the order of their arrival.
    """

    def __init__(self, database: Database, *, answer_within: float = ANSWER_WITHIN) -> None:
        self._database = database
        self._answer_within = answer_within
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._work: set[asyncio.Task[None]] = set()
        self._in_statements: set[RunnerTaskId] = set()
        """Tasks whose callbacks are in statements that run."""
        self.statements = 0

    async def record(self, entry: Entry) -> bool:
        """Record a callback; False: it concerns no task that is known without a search, nothing is recorded.

        Raises:
            DatabaseUnavailableError: it cannot be recorded now, or not in time for an answer.
            DatabaseError: the database refuses it.
        """
        size = stored_size(entry.callback)
        # One that waits alone is taken, however large: ``webhook.max_body`` has bounded it.
        if self._bytes + size > _MOST_WAITING and self._waiting:
            raise DatabaseUnavailableError("Too many callbacks wait for the database.")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(entry, size, loop.time() + self._answer_within, loop.create_future())
        self._waiting.append(waiting)
        self._bytes += size
        self._begin()
        return await waiting.recorded

    def _begin(self) -> None:
        if len(self._work) < _STATEMENTS_AT_ONCE:
            work = asyncio.create_task(self._run(), name="callback recorder")
            self._work.add(work)
            work.add_done_callback(self._ended)

    async def _run(self) -> None:
        while batch := self._next_batch():
            tasks = {waiting.entry.callback.task_id for waiting in batch}
            self._in_statements |= tasks
            try:
                await self._commit(batch)
            finally:
                self._in_statements -= tasks

    def _ended(self, work: "asyncio.Task[None]") -> None:
        self._work.discard(work)
        if work.cancelled() or work.exception() is not None:
            if not work.cancelled():
                log.error(Event.SERVICE_CRASHED, job="callback recorder", exc_info=work.exception())
            # Nobody is kept waiting for it.
            while self._waiting and not self._work:
                self._bytes -= self._waiting[0].size
                _refuse(self._waiting.popleft(), DatabaseUnavailableError())
        elif any(self._can_go(waiting) for waiting in self._waiting):
            # It came between the last look and this moment.
            self._begin()

    def _can_go(self, waiting: _Waiting) -> bool:
        return waiting.entry.callback.task_id not in self._in_statements

    def _next_batch(self) -> list[_Waiting]:
        """The first that wait, without those whose tasks are in statements that run."""
        batch: list[_Waiting] = []
        later: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < _MOST_TOGETHER:
            first = self._waiting.popleft()
            if not self._can_go(first):
                later.append(first)
                continue
            size += first.size
            if batch and size > _MOST_BYTES_TOGETHER:
                later.append(first)
                break
            batch.append(first)
            self._bytes -= first.size
        # Back to the front, in their order: they came before all that still wait.
        self._waiting.extendleft(reversed(later))
        return batch

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

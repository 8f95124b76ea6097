"""One statement, or one transaction, for all that wait for one: many cost little more than one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from poddispatchd.errors import DatabaseUnavailableError, MediaSlowError

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Batcher(Generic[_In, _Out]):
    """Hands what comes in while one batch is worked on to the next batch, all together.

    What comes alone goes alone, and waits for no other. One that spoils a batch does not spoil the others
    (I12): after a refused statement, or an error that nobody foresaw, each of the batch is tried by itself,
    beside the next batch.

    Args:
        work: carries out one batch and gives one result for each member, in their order.
        limit: members of a batch at most.
        at_once: batches that are worked on side by side.
        after: is waited for before each batch: what goes before it.
    """

    def __init__(
        self,
        work: Callable[[Sequence[_In]], Awaitable[Sequence[_Out]]],
        *,
        limit: int = 100,
        at_once: int = 1,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._work = work
        self._limit = limit
        self._waiting: list[tuple[_In, asyncio.Future[_Out]]] = []
        self._at_once = at_once
        self._after = after
        self._workers: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or is carried out."""
        return not (self._waiting or self._workers or self._alone)

    async def put(self, item: _In, *, alone: bool = False) -> _Out:
        """Have an item worked on; ``alone`` in a batch of its own, beside the others: it made trouble before.

        Whoever is cancelled while it waits leaves the batch; what has begun is carried out all the same.

        Raises:
            DatabaseUnavailableError: the database went away; whether it was carried out is not known.
            DatabaseError: the database refuses this very item.
            MediaSlowError: the file system does not answer.
        """
        future: asyncio.Future[_Out] = asyncio.get_running_loop().create_future()
        if alone:
            self._begin_alone(item, future)
        else:
            self._waiting.append((item, future))
            if len(self._workers) < self._at_once:
                self._workers.add(asyncio.create_task(self._run(), name="batch"))
        return await future

    async def _run(self) -> None:
        worker = asyncio.current_task()
        try:
            while self._waiting:
                if self._after is not None:
                    await self._after()
                # After that wait: whoever came meanwhile goes along.
                group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._carry_out([member for member in group if not member[1].done()])
        finally:
            # In the same turn of the loop in which nobody was found waiting: whoever comes next begins anew.
            self._workers = {other for other in self._workers if other is not worker}

    async def _carry_out(self, group: Sequence[tuple[_In, asyncio.Future[_Out]]]) -> None:
        if not group:
            return
        try:
            results = await self._work([item for item, _ in group])
            answered = list(zip(group, results, strict=True))
        # Tried one by one, each would meet the same, and wait for it as long.
        except (DatabaseUnavailableError, MediaSlowError) as error:
            _fail(group, error)
        except asyncio.CancelledError:
            for _, future in group:
                future.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 - whoever waits must learn of it, whatever it is
            if len(group) == 1:
                _fail(group, error)
            else:
                for item, future in group:
                    self._begin_alone(item, future)
        else:
            for (_, future), result in answered:
                if not future.done():
                    future.set_result(result)

    def _begin_alone(self, item: _In, future: "asyncio.Future[_Out]") -> None:
        task = asyncio.create_task(self._carry_out([(item, future)]), name="batch of one")
        # The event loop itself keeps weak references to its tasks only.
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)


def _fail(group: Sequence[tuple[_In, "asyncio.Future[_Out]"]], error: BaseException) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)

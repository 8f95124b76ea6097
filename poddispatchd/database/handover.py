"""From whoever gives something back to whoever waits for it, without a way through anything else."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Handover(Generic[_T]):
    """Those who wait, in the order in which they came.

    Args:
        unwanted: is given what came in the moment in which the one who waited for it gave up.
    """

    def __init__(self, unwanted: Callable[[_T], None]) -> None:
        self._unwanted = unwanted
        self._waiting: deque[asyncio.Future[_T | None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, until: float) -> _T | None:
        """The next one that is given back; None: it is to be looked for elsewhere.

        Raises:
            TimeoutError: none was, until this moment of the event loop's clock.
        """
        turn: asyncio.Future[_T | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(until):
                return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it came in the same moment
                item = turn.result()
                if item is None:
                    self.give(None)
                else:
                    self._unwanted(item)
            raise

    def give(self, item: _T | None) -> bool:
        """Whether somebody waits, and has it now; None has them look elsewhere."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(item)
                return True
        return False

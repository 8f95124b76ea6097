"""Reading the body of a request whose sender is known: bounded in size, time and memory."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from aiohttp import web

from poddispatchd.errors import CallbackRefusedError

SMALL = 2**16
"""A body of so many bytes is read without asking for memory: connections are counted anyway."""

_ALL = 64 * 2**20
"""Bytes of all bodies that are being read or worked on."""

_OF_ONE = 24 * 2**20
"""Of these, of one runner manager: another one finds room beside it."""

_TURN_SECONDS = 5.0
"""How long a body waits for memory; then its manager is told to call again."""

_AGAIN = 30.0


_DRAINED = (32 * 2**20, 5.0)
"""Bytes, and seconds, of a body nobody wants that are thrown away: the answer could be lost with a reset
connection."""


class BodyMemory:
    """Memory for large bodies, given out in the order in which it is asked for."""

    def __init__(self, *, most: int = _ALL, of_one: int = _OF_ONE) -> None:
        self._most = most
        self._of_one = of_one
        self._used: Counter[Hashable] = Counter()
        self._queue: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def room(self, size: int, whose: Hashable) -> AsyncIterator[None]:
        """Keep so many bytes for one body until the end of the block.

        Raises:
            CallbackRefusedError: 503: there is no room, and none came free.
        """
        if size <= SMALL:
            yield
            return
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                while not self._fits(size, whose):
                    await self._turn()
        except TimeoutError:
            raise CallbackRefusedError(503, "Try again later.", retry_after=_AGAIN) from None
        self._used[whose] += size
        try:
            yield
        finally:
            self._used[whose] -= size
            if self._used[whose] <= 0:
                del self._used[whose]
            # All look again, in their order: what is too large for now does not hold up the others.
            while self._queue:
                turn = self._queue.popleft()
                if not turn.done():
                    turn.set_result(None)

    async def _turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        finally:
            if turn in self._queue:
                self._queue.remove(turn)

    def _fits(self, size: int, whose: Hashable) -> bool:
        used, own = self._used.total(), self._used[whose]
        # One alone always fits: its size is bounded by ``webhook.max_body``, whatever these limits are.
        return (own == 0 or own + size <= self._of_one) and (used == 0 or used + size <= self._most)


async def read_body(request: web.BaseRequest, *, most: int, seconds: float) -> bytes:
    """The whole body, as it came: nothing is unpacked.

    Raises:
        CallbackRefusedError: it is too large, too slow, or did not arrive whole.
    """
    body = bytearray()
    if (
        request.content.is_eof()
        and request.content.total_bytes <= most
        and request.content.exception() is None
    ):
        return request.content.read_nowait()  # it is all here: there is nothing to wait for
    try:
        async with asyncio.timeout(seconds):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    raise CallbackRefusedError(413, "The callback is larger than webhook.max_body.")
    except TimeoutError:
        raise CallbackRefusedError(408, "The callback did not arrive in time.") from None
    except (web.HTTPException, web.RequestPayloadError, web.PayloadAccessError, OSError, RuntimeError):
        # A RuntimeError: the connection is closed.
        raise CallbackRefusedError(400, "Invalid request.") from None
    return bytes(body)


async def drain(request: web.BaseRequest) -> None:
    """Throw away a part of a body, which nobody looks at."""
    left, seconds = _DRAINED
    try:
        async with asyncio.timeout(seconds):
            while left > 0 and not request.content.is_eof():
                left -= len(await request.content.readany())
    except (TimeoutError, OSError, RuntimeError, web.RequestPayloadError, web.PayloadAccessError):
        return  # a RuntimeError: the connection is closed

"""Threads for the media tree alone: a file system that hangs holds up nothing but the work on it.

The event loop's own pool is not used: it has a few threads, which others need. These threads are daemons,
and few: what hangs in one of them keeps neither the loop nor the end of the process waiting.
"""

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import TypeVar

from msgspec import Struct, field

from poddispatchd.errors import MediaSlowError
from poddispatchd.pod.media.thread_pool import Pool, nothing

T = TypeVar("T")

_MOST_LOOKS = 16
"""Threads for looks: more than there are kinds, so that none waits for one of another kind."""

_MOST_WORK = 32
"""Threads for imports and deletions: two of each import, and some."""

_MOST_TURNS = 300  # that are remembered: those at which nobody is make room
_MOST_PLACES = 4
"""Places of one kind of look that may hang, each with a thread; a further one is not looked at."""

_MOST_LEFT_BEHIND = 4
"""Looks that may hang although the file system answers others: each keeps a thread until it ends."""


class Look(StrEnum):
    """What is looked at; one look of each kind and place at a time, and so at most one that hangs."""

    SOURCE = "source file"
    SIZE = "sizes of source files"
    LOG = "encoding.log"
    SPACE = "free space"
    TREE = "known files"
    ACCESS = "access"
    LEFTOVERS = "staging directories"
    OPENCAST = "studio files"
    LOCKS = "lock files"


class _Turn(Struct):
    """Whose turn it is to look at something of one kind at one place.

    ``when_late`` is called when a look that was left behind ends after all.
    """

    when_late: Callable[[], None]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    overdue_at: float = float("inf")
    is_left_behind: bool = False

    def end(self, answer: "asyncio.Future[T]") -> None:
        _seen(answer)
        self.overdue_at = float("inf")
        if self.is_left_behind:
            self.when_late()
        self.lock.release()


class FileCalls:
    """The work of one import, or of one deletion: what of it still goes on, and what hangs."""

    def __init__(self) -> None:
        self._going: set[asyncio.Future[object]] = set()
        self._hanging: set[asyncio.Future[object]] = set()
        self._when_idle: list[Callable[[], None]] = []

    @property
    def hangs(self) -> bool:
        """Whether something took longer than its limit, and goes on."""
        return bool(self._hanging)

    def begin(self, answer: "asyncio.Future[T]") -> None:
        """Something goes on from now on until the future is done."""
        self._going.add(answer)  # type: ignore[arg-type] # whatever it ends with
        answer.add_done_callback(self._ended)

    def hang(self, answer: "asyncio.Future[T]") -> None:
        """It takes longer than its limit."""
        if not answer.done():
            self._hanging.add(answer)  # type: ignore[arg-type] # whatever it ends with

    def when_idle(self, then: Callable[[], None]) -> None:
        """Have something done as soon as nothing goes on any more, which may be at once."""
        if self._going:
            self._when_idle.append(then)
        else:
            then()

    def _ended(self, answer: "asyncio.Future[T]") -> None:
        _seen(answer)
        self._going.discard(answer)
        self._hanging.discard(answer)
        if not self._going:
            waiting, self._when_idle = self._when_idle, []
            for then in waiting:
                then()


class MediaThreads:
    """Runs what touches the media tree, each call with a limit of time."""

    def __init__(self) -> None:
        self._looks = Pool("media look", _MOST_LOOKS)
        self._work = Pool("media work", _MOST_WORK)
        self._turns: dict[tuple[Look, str], _Turn] = {}
        self._proof = float("-inf")
        """When the last look began that was answered."""
        self._left_behind = 0

    async def look(self, kind: Look, function: Callable[[], T], *, limit: float, place: str = "") -> T:
        """What a function says that only looks; one at a time of each kind and place.

        A look that is given up or cancelled goes on in its thread, and no other of its kind begins at its
        place meanwhile, unless a later look at something else is answered: then it hangs for a reason of its
        own, as on a mount that has been replaced, and is left behind.

        Raises:
            MediaSlowError: it took longer than ``limit`` seconds, its turn included, or an earlier one still
                does; or the system gives no thread.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        turn = self._turn(kind, place, begun)
        if begun >= turn.overdue_at:
            raise MediaSlowError(f"MEDIA_ROOT still does not answer ({kind}).")
        too_slow = f"MEDIA_ROOT did not answer within {limit:g} seconds ({kind})."
        try:
            async with asyncio.timeout(limit):
                await turn.lock.acquire()
        except TimeoutError:
            raise MediaSlowError(too_slow) from None
        try:
            answer = _start(self._looks, function)
        except MediaSlowError:
            turn.lock.release()
            raise
        turn.overdue_at = loop.time() + limit
        answer.add_done_callback(turn.end)
        done, _ = await asyncio.wait({answer}, timeout=max(0.0, begun + limit - loop.time()))
        if not done:
            # It is not waited for any more: the time that passed before it began is a part of its limit.
            turn.overdue_at = min(turn.overdue_at, loop.time())
            raise MediaSlowError(too_slow)
        # By its begin: only a look that began after the other one was overdue proves anything about that.
        self._proof = max(self._proof, begun)
        return answer.result()

    def _turn(self, kind: Look, place: str, now: float) -> _Turn:
        """The turn of a kind at a place: a new one when the look that hangs there is left behind.

        Raises:
            MediaSlowError: looks of this kind hang at too many places.
        """
        turn = self._turns.get((kind, place))
        if turn is not None and self._proof > turn.overdue_at and self._left_behind < _MOST_LEFT_BEHIND:
            # It hangs, and something else was answered meanwhile.
            self._left_behind += 1
            turn.is_left_behind = True
            turn = None
        if turn is None:
            hanging = [of for (of, _), known in self._turns.items() if now >= known.overdue_at]
            if hanging.count(kind) >= _MOST_PLACES:
                raise MediaSlowError(f"MEDIA_ROOT still does not answer ({kind}).")
            if len(self._turns) >= _MOST_TURNS:
                self._turns = {key: known for key, known in self._turns.items() if known.lock.locked()}
            turn = self._turns[kind, place] = _Turn(when_late=self._came_back)
        return turn

    def _came_back(self) -> None:
        self._left_behind -= 1

    async def run(self, calls: FileCalls, function: Callable[[], T], *, limit: float) -> T:
        """What a function returns that may change something.

        One that is given up or cancelled goes on in its thread; ``calls`` know of it.

        Raises:
            MediaSlowError: it took longer than ``limit`` seconds, or another of the calls still does; or the
                system gives no thread.
        """
        if calls.hangs:
            raise MediaSlowError("MEDIA_ROOT still does not answer.")
        answer = _start(self._work, function)
        calls.begin(answer)
        done, _ = await asyncio.wait({answer}, timeout=limit)
        if not done:
            calls.hang(answer)
            raise MediaSlowError(f"MEDIA_ROOT did not answer within {limit:g} seconds.")
        return answer.result()

    def later(self, function: Callable[[], object]) -> None:
        """Have something done in a thread, whose end and whose errors nobody waits for."""

        def job() -> Callable[[], object]:
            with suppress(OSError):
                function()
            return nothing

        self._work.submit(job, is_waited_for=False)


def _start(pool: Pool, function: Callable[[], T]) -> "asyncio.Future[T]":
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def job() -> Callable[[], object]:
        try:
            result = context.run(function)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            return partial(_tell, loop, _fail, answer, error)
        return partial(_tell, loop, _succeed, answer, result)

    pool.submit(job)
    return answer


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[..., None], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell, *arguments)


def _succeed(answer: "asyncio.Future[T]", result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[T]", error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _seen(answer: "asyncio.Future[T]") -> None:
    """What nobody waits for any more must not be logged as an error that nobody looked at."""
    if not answer.cancelled():
        answer.exception()

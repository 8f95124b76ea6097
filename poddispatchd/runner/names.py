"""Looking up the names of hosts: one whose name servers do not answer holds up no other one (invariant I12).

The system's lookup blocks for half a minute then, and cannot be broken off. In the event loop's own pool,
of a few threads, such names keep everybody else from being connected to, the database too, and the process
from ending. So each name that is looked up has a thread of its own, a daemon, and one at a time.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, TypeAlias, TypeVar

_MOST = 64
"""Names that are looked up at the same moment; the next ones wait."""

_R = TypeVar("_R")

_Found: TypeAlias = Sequence[tuple[Any, ...]]
"""What ``socket.getaddrinfo`` gives."""


class NamesLoop(asyncio.SelectorEventLoop):
    """An event loop whose lookups of names wait for nothing else, and nothing else for them."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[tuple[object, ...], asyncio.Future[_Found]] = {}
        """By what is asked: who asks for the same waits for the same answer."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._threads = 0

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as above
        proto: int = 0,
        flags: int = 0,
    ) -> _Found:
        """The addresses of a host.

        Raises:
            OSError: it has none, or that cannot be found out.
        """
        question = host, port, family, type, proto, flags
        found = self._asked.get(question)
        if found is None:
            found = self._asked[question] = self.create_future()
            # Whoever asked may have gone by then: an error that nobody hears is none of a bug.
            found.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._waiting.append(lambda: self._begin(question, found))
            self._begin_next()
        return await asyncio.shield(found)

    def looks_up(self, host: str) -> bool:
        """Whether the addresses of a host are being looked up."""
        return any(question[0] == host for question in self._asked)

    def _begin_next(self) -> None:
        while self._waiting and self._threads < _MOST:
            self._waiting.popleft()()

    def _begin(self, question: tuple[Any, ...], found: "asyncio.Future[_Found]") -> None:
        self._threads += 1

        def look() -> None:
            try:
                answer: _Found | Exception = socket.getaddrinfo(*question)
            except Exception as error:  # noqa: BLE001 - it is whoever's who asks
                answer = error
            try:
                self.call_soon_threadsafe(self._end, question, found, answer)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        try:
            Thread(target=look, name="name of a host", daemon=True).start()
        except RuntimeError:  # the system gives no thread
            self._end(question, found, socket.gaierror(socket.EAI_AGAIN, "no thread to look it up"))

    def _end(
        self, question: tuple[object, ...], found: "asyncio.Future[_Found]", answer: "_Found | Exception"
    ) -> None:
        self._threads -= 1
        del self._asked[question]
        if isinstance(answer, Exception):
            found.set_exception(answer)
        else:
            found.set_result(answer)
        self._begin_next()


def looks_up(host: str | None) -> bool:
    """Whether the running event loop still looks a host up."""
    loop = asyncio.get_running_loop()
    return host is not None and isinstance(loop, NamesLoop) and loop.looks_up(host)

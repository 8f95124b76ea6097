"""Looking up the names of hosts: one whose name servers do not answer holds up no other one (invariant I12).

The system's lookup blocks for half a minute then, and cannot be broken off. In the event loop's own pool,
of a few threads, such names keep everybody else from being connected to, the database too, and the process
from ending. So each name that is looked up has a thread of its own, a daemon, and one at a time.

Threads are bounded, and names that hang may be many: those that hung the last time share a part of the
threads, those of which nothing is known another one. The rest is for names that were answered the last time.
A name that turns out to hang gives its place to the next one of which nothing is known: a new runner manager
does not wait for as many others that are new, too.
"""

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from threading import Thread
from typing import Any, TypeAlias, TypeVar

_HANGS_AFTER = 1.0
"""Seconds after which the answer for a name is late: those of a name server that works take milliseconds."""

_MOST_KNOWN = 1024
"""Names of which it is remembered how long their last answer took."""


class _Kind(IntEnum):
    """What is known of a name."""

    ANSWERED = 0
    UNKNOWN = 1
    HANGING = 2


_MOST = {_Kind.ANSWERED: 128, _Kind.UNKNOWN: 96, _Kind.HANGING: 48}
"""Names of a kind, or of one that hangs more, that are looked up at the same moment; the next ones wait."""

_MOST_LATE = 64
"""Names that have given their place away, at the same moment: so many threads more there may be. With all
others they are fewer than the unit's ``TasksMax=`` lets us have."""

_R = TypeVar("_R")

_Found: TypeAlias = Sequence[tuple[Any, ...]]
"""What ``socket.getaddrinfo`` gives."""


class NamesLoop(asyncio.SelectorEventLoop):
    """An event loop whose lookups of names wait for nothing else, and nothing else for them."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[tuple[object, ...], asyncio.Future[_Found]] = {}
        """By what is asked: who asks for the same waits for the same answer."""
        self._waiting: dict[_Kind, deque[Callable[[], None]]] = {kind: deque() for kind in _Kind}
        self._threads = Counter[_Kind]()
        self._late = 0
        self._known: dict[object, _Kind] = {}
        """What is known of hosts, the one that was looked up last at the end."""

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
            kind = self._known.get(host, _Kind.UNKNOWN)
            self._waiting[kind].append(lambda: self._begin(question, found, kind))
            self._begin_next()
        # Others wait for the same answer, and its thread goes on in any case.
        return await asyncio.shield(found)

    def looks_up(self, host: str) -> bool:
        """Whether the addresses of a host are being looked up."""
        return any(question[0] == host for question in self._asked)

    def _begin_next(self) -> None:
        for kind, waiting in self._waiting.items():
            while waiting and sum(self._threads[other] for other in _Kind if other >= kind) < _MOST[kind]:
                waiting.popleft()()

    def _begin(self, question: tuple[Any, ...], found: "asyncio.Future[_Found]", kind: _Kind) -> None:
        self._threads[kind] += 1
        begun, has_place = self.time(), True

        def give_place() -> None:
            nonlocal has_place
            if self._late < _MOST_LATE:
                has_place = False
                self._threads[kind] -= 1
                self._late += 1
                self._begin_next()

        late = self.call_later(_HANGS_AFTER, give_place) if kind is _Kind.UNKNOWN else None

        def look() -> None:
            try:
                answer: _Found | Exception = socket.getaddrinfo(*question)
            except Exception as error:  # noqa: BLE001 - it is whoever's who asks
                answer = error
            try:
                self.call_soon_threadsafe(end, answer)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        def end(answer: "_Found | Exception") -> None:
            if late is not None:
                late.cancel()
            if has_place:
                self._threads[kind] -= 1
            else:
                self._late -= 1
            self._remember(question[0], is_late=self.time() - begun >= _HANGS_AFTER)
            self._end(question, found, answer)

        try:
            Thread(target=look, name="name of a host", daemon=True).start()
        except RuntimeError:  # the system gives no thread
            # Later: as many as wait would be begun, and end, one within the other.
            self.call_soon(end, socket.gaierror(socket.EAI_AGAIN, "no thread to look it up"))

    def _remember(self, host: object, *, is_late: bool) -> None:
        self._known.pop(host, None)
        self._known[host] = _Kind.HANGING if is_late else _Kind.ANSWERED
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _end(
        self, question: tuple[object, ...], found: "asyncio.Future[_Found]", answer: "_Found | Exception"
    ) -> None:
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

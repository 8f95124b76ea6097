"""The tasks that a daemon consists of: none ends unnoticed (invariant I12)."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping

import structlog

from poddispatchd.clock import Clock
from poddispatchd.domain.backoff import full_jitter
from poddispatchd.errors import PoddispatchdError, TaskEndedError
from poddispatchd.observability.events import Event
from poddispatchd.runtime.supervision import cancel_surely

log = structlog.get_logger(__name__)

_MOST_RESTARTS = 5
_WITHIN = 600.0
"""Seconds within which a task is started again so often at most; then the whole daemon begins anew."""


class Supervisor:
    """Every task that a daemon consists of; none ends without being noticed (invariant I12).

    A task that ends although nobody stopped it is started again after a growing delay. One that does so again
    and again, or that says in words why the daemon cannot go on, ends the daemon: systemd starts it anew.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._starts: dict[str, Callable[[], Coroutine[None, None, None]]] = {}
        self._running: dict[asyncio.Task[None], str] = {}
        self._ended_at: dict[str, list[float]] = {}
        self._changed = asyncio.Event()

    @property
    def tasks(self) -> Mapping[str, "asyncio.Task[None]"]:
        """What runs, by name."""
        return {name: task for task, name in self._running.items()}

    def start(self, name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a task that is to run until the daemon stops.

        Args:
            name: for the log.
            run: gives the coroutine, each time that it is started.
        """
        self._starts[name] = run
        self._running[asyncio.create_task(run(), name=name)] = name
        self._changed.set()

    async def watch(self) -> None:
        """See to it that all go on; never returns.

        Raises:
            PoddispatchdError: a task said in words why the daemon cannot go on.
            TaskEndedError: a task ended again and again.
        """
        while True:
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait({*self._running, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            for task in [task for task in self._running if task.done()]:
                self._ended(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        name = self._running.pop(task)
        error = None if task.cancelled() else task.exception()
        # It says in words why the daemon cannot go on: started again, it would end the same way.
        if isinstance(error, PoddispatchdError):
            raise error
        now = self._clock.monotonic()
        ended = [at for at in self._ended_at.get(name, []) if now - at < _WITHIN]
        self._ended_at[name] = [*ended, now]
        log.error(Event.SERVICE_ENDED, job=name, times=len(ended) + 1, exc_info=error)
        if len(ended) >= _MOST_RESTARTS:
            raise TaskEndedError(f"The task {name!r} of the daemon ended again and again: see the log.")
        delay = full_jitter(len(ended), base=0.5, cap=30.0, random=self._clock.random)
        self._running[asyncio.create_task(self._start_again(name, delay), name=name)] = name

    async def _start_again(self, name: str, delay: float) -> None:
        await self._clock.sleep(delay)
        await self._starts[name]()

    async def stop(self, *names: str) -> None:
        """Stop these tasks, or all of them, and wait until they have ended."""
        stopping = [task for task, name in self._running.items() if not names or name in names]
        # Out of the list first: whoever watches is not to take their end for one by themselves, and start
        # them again.
        for task in stopping:
            del self._running[task]
        self._changed.set()
        await cancel_surely(*stopping)

"""How jobs run: work, wait to be woken, survive; and none ends unnoticed (invariants I11, I12)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TypeVar

import structlog
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.domain.backoff import full_jitter
from poddispatchd.errors import (
    DatabaseStateError,
    DatabaseUnavailableError,
    PoddispatchdError,
    SchemaError,
    TaskEndedError,
)
from poddispatchd.observability.events import Event
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.jobs import Loop

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_AGAIN = 2.0
"""Seconds after which a task that was cancelled and goes on is cancelled again: tidying up is quicker."""

STUCK_AFTER = 600.0
"""Seconds one step of a job may take before systemd's watchdog gets no sign any more, and ends the daemon."""

LONG_ENOUGH = 240.0
"""Seconds after which a step begins nothing more of what may take for ever: rows and files to be deleted."""

_UNANSWERED_FOR = 30.0
"""Seconds for which a job meets a lost database that answers the session. A lost one is told by the session
before: within seconds, behind a pooler that keeps its clients waiting somewhat later."""

_LONGEST_UNANSWERED = 10.0
"""Seconds between two tries then: all connections may have been taken for a moment."""

_MOST_RESTARTS = 5
_WITHIN = 600.0
"""Seconds within which a task is started again so often at most; then the whole daemon begins anew."""


class Pulse:
    """Whether the jobs make progress, without which nothing is sent to systemd's watchdog."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._working_since: dict[str, float] = {}

    def begins(self, job: str) -> None:
        """A job begins a step."""
        self._working_since[job] = self._clock.monotonic()

    def ends(self, job: str) -> None:
        """A job has ended a step and waits."""
        self._working_since.pop(job, None)

    def stuck(self) -> list[str]:
        """The jobs whose current step takes longer than ``STUCK_AFTER``."""
        now = self._clock.monotonic()
        return [job for job, since in self._working_since.items() if now - since > STUCK_AFTER]


class JobContext(Struct, frozen=True):
    """What a job stands on: the database, the time, and who is told how it goes."""

    session: DatabaseSession
    clock: Clock
    pulse: Pulse
    incidents: Incidents
    schema_changed: Callable[[], Awaitable[None]] | None = None
    """Reads the catalogue again after Pod's tables were changed."""


async def run_job(loop: Loop, context: JobContext) -> None:
    """Run the steps of one job for ever.

    A step returns the seconds after which it wants to look again. Losing the database makes the job wait for
    it; an error nobody foresaw is logged with its traceback once, and the job goes on after a growing delay
    that nothing cuts short (invariants I11, I12).
    """
    job, pulse, session = loop.name, context.pulse, context.session
    unanswered_since: float | None = None
    while True:
        if not session.is_up:
            unanswered_since = None
        if loop.needs_database:
            await session.available()
        pulse.begins(job)
        delay, rest = 0.0, 0.0
        try:
            delay = await loop.step()
            unanswered_since = None
            context.incidents.recovered(job)
        except DatabaseStateError as error:
            session.suspect()
            rest = context.incidents.failed(job, error)
        except DatabaseUnavailableError as error:
            session.suspect()
            now, rest = context.clock.monotonic(), 1.0
            unanswered_since = now if unanswered_since is None else unanswered_since
            if now - unanswered_since >= _UNANSWERED_FOR and session.is_up:
                # A statement takes longer than any may, say: nobody else would tell.
                rest = min(context.incidents.failed(job, error), _LONGEST_UNANSWERED)
        except SchemaError as error:
            rest = context.incidents.failed(job, error)
            if context.schema_changed is not None:
                await context.schema_changed()
        except Exception as error:  # noqa: BLE001 - one job's bug must not take the webhook down
            rest = context.incidents.failed(job, error)
        finally:
            pulse.ends(job)
        if rest:
            await context.clock.sleep(rest)
        else:
            await loop.wake.wait(delay)


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


async def unless(
    stop: asyncio.Event, work: Coroutine[None, None, _T], *, within: float | None = None
) -> _T | None:
    """What some work gives; None when it was cut off, because all is to stop or after ``within`` seconds."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await cancel_surely(task)
        await cancel_surely(stopping)


async def cancel_surely(*tasks: "asyncio.Task[_T]") -> None:
    """Cancel tasks until they have ended, however they do.

    Once is not enough: ``asyncio.wait_for`` of Python 3.11, which asyncpg's pool uses, forgets a cancellation
    that arrives together with what it waits for, and the task goes on as if nothing had been said.
    """
    pending: set[asyncio.Task[_T]] = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)

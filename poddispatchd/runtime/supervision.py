"""How every job runs: work, wait to be woken, survive."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.errors import (
    DatabaseStateError,
    DatabaseUnavailableError,
    SchemaError,
)
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.jobs import Loop

_T = TypeVar("_T")

_AGAIN = 2.0
"""Seconds after which a task that was cancelled and goes on is cancelled again: tidying up is quicker."""

STUCK_AFTER = 600.0
"""Seconds one step of a job may take before the watchdog is left to bite."""

LONG_ENOUGH = 240.0
"""Seconds after which a step begins nothing more of what may take for ever: rows and files to be deleted."""

_UNANSWERED_FOR = 30.0
"""Seconds for which a job meets a lost database that answers the session. A lost one is told by the session
before: within seconds, behind a pooler that keeps its clients waiting somewhat later."""

_LONGEST_UNANSWERED = 10.0
"""Seconds between two tries then: all connections may have been taken for a moment."""


class Pulse:
    """Whether the jobs make progress: the ground on which systemd's watchdog is fed."""

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

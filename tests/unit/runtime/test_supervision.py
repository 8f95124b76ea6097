"""Stopping work for certain: what is cancelled ends, and what must not be cut off is not."""

import asyncio
from typing import cast

import pytest
from structlog.testing import capture_logs

from poddispatchd.clock import Clock
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.observability.events import Event
from poddispatchd.runtime import supervisor
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.jobs import Loop
from poddispatchd.runtime.supervisor import JobContext, Pulse, cancel_surely, run_job, unless
from poddispatchd.runtime.wakeups import Wakeup


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_AGAIN", 0.01)


async def forgetful(lost: int) -> str:
    """Loses so many cancellations, as ``asyncio.wait_for`` of Python 3.11 does now and then."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            lost -= 1
            if lost < 0:
                raise


async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(forgetful(lost)) for lost in (0, 1, 3)]
    await asyncio.sleep(0)
    await cancel_surely(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_ended_by_itself_or_in_an_error_needs_no_cancelling() -> None:
    async def fails() -> None:
        raise ValueError("a bug")

    done, failed = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fails())
    await asyncio.wait({done, failed})
    await cancel_surely(done, failed)
    assert not done.cancelled()


async def test_work_that_is_not_stopped_gives_its_result() -> None:
    assert await unless(asyncio.Event(), asyncio.sleep(0, "result")) == "result"


async def test_an_error_of_the_work_is_not_hidden() -> None:
    async def fails() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await unless(asyncio.Event(), fails())


async def test_a_stop_cuts_the_work_off_even_if_it_loses_its_cancellation() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    assert await unless(stop, forgetful(1)) is None


async def test_work_is_cut_off_after_its_time() -> None:
    assert await unless(asyncio.Event(), forgetful(0), within=0.01) is None


class _Session:
    """What a job sees of the session: the database answers it, or does not."""

    def __init__(self) -> None:
        self.is_up = True

    async def available(self) -> None:
        self.is_up = True

    def suspect(self) -> None:
        """It looks, and finds what it finds."""


class _Sleepless(Clock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return 1000.0 + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def _run_job(
    session: _Session, *, times: int, lost_after: bool = False
) -> tuple[Incidents, list[float]]:
    """A job that gets no answer so many times, and then ends."""
    clock, tried = _Sleepless(), 0
    incidents = Incidents(clock)

    async def step() -> float:
        nonlocal tried
        tried += 1
        if tried > times:
            raise asyncio.CancelledError
        session.is_up = not lost_after
        raise DatabaseUnavailableError("The database cannot be reached: no answer in time.")

    context = JobContext(cast("DatabaseSession", session), clock, Pulse(clock), incidents)
    with pytest.raises(asyncio.CancelledError):
        await run_job(Loop("dispatcher", step, Wakeup()), context)
    return incidents, clock.slept


async def test_a_job_that_gets_no_answer_while_the_database_answers_others_is_told() -> None:
    """Its statement takes longer than any may, or all connections are taken: nobody heard of it."""
    with capture_logs() as lines:
        incidents, slept = await _run_job(_Session(), times=40)
    [incident] = incidents.active
    assert incident.words.endswith("The database cannot be reached: no answer in time.")
    assert [line["event"] for line in lines] == [Event.SERVICE_FAILED]
    assert not incidents.can_write
    assert slept[:30] == [1.0] * 30
    assert max(slept) <= 10


async def test_a_lost_database_is_told_by_the_session_and_not_by_every_job() -> None:
    incidents, slept = await _run_job(_Session(), times=40, lost_after=True)
    assert not incidents.active
    assert slept == [1.0] * 40


async def test_answers_that_do_not_come_for_a_moment_are_no_news() -> None:
    """Behind a pooler the session hears later than a job that the server is gone."""
    incidents, _ = await _run_job(_Session(), times=20)
    assert not incidents.active

"""No task of the daemon ends unnoticed."""

import asyncio

import pytest
from structlog.testing import capture_logs

from poddispatchd.clock import Clock
from poddispatchd.errors import SchemaNewerError, TaskEndedError
from poddispatchd.observability.events import Event
from poddispatchd.runtime.supervisor import Supervisor


class _QuickClock(Clock):
    def random(self) -> float:
        return 0.0


async def test_a_task_that_was_killed_is_told_and_started_again() -> None:
    supervisor, starts = Supervisor(_QuickClock()), asyncio.Queue[int]()

    async def work() -> None:
        starts.put_nowait(1)
        await asyncio.Event().wait()

    supervisor.start("job", work)
    watching = asyncio.create_task(supervisor.watch())
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await starts.get()
            supervisor.tasks["job"].cancel()
            await starts.get()
    assert [(entry["event"], entry["job"]) for entry in logs] == [(Event.SERVICE_ENDED, "job")]
    watching.cancel()
    await supervisor.stop()
    assert not supervisor.tasks


async def test_a_task_that_fails_again_and_again_ends_the_daemon_with_each_traceback() -> None:
    supervisor = Supervisor(_QuickClock())

    async def work() -> None:
        raise RuntimeError("nobody foresaw this")

    supervisor.start("job", work)
    with capture_logs() as logs, pytest.raises(TaskEndedError, match="'job'"):
        async with asyncio.timeout(5):
            await supervisor.watch()
    assert all(isinstance(entry["exc_info"], RuntimeError) for entry in logs)
    assert len(logs) == 6
    await supervisor.stop()


async def test_a_task_that_simply_returns_is_no_less_missed() -> None:
    supervisor = Supervisor(_QuickClock())

    async def work() -> None:
        return

    supervisor.start("job", work)
    with pytest.raises(TaskEndedError):
        async with asyncio.timeout(5):
            await supervisor.watch()
    await supervisor.stop()


async def test_words_that_say_why_the_daemon_cannot_go_on_end_it_at_once() -> None:
    supervisor = Supervisor(Clock())

    async def work() -> None:
        raise SchemaNewerError

    supervisor.start("job", work)
    with pytest.raises(SchemaNewerError):
        await supervisor.watch()


async def test_tasks_that_are_stopped_by_name_are_missed_by_nobody() -> None:
    supervisor = Supervisor(Clock())
    for name in ("one", "two"):
        supervisor.start(name, asyncio.Event().wait)  # type: ignore[arg-type]  # what it gives is not used
    watching = asyncio.create_task(supervisor.watch())
    with capture_logs() as logs:
        await supervisor.stop("one")
        await asyncio.sleep(0)
    assert not logs
    assert list(supervisor.tasks) == ["two"]
    assert not watching.done()
    watching.cancel()
    await supervisor.stop()

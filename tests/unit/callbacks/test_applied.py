"""Lines about callbacks that were applied together."""

import asyncio

from structlog.testing import capture_logs

from poddispatchd.callbacks.applied import AppliedCallback, log_all
from poddispatchd.callbacks.inbox import RecordedCallback
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import ManagerId, RunnerStatus, RunnerTaskId, TaskPk
from poddispatchd.runtime.lease_queue import Lease


def applied(number: int) -> AppliedCallback:
    callback = Callback(RunnerTaskId(f"run {number}"), RunnerStatus.RUNNING, None, None)
    recorded = RecordedCallback(Lease(number, "daemon", 1), (ManagerId(1),), callback, age=1.0)
    return AppliedCallback(recorded, TaskPk(number), Decision.IGNORE)


async def test_whoever_calls_while_many_are_logged_has_a_turn_after_each_line() -> None:
    """Two hundred lines at once kept every caller waiting for fifteen milliseconds."""
    with capture_logs() as logged:
        logging = asyncio.create_task(log_all(map(applied, range(3))))
        seen = []
        while not logging.done():
            await asyncio.sleep(0)
            seen.append(len(logged))
    assert seen[:3] == [1, 2, 3]


async def test_what_was_applied_is_logged_though_the_daemon_stops() -> None:
    with capture_logs() as logged:
        logging = asyncio.create_task(log_all(map(applied, range(3))))
        await asyncio.sleep(0)
        logging.cancel()
        await asyncio.wait([logging])
    assert [line["task"] for line in logged] == [0, 1, 2]

"""PostgreSQL stops as in a crash, stays away, and comes back: nothing is lost, and nobody is told a lie."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from chaos.postgres import DURABLE, RestartableServer
from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.acceptance.notifications import Notifications
from tests.acceptance.process import ANNOUNCED_WITHIN, Process
from tests.acceptance.rig import TOKEN, Rig
from tests.plugins.postgres import PodDatabase

_ALL = (TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)
_AWAY = 3.0
"""Seconds for which the server stays away."""


@pytest.fixture
async def server() -> AsyncIterator[PostgresServer]:
    """A server of this test alone, which keeps what was committed."""
    async with PostgresServer(settings=DURABLE) as server:
        yield server


@pytest.fixture
async def restartable(server: PostgresServer) -> AsyncIterator[RestartableServer]:
    restartable = RestartableServer(server)
    yield restartable
    await asyncio.to_thread(restartable.close)


@pytest.fixture
async def pod_database(server: PostgresServer, restartable: RestartableServer) -> PodDatabase:
    """The rig's Pod is on that server."""
    database = PodDatabase("postgres", server.dsn(), SchemaVariant.PODFILE)
    async with database.connection() as connection:
        await create_schema(connection, SchemaVariant.PODFILE)
    return database


async def _called(rig: Rig, task_id: str) -> tuple[int, str | None]:
    """How a callback is answered."""
    body = {"task_id": task_id, "status": "completed"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{rig.webhook}/runner/notify_task_end/", json=body, headers={"Authorization": f"Bearer {TOKEN}"}
        ) as answer,
    ):
        return answer.status, answer.headers.get("Retry-After")


def _told_last(notifications: Notifications) -> str:
    notifications.drain()
    return [text for text in notifications.received if text.startswith("STATUS=")][-1]


async def _in_the_middle(rig: Rig, daemon: Process) -> None:
    """Wait until a result is being downloaded and a submission waits for its answer."""
    rig.manager.faults.inject(Endpoint.FILE, AnswerFault(kind=FaultKind.SLOW, seconds=_AWAY / 2), times=2)
    await daemon.event("import.started")
    posted = sum(request.path == "/task/execute" for request in rig.manager.requests)
    rig.manager.faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.SLOW, seconds=_AWAY / 2))
    await rig.manager.wait_for(
        lambda: sum(request.path == "/task/execute" for request in rig.manager.requests) > posted
    )


async def test_a_crash_of_postgresql_in_the_middle_of_everything_costs_nothing_but_time(
    rig: Rig, restartable: RestartableServer, notifications: Notifications
) -> None:
    tasks = await rig.add(*_ALL, *_ALL, *_ALL)
    daemon = await rig.start(env={"NOTIFY_SOCKET": notifications.address, "WATCHDOG_USEC": "400000"})
    await _in_the_middle(rig, daemon)

    command, user = await restartable.stop_immediately()
    await daemon.event("database.down")
    ready, words = await rig.get("/health/ready")
    live, _ = await rig.get("/health/live")
    _, metrics = await rig.get("/metrics")
    refused = await _called(rig, next(iter(rig.manager.tasks)))
    await asyncio.sleep(_AWAY)
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while "database" not in _told_last(notifications):
            await rig.get("/health/live")
    await restartable.start(command, user)
    await daemon.events("database.up", 2)

    assert (ready, live) == (503, 200)
    assert "database" in words
    assert "poddispatchd_database_up 0.0" in metrics
    assert refused == (503, "30")

    for task in tasks:
        if (await rig.statuses())[task] != "completed":
            await daemon.event("task.completed", task=task)
    assert (await rig.get("/health/ready"))[0] == 200
    assert (await _called(rig, next(iter(rig.manager.tasks))))[0] == 200
    await rig.imported_once()
    assert len(rig.manager.submissions) == len(tasks)

    counts = {
        event: sum(entry["event"] == event for entry in daemon.entries)
        for event in ("database.up", "leader.acquired")
    }
    assert counts == {"database.up": 2, "leader.acquired": 2}
    reasons = [entry["error"] for entry in daemon.entries if entry["event"] == "database.down"]
    assert reasons
    assert len(reasons) == len({*reasons})
    assert {entry["event"] for entry in daemon.entries if entry["level"] in ("error", "critical")} == {
        "database.down"
    }
    assert "Traceback" not in daemon.text
    assert "database" not in await notifications.until(
        lambda text: text.startswith("STATUS=0 pending, 0 running")
    )

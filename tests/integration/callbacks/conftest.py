from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import ManagerId, TaskPk
from tests.integration.pod import rows
from tests.plugins.postgres import PodDatabase
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]

TOKEN = "token-of-one"
OTHER_TOKEN = "token-of-two"


@dataclass(slots=True)
class Records:
    """A runner manager that only tells about tasks; ``asked`` are the ids it was asked about."""

    url: str = ""
    known: dict[str, dict[str, object]] = field(default_factory=dict)
    broken: bool = False
    asked: list[str] = field(default_factory=list)

    async def tell(self, request: web.Request) -> web.Response:
        task_id = request.match_info["task_id"]
        self.asked.append(task_id)
        if self.broken:
            return web.json_response({"detail": "broken"}, status=500)
        if task_id not in self.known:
            return web.json_response({"detail": "Task not found"}, status=404)
        return web.json_response({"task_id": task_id, **self.known[task_id]})


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod with two runner managers, and a connection to prepare and look at its rows."""

    database: PodDatabase
    connection: Connection
    manager: ManagerId
    other: ManagerId

    async def running(self, task_id: str | None = "t-1", type_: str = "encoding", **values: object) -> TaskPk:
        """A task that runs under the first manager."""
        values = {"runner_manager_id": self.manager, "task_id": task_id, **values}
        return await rows.task(self.connection, type_, str(values.pop("status", "running")), **values)

    async def row(self, task: TaskPk) -> dict[str, object]:
        """A task as it is now."""
        found = await self.connection.fetchrow("SELECT * FROM runner_manager_task WHERE id = $1", task)
        assert found is not None
        return dict(found)

    async def callbacks(self) -> list[tuple[str, str, str | None]]:
        """What became of every callback: task id, state, outcome."""
        found = await self.connection.fetch(
            "SELECT task_id, state, outcome FROM poddispatchd.callback ORDER BY id"
        )
        return [tuple(record) for record in found]


@pytest.fixture
async def records() -> AsyncIterator[Records]:
    told = Records()
    application = web.Application()
    application.router.add_get("/task/status/{task_id}", told.tell)
    async with TestServer(application, skip_url_asserts=True) as server:
        told.url = str(server.make_url("/"))
        yield told


@pytest.fixture
async def pod(pod_database: PodDatabase, records: Records) -> AsyncIterator[Pod]:
    async with pod_database.connection() as connection:
        site = await rows.site(connection, "pod.example.org")
        one = await rows.manager(connection, site, token=TOKEN, url=records.url)
        two = await rows.manager(connection, site, token=OTHER_TOKEN)
        yield Pod(pod_database, connection, ManagerId(one), ManagerId(two))

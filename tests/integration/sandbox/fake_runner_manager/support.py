"""A client in the place of Pod: submits, asks, and listens for callbacks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self, cast

import aiohttp
from aiohttp import web

from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager

TOKEN = "a-token"
NOTIFY_URL = "http://pod.test:8090/runner/notify_task_end/"
SOURCE_URL = "http://pod.test:8090/media/videos/0001-x.mp4"


def payload(**changes: object) -> dict[str, object]:
    """A submission as Pod sends it."""
    return {
        "etab_name": "University / Pod",
        "app_name": "Esup-Pod",
        "app_version": "4.3.0",
        "task_type": "encoding",
        "source_url": SOURCE_URL,
        "notify_url": NOTIFY_URL,
        "parameters": {"video_id": 1, "video_slug": "0001-x", "video_title": "x"},
    } | changes


@dataclass(slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: object

    @property
    def fields(self) -> dict[str, object]:
        """The JSON object of the answer."""
        assert isinstance(self.json, dict)
        return cast("dict[str, object]", self.json)

    @property
    def detail(self) -> object:
        """What an error says."""
        return self.fields["detail"]


class Pod:
    """Receives callbacks. ``answers`` are used up one by one; then it says 200."""

    def __init__(self) -> None:
        self.received: list[dict[str, object]] = []
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []
        self.answers: list[int] = []
        self.gate: asyncio.Event | None = None
        self.called = asyncio.Event()
        self.port = 0
        self._server: web.AppRunner | None = None

    async def _receive(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.received.append(cast("dict[str, object]", await request.json()))
        self.headers.append(dict(request.headers))
        self.called.set()
        status = self.answers.pop(0) if self.answers else 200
        if self.gate is not None:
            await self.gate.wait()
        return web.json_response({"answer": status}, status=status)

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/runner/notify_task_end/", self._receive)
        self._server = web.AppRunner(application, access_log=None, shutdown_timeout=0.05)
        await self._server.setup()
        await web.TCPSite(self._server, "127.0.0.1", 0).start()
        self.port = int(self._server.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.cleanup()


@dataclass(slots=True)
class Client:
    """Talks to one manager with the right token."""

    manager: FakeRunnerManager
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    async def ask(
        self, method: str, path: str, *, json: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request; redirects are not followed."""
        sent = dict(self.headers if headers is None else headers)
        async with self.session.request(
            method, f"{self.manager.url}{path}", json=json, headers=sent, allow_redirects=False
        ) as answer:
            body = await answer.read()
            is_json = answer.content_type == "application/json" and body
            return Reply(
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                body,
                await answer.json() if is_json else None,
            )

    async def get(self, path: str, **headers: str) -> Reply:
        """A GET."""
        return await self.ask("GET", path, headers=self.headers | headers)

    async def execute(self, **changes: object) -> Reply:
        """Submit a task."""
        return await self.ask("POST", "/task/execute", json=payload(**changes))

    async def accepted(self, **changes: object) -> str:
        """Submit a task that must be accepted; its id."""
        reply = await self.execute(**changes)
        assert reply.status == 200, reply.body
        return str(reply.fields["task_id"])

    async def status(self, task_id: str) -> dict[str, object]:
        """The task record."""
        return (await self.get(f"/task/status/{task_id}")).fields


@asynccontextmanager
async def running(manager: FakeRunnerManager) -> AsyncIterator[Client]:
    """A started manager and a client for it."""
    async with manager, aiohttp.ClientSession() as session:
        yield Client(manager, session)


async def until(manager: FakeRunnerManager, predicate: Callable[[], bool]) -> None:
    """Wait for something to become true; asked at each event of the manager."""
    await manager.wait_for(predicate, timeout=10)

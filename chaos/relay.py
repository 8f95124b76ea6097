"""What stands between the managers and Pod's webhook: a load balancer over the daemons that misbehaves."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from random import Random
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from chaos.timeline import Kind, Timeline

_PASSED_ON = ("Authorization", "Content-Type")


class Relay:
    """Takes callbacks and passes each to one of the daemons, the next one when that is down.

    Attributes:
        answers: how many of each status the daemons gave.
        swallowed: task ids whose callback was lost although it was answered, with the moment.
    """

    def __init__(self, targets: list[str], timeline: Timeline, lot: Random) -> None:
        self._targets = targets
        self._timeline = timeline
        self._lot = lot
        self._turn = 0
        self._calm = False
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._later: set[asyncio.Task[None]] = set()
        self.answers: Counter[int] = Counter()
        self.swallowed: dict[str, float] = {}
        self.port = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
        )
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for later in self._later:
            later.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def calm_down(self) -> None:
        """No more faults."""
        self._calm = True

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        kind = None if self._calm else self._draw()
        told = json.loads(body)
        detail = f"{told.get('task_id')} {told.get('status')}"
        if kind is not None:
            self._timeline.moment(kind, "relay", detail)
        match kind:
            case Kind.CALLBACK_SWALLOWED:
                if told.get("status") == "completed":
                    self.swallowed.setdefault(str(told.get("task_id")), time.time())
                return web.json_response({"status": "OK"})
            case Kind.CALLBACK_DROPPED:
                return _gone(request)
            case Kind.CALLBACK_DELAYED:
                await asyncio.sleep(self._lot.uniform(0.3, 6.0))
            case Kind.CALLBACK_DUPLICATED:
                again = asyncio.create_task(self._again(request.path_qs, headers, body))
                self._later.add(again)
                again.add_done_callback(self._later.discard)
            case _:
                pass
        status, text = await self._pass_on(request.path_qs, headers, body)
        if kind is Kind.CALLBACK_ANSWER_LOST:
            return _gone(request)
        return web.Response(status=status, text=text, content_type="application/json")

    def _draw(self) -> Kind | None:
        kinds: Mapping[Kind | None, int] = {
            None: 72,
            Kind.CALLBACK_SWALLOWED: 4,
            Kind.CALLBACK_DROPPED: 5,
            Kind.CALLBACK_ANSWER_LOST: 5,
            Kind.CALLBACK_DELAYED: 7,
            Kind.CALLBACK_DUPLICATED: 7,
        }
        return self._lot.choices(list(kinds), list(kinds.values()))[0]

    async def _again(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        for _ in range(self._lot.randint(1, 3)):
            await asyncio.sleep(self._lot.uniform(0.0, 10.0))
            await self._pass_on(path, headers, body)

    async def _pass_on(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """As nginx does: the next one when a connection is refused, and only then."""
        assert self._session is not None
        for _ in self._targets:
            self._turn += 1
            target = self._targets[self._turn % len(self._targets)]
            try:
                async with self._session.post(f"{target}{path}", data=body, headers=headers) as answer:
                    text = await answer.text()
                    self.answers[answer.status] += 1
                    return answer.status, text
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, OSError, TimeoutError):
                return 504, "{}"
        return 502, "{}"


def _gone(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)

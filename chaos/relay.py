"""What stands between the managers and Pod's webhook: a load balancer over the daemons that misbehaves."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from chaos.timeline import Kind, Timeline

_PASSED_ON = ("Authorization", "Content-Type")
_HELD_FOR = 8.0
"""Seconds for which a failure is held back so that the success that follows it arrives first."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A callback; ``number`` is its place among all that came."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: bytes
    task_id: str
    status: str


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
        self._calm = self._is_shut = False
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._taken = 0
        self._passed: dict[str, _Call] = {}
        self._overtaken: dict[str, asyncio.Event] = {}
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
        await self.shut()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def calm_down(self) -> None:
        """No more faults."""
        self._calm = True

    async def shut(self) -> None:
        """Pass nothing on any more: the managers may call for hours."""
        self._is_shut = True
        for later in self._later:
            later.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = await self._read(request)
        if self._is_shut:
            return web.Response(status=502)
        kind = None if self._calm else self._draw()
        if kind is not None:
            self._timeline.moment(kind, "relay", f"{call.task_id} {call.status}")
        match kind:
            case Kind.CALLBACK_SWALLOWED:
                if call.status == "completed":
                    self.swallowed.setdefault(call.task_id, time.time())
                return web.json_response({"status": "OK"})
            case Kind.CALLBACK_DROPPED:
                return _gone(request)
            case Kind.CALLBACK_DELAYED if call.status == "failed":
                self._spawn(self._held_back(call))
                return web.json_response({"status": "OK"})
            case Kind.CALLBACK_DELAYED:
                await asyncio.sleep(self._lot.uniform(0.3, 6.0))
            case Kind.CALLBACK_DUPLICATED:
                self._spawn(self._again(call))
            case Kind.CALLBACK_POISONED:
                await self._pass_on(replace(call, body=poisoned(call.body, self._lot)))
            case _:
                pass
        status, text = await self._pass_on(call)
        if kind is Kind.CALLBACK_ANSWER_LOST:
            return _gone(request)
        return web.Response(status=status, text=text, content_type="application/json")

    async def _read(self, request: web.Request) -> _Call:
        body = await request.read()
        told = json.loads(body)
        self._taken += 1
        return _Call(
            number=self._taken,
            path=request.path_qs,
            headers={name: request.headers[name] for name in _PASSED_ON if name in request.headers},
            body=body,
            task_id=str(told.get("task_id")),
            status=str(told.get("status")),
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        later = asyncio.create_task(work)
        self._later.add(later)
        later.add_done_callback(self._later.discard)

    def _draw(self) -> Kind | None:
        kinds: Mapping[Kind | None, int] = {
            None: 69,
            Kind.CALLBACK_SWALLOWED: 4,
            Kind.CALLBACK_DROPPED: 5,
            Kind.CALLBACK_ANSWER_LOST: 5,
            Kind.CALLBACK_DELAYED: 7,
            Kind.CALLBACK_DUPLICATED: 7,
            Kind.CALLBACK_POISONED: 3,
        }
        return self._lot.choices(list(kinds), list(kinds.values()))[0]

    async def _again(self, call: _Call) -> None:
        for _ in range(self._lot.randint(1, 3)):
            await asyncio.sleep(self._lot.uniform(0.0, 10.0))
            await self._pass_on(call)

    async def _held_back(self, call: _Call) -> None:
        """Pass it on when a later one of the same task has arrived, or when none comes."""
        overtaken = self._overtaken.setdefault(call.task_id, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(_HELD_FOR):
                await overtaken.wait()
        await self._pass_on(call)

    async def _pass_on(self, call: _Call) -> tuple[int, str]:
        """As nginx does: the next one when a connection is refused, and only then."""
        assert self._session is not None
        for _ in self._targets:
            self._turn += 1
            target = self._targets[self._turn % len(self._targets)]
            try:
                async with self._session.post(
                    f"{target}{call.path}", data=call.body, headers=call.headers
                ) as answer:
                    text = await answer.text()
                    self.answers[answer.status] += 1
                    self._arrived(call)
                    return answer.status, text
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, OSError, TimeoutError):
                return 504, "{}"
        return 502, "{}"

    def _arrived(self, call: _Call) -> None:
        latest = self._passed.get(call.task_id)
        if latest is None or latest.number <= call.number:
            self._passed[call.task_id] = call
            if (waiting := self._overtaken.get(call.task_id)) is not None:
                waiting.set()
        elif latest.status != call.status:
            detail = f"{call.task_id} {call.status} after {latest.status}"
            self._timeline.moment(Kind.CALLBACK_OVERTAKEN, "relay", detail)


def poisoned(body: bytes, lot: Random) -> bytes:
    """What a broken manager might send in place of a body: odd texts, or no JSON at all.

    Why a run failed stays as it is: that decides what becomes of the task.
    """
    told = json.loads(body)
    reason = told.get("error_message")
    told.update(lot.choice(_ODD))
    if told["status"] != "completed":
        told["error_message"] = reason
    spoilt = json.dumps(told).encode()
    return lot.choice((spoilt, spoilt, spoilt, body[:-1], b"[" * 20_000 + b"]" * 20_000))


_ODD: Sequence[Mapping[str, object]] = (
    {"script_output": "before\0after", "error_message": "\0"},
    {"script_output": "half a letter: \ud800", "error_message": "\udfff"},
    {"script_output": "\x1b]0;title\x07\x1b[2J" + "long " * 400_000},
    {"script_output": {"of": ["no", "text"]}, "error_message": 7},
    {"status": "exploded"},
    {"status": None},
    {"task_id": "\0"},
    {"task_id": "x" * 10_000},
    {"task_id": 12},
)
"""PostgreSQL stores no NUL, UTF-8 has no half letters, and nothing else here is what the API promises."""


def _gone(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)

"""Recorded routing, replayed: what a Pod's tasks and its managers' answers make the real dispatcher do."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import ClientSession, web

from poddispatchd.app import features
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.callbacks.worker import CallbackWorker
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Connection
from poddispatchd.dispatch.dispatcher import Dispatcher
from poddispatchd.pod.queue_order import write_ranks
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER, Reconciler
from poddispatchd.runner.client import NOBODYS
from poddispatchd.web.listener import listening
from poddispatchd.web.webhook import webhook_application
from tests.integration.dispatch.rewinding import RewindingWorld
from tests.integration.dispatch.scene import Daemon, HandClock, running
from tests.integration.journal.aging import age_journal
from tests.plugins.shared_world import SharedWorld
from tests.recorded.manager import RecordedManager, served
from tests.recorded.values import Json, mapping

PREFIXES = {1: "rm1", 2: "rm2", 3: "rm3", 4: "rmoff", 5: "rms2"}
"""The recorded managers, as their URLs call them."""

_TOKENS = {"rm1": "tok-rm1", "rm2": "tok-rm2", "rm3": "tok-rm3", "rms2": "tok-rm_site2"}

_PAGES = {
    "encode_video": ("encoding", "video_id"),
    "transcript_video": ("transcription", "video_id"),
    "encode_studio_recording": ("studio", "recording_id"),
}
"""What Pod's own pages ask for: the type of the task that they add, and the column of its source."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a case led to.

    ``requests``: what the managers were asked, ``rm1:31`` for the encoding of video 31 (``t31`` for its
    transcription, ``s1`` for the first studio recording of the queue). What was asked side by side stands
    side by side, and a ``/`` before what came later. ``rows``: ``9001 running rm1-1`` with the id, or with
    manager and id, and the rank behind a ``#``; ``importing`` when the result is about to be fetched.
    """

    requests: str
    rows: tuple[str, ...]

    @property
    def in_a_row(self) -> "Step":
        """The same, as if nothing were asked side by side."""
        return Step(self.requests.replace(" / ", " "), self.rows)


class TickingClock(HandClock):
    """Time stands still but for a tick at each look: no two moments are the same, no wait ends by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._began = datetime.now(UTC)
        self._ticks = 0

    def monotonic(self) -> float:
        self._ticks += 1
        return 1000.0 + self._ahead + self._ticks * 1e-6

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self.monotonic() - 1000.0)


class RoutingManager(RecordedManager):
    """The recorded managers, taking tasks: an id is theirs and a number, unless an answer has its own."""

    def __init__(self, runner: Json, connection: Connection) -> None:
        super().__init__(runner)
        self._connection = connection
        self._accepted_by: dict[str, int] = {}
        self.sent: list[str] = []
        self.webhook = ""
        self.answers: list[int] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        _, prefix, *rest = request.path.split("/", 4)
        if rest[:1] == ["task"] and request.headers.get("Authorization") != f"Bearer {_TOKENS.get(prefix)}":
            return web.json_response({"detail": "Invalid or expired token"}, status=401)
        match rest:
            case ["task", "execute"]:
                self.sent.append(f"{prefix}:{_what(await request.json())}")
                return await self._execute(request, prefix)
            case ["task", "stop", task_id]:
                self.sent.append(f"{prefix}:stop {task_id}")
                return web.json_response({"status": "stopping"})
            case ["task", "status", task_id] if task_id != NOBODYS:  # that only looks whether it answers
                self.sent.append(f"{prefix}:status {task_id}")
        return await super().handle(request)

    async def _execute(self, request: web.Request, prefix: str) -> web.StreamResponse:
        answer = mapping(self._runner.get(prefix) or {}).get("execute")
        if answer is None:
            answer = {"status": 200, "json": {"task_id": "$ID", "status": "running"}}
        if isinstance(answer, list):
            asked = sum(sent.startswith(f"{prefix}:") for sent in self.sent)
            answer = answer[min(asked, len(answer)) - 1]
        text = json.dumps(answer)
        if "$ID" in text:
            number = self._accepted_by[prefix] = self._accepted_by.get(prefix, 0) + 1
            text = text.replace("$ID", f"{prefix}-{number}")
        answer = json.loads(text)
        if "during" in answer:
            await self._meanwhile(answer["during"])
        if "timeout" in answer:
            # For ever: the client ends it.
            await asyncio.Event().wait()
        response = self._answer(request, answer)
        response.headers.update(answer.get("headers", ()))
        return response

    async def _meanwhile(self, deed: Mapping[str, Any]) -> None:
        """What a manager, or somebody else, did before the answer came."""
        if deed["do"] == "sql":
            for statement in deed["sql"]:
                await self._connection.execute(statement)
            return
        assert deed["do"] == "http"
        async with (
            ClientSession() as client,
            client.request(
                deed["method"], self.webhook + deed["path"], headers=deed["headers"], data=deed["body"]
            ) as response,
        ):
            self.answers.append(response.status)


def _what(body: Mapping[str, Any]) -> str:
    return _label(body["task_type"], body["parameters"].get("video_id", body["source_url"]))


def _label(task_type: str, source: int | str) -> str:
    if task_type == "studio":
        found = re.search(r"0*(\d+)\.xml$", str(source))
        assert found is not None
        return f"s{found[1]}"
    return f"t{source}" if task_type == "transcription" else str(source)


def recorded(step: Mapping[str, Any]) -> Step:
    """What Pod did in a step, one request after the other."""
    expected = step["expect"]
    requests = [
        f"{request['manager']}:{_label(request['task_type'], request['source'])}"
        for request in expected["requests_in_order"]
        if request["task_type"] is not None
    ]
    return Step(" ".join(requests), _rows(expected["tasks_after"]))


def _rows(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(_row(row) for row in sorted(rows, key=lambda row: row["id"]))


def _row(row: Mapping[str, Any]) -> str:
    words = [str(row["id"]), row["status"]]
    prefix = PREFIXES.get(row["runner_manager_id"] or 0, "")
    if row["task_id"] is not None or prefix:
        task_id = row["task_id"]
        words.append(task_id if str(task_id).startswith(f"{prefix}-") else f"{prefix}:{task_id}")
    if row["rank"] is not None:
        words.append(f"#{row['rank']}")
    return " ".join(words)


@dataclass(slots=True)
class Replay:
    """One case on its way."""

    daemon: Daemon
    manager: RoutingManager
    connection: Connection
    reconciler: Reconciler
    inbox: CallbackWorker
    _seen: int = field(default=0)

    async def step(self, stimulus: Mapping[str, Any]) -> Step:
        """Do what a step says, and let the daemon do what follows from it."""
        dispatcher = self.daemon.dispatcher
        match stimulus["do"]:
            case "process_tasks":
                parts = self.daemon.parts
                dispatcher = features.dispatcher(parts, budget=stimulus.get("max_tasks"), single_pass=True)
            case "sql":
                for statement in stimulus["sql"]:
                    await self.connection.execute(statement)
                return Step("", await self._rows())
            case page:
                await self._ask(page, stimulus["id"])
        return await self.settle(dispatcher)

    async def settle(self, dispatcher: Dispatcher | None = None) -> Step:
        """Look at the queue until nothing more can be submitted right now."""
        dispatcher = dispatcher or self.daemon.dispatcher
        rounds: list[str] = []
        while True:
            await dispatcher.step()
            was_idle = not dispatcher.in_hand
            await dispatcher.drain()
            rounds.append(self.news())
            if was_idle and not rounds[-1]:
                return Step(" / ".join(filter(None, rounds)), await self._rows())

    async def reconcile(self) -> Step:
        """Ask about what runs, twice where it is denied."""
        for _ in range(2):
            await self.reconciler.step()
            self.daemon.clock.advance(ASK_AGAIN_AFTER)
        return Step(self.news(), await self._rows())

    async def wait(self, seconds: float) -> Step:
        """Let time pass; managers that are down are probed, and then the queue is looked at."""
        self.daemon.clock.advance(seconds)
        await age_journal(self.connection, seconds)
        await self.daemon.probe()
        return await self.settle()

    async def callbacks(self) -> Step:
        """Handle the callbacks that came."""
        while await self.inbox.step() <= 0.1:
            pass
        return Step(self.news(), await self._rows())

    def news(self) -> str:
        """What the managers were asked since the last question."""
        fresh, self._seen = self.manager.sent[self._seen :], len(self.manager.sent)
        return " ".join(sorted(fresh))

    async def _ask(self, page: str, source: int) -> None:
        """Pod's page adds a row unless one waits; that Pod submits it as well is not replayed."""
        task_type, column = _PAGES[page]
        await self.connection.execute(
            f"INSERT INTO runner_manager_task (type, status, date_added, {column})"
            f" SELECT $1::varchar, 'pending', now(), $2 WHERE NOT EXISTS (SELECT FROM runner_manager_task"
            f" WHERE type = $1 AND status = 'pending' AND {column} = $2)",
            task_type,
            source,
        )

    async def _rows(self) -> tuple[str, ...]:
        """All rows, with the ranks that the maintenance gives them."""
        await write_ranks(self.daemon.parts.database, self.daemon.parts.catalogue.capabilities)
        rows = await self.connection.fetch("SELECT * FROM runner_manager_task")
        open_ones = await self.connection.fetch(
            "SELECT task_pk FROM poddispatchd.import WHERE state = 'open'"
        )
        importing = {row["task_pk"] for row in open_ones}
        return _rows(dict(row) for row in rows if row["id"] not in importing) + tuple(
            f"{_row(dict(row))} importing" for row in rows if row["id"] in importing
        )


@asynccontextmanager
async def replaying(
    rewinding: RewindingWorld, case: Mapping[str, Any], *, also: Iterable[str] = ()
) -> AsyncIterator[Replay]:
    """A case at its start; ``also`` are statements that come on top of it."""
    world = rewinding.world
    await rewinding.rewind()
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(world.database.connection())
        manager = RoutingManager(case.get("runner"), connection)
        base = await stack.enter_async_context(served(manager))
        await world.apply(case, base)
        for statement in also:
            await connection.execute(statement)
        never_answers = "timeout" in json.dumps(case.get("runner"))
        settings = _settings(world, case, request_timeout="300ms" if never_answers else "20s")
        daemon = await stack.enter_async_context(running(settings, clock=TickingClock()))
        parts = daemon.parts
        receiver = CallbackReceiver(parts.database, parts.registry, parts.wakeups, parts.clock)
        application = webhook_application(
            receiver, settings.webhook, metrics=parts.metrics, clock=parts.clock
        )
        address = await stack.enter_async_context(
            listening(application, settings.webhook.listen, "webhook.listen")
        )
        manager.webhook = f"http://{address}"
        yield Replay(daemon, manager, connection, features.reconciler(parts), features.callback_worker(parts))


def _settings(world: SharedWorld, case: Mapping[str, Any], *, request_timeout: str) -> Settings:
    sites = {step["stimulus"]["site"] for step in case["steps"] if "site" in step["stimulus"]}
    return Settings.read(
        {
            "database": {"dsn": world.database.dsn.get_secret_value()},
            "pod": {
                "https": False,
                "media_root": str(world.media_root),
                "use_podfile": case["variant"] == "podfile",
                "site_id": case["settings"]["SITE_ID"],
            },
            "dispatch": {"grace": 0, "sites": sorted(sites)},
            "runners": {"request_timeout": request_timeout},
            "webhook": {"listen": "127.0.0.1:0"},
        }
    )

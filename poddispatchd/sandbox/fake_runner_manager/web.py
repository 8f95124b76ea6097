"""The manager's web side: what every request meets, and the small answers."""

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never
from urllib.parse import unquote

from aiohttp import web

from poddispatchd.sandbox.fake_runner_manager.answers import (
    ScriptedAnswer,
    drop,
    json_answer,
    refusal,
    refused_by,
    send,
    wait_out,
)
from poddispatchd.sandbox.fake_runner_manager.faults import AnswerFault, FaultKind
from poddispatchd.sandbox.fake_runner_manager.records import Received, Runner
from poddispatchd.sandbox.fake_runner_manager.routes import Action, Match, find, redirect, routes
from poddispatchd.sandbox.fake_runner_manager.settings import FakeManagerSettings
from poddispatchd.sandbox.fake_runner_manager.store import Store
from poddispatchd.sandbox.fake_runner_manager.tasks import TaskRoutes

_RATE_WINDOW = 60.0


class Api:
    """Answers requests from the store; one per manager."""

    def __init__(self, store: Store, tasks: TaskRoutes, settings: FakeManagerSettings) -> None:
        self._store = store
        self._tasks = tasks
        self._settings = settings
        self._routes = routes(settings.health, can_stop=settings.can_stop)
        self._windows: dict[str, tuple[float, int]] = {}
        self._going_on: set[asyncio.Task[ScriptedAnswer]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request: faults around the answer the manager would give."""
        store = self._store
        raw_path, _, _ = request.raw_path.partition("?")
        path = unquote(raw_path)
        body = await request.read()
        store.requests.append(Received(request.method, raw_path, _json_or_none(body)))
        store.changed()
        match = find(self._routes, path, self._settings.prefix)
        if match is None:
            target = redirect(self._routes, path, self._settings.prefix)
            answer = refusal(404, "Not Found")
            if target is not None:
                answer = ScriptedAnswer(307, headers={"Location": f"http://{request.host}{target}"})
            return await send(request, answer, None, store.clock)
        fault = store.faults.take(match.route.endpoint, raw_path)
        if fault is not None and fault.kind in (FaultKind.HANG, FaultKind.DROP):
            if fault.kind is FaultKind.HANG:
                await wait_out(fault, store.clock)
            return drop(request)
        if fault is not None and fault.kind is FaultKind.HTML:
            return await send(request, ScriptedAnswer(200), fault, store.clock)
        answering = self._answer(request, match, body, fault)
        if fault is not None and fault.kind is FaultKind.GAVE_UP:
            going_on = asyncio.create_task(answering)
            self._going_on.add(going_on)
            going_on.add_done_callback(self._going_on.discard)
            return await send(request, refused_by(fault), fault, store.clock)
        return await send(request, await answering, fault, store.clock)

    async def _answer(
        self, request: web.Request, match: Match, body: bytes, fault: AnswerFault | None
    ) -> ScriptedAnswer:
        if request.method != match.route.method:
            return refusal(405, "Method Not Allowed", Allow=match.route.method)
        if self._over_limit(request.path):
            limit = self._settings.rate_limit
            return json_answer({"error": f"Rate limit exceeded: {limit} per 1 minute"}, 429)
        refused = refused_by(fault) if fault is not None and fault.kind is FaultKind.STATUS else None
        if match.route.action is Action.ROOT:
            return self._root() if refused is None else refused
        token = _token(request.headers)
        if token is None:
            return refusal(401, "Missing authentication token", WWW_Authenticate="Bearer")
        if token not in self._settings.tokens:
            return refusal(401, "Invalid or expired token", WWW_Authenticate="Bearer")
        if refused is not None:
            return refused
        if match.route.action is Action.EXECUTE:
            return await self._tasks.execute(request.headers.get("Content-Type", ""), body, token)
        if match.arguments:
            return self._tasks.about(match, request.headers.get("Range"))
        return self._overview(match.route.action)

    def _over_limit(self, path: str) -> bool:
        limit = self._settings.rate_limit
        if limit is None:
            return False
        now = self._store.clock.time()
        started, count = self._windows.get(path, (now, 0))
        if now - started >= _RATE_WINDOW:
            started, count = now, 0
        self._windows[path] = (started, count + 1)
        return count >= limit

    # --- small answers --------------------------------------------------------------------------------

    def _root(self) -> ScriptedAnswer:
        settings, prefix = self._settings, self._settings.prefix
        return json_answer(
            {
                "message": "Runner Manager",
                "version": settings.version,
                "health_check": f"{prefix}/{settings.health}/health",
                "admin_dashboard": f"{prefix}/admin",
                "api_docs_visibility": "public",
                "documentation": {
                    "swagger": f"{prefix}/docs",
                    "redoc": f"{prefix}/redoc",
                    "openapi": f"{prefix}/openapi.json",
                },
            }
        )

    def _overview(self, action: Action) -> ScriptedAnswer:
        store = self._store
        match action:
            case Action.HEALTH:
                return json_answer(
                    {
                        "status": "healthy",
                        "timestamp": store.clock.wall().isoformat(),
                        "runners": len(store.listed()),
                        "tasks": len(store.stored()),
                    }
                )
            case Action.VERSION:
                return json_answer(_version(self._settings.version))
            case Action.RUNNERS:
                return json_answer({"runners": [self._listed(runner) for runner in store.listed()]})
            case Action.TASKS:
                tasks = [
                    {"id": record.task_id, "runner_id": record.runner_id, "status": str(record.status)}
                    for record in store.stored()
                ]
                return json_answer({"tasks": tasks})
            case Action.TASK_LIST:
                return json_answer({record.task_id: record.as_json() for record in store.stored()})
            case Action.ROOT | Action.EXECUTE | Action.STATUS | Action.RESULT | Action.FILE | Action.STOP:
                raise AssertionError(f"{action} is answered elsewhere.")
            case _:
                assert_never(action)

    def _listed(self, runner: Runner) -> dict[str, object]:
        age = self._store.heartbeat_age(runner)
        last = self._store.clock.wall() - timedelta(seconds=age)
        return {
            "id": runner.id,
            "url": f"http://runner.test:{runner.id.rpartition('-')[2]}",
            "status": "online",
            "last_heartbeat": f"{last:%Y-%m-%d %H:%M:%S}",
            "age_seconds": int(age),
        }


def _version(version: str) -> dict[str, object]:
    major, minor, patch = (int(part) for part in version.split("."))
    return {
        "version": version,
        "version_info": {"major": major, "minor": minor, "patch": patch},
        "description": "A stand-in for a runner manager",
        "author": "poddispatchd",
        "email": "sandbox@example.org",
        "license": "LGPL-3.0-or-later",
    }


def _token(headers: Mapping[str, str]) -> str | None:
    """The token of a request: X-API-Token wins, even when it is the wrong one.

    Mirrors Starlette, which reads headers as latin-1; aiohttp reads them as UTF-8.
    """
    own, authorization = (
        headers.get(name, "").encode("utf-8", "surrogateescape").decode("latin-1")
        for name in ("X-API-Token", "Authorization")
    )
    if own:
        return own
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _json_or_none(body: bytes) -> object:
    try:
        value: object = json.loads(body)
    except ValueError:
        return None
    return value

"""Runner managers that answer over HTTP as recorded ones did."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from tests.plugins.shared_world import blob
from tests.recorded.values import Json, mapping, text


@dataclass(frozen=True, slots=True)
class Request:
    """One request: ``path`` as it was sent, still escaped; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class RecordedManager:
    """Answers as the recording says; what is not recorded is 404, and submissions are accepted.

    A list holds one answer a request, the last one repeats. An answer that never came is a connection that
    closes: the client is none the wiser for waiting.
    """

    def __init__(self, runner: Json) -> None:
        self._runner = mapping(runner or {})
        self._given: dict[str, int] = {}
        self._accepted = 0
        self.requests: list[Request] = []

    def replace(self, runner: Json) -> None:
        """From now on, answer like this."""
        self._runner = mapping(runner)
        self._given.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        self.requests.append(Request(request.method, request.raw_path, headers, body))
        _, prefix, *rest = request.path.split("/", 4)
        known = mapping(self._runner.get(prefix) or {})
        match rest:
            case ["task", "execute"]:
                self._accepted += 1
                return web.json_response({"task_id": f"{prefix}-{self._accepted}", "status": "running"})
            case ["task", "status", task_id]:
                return self._answer(request, mapping(known.get("status") or {}).get(task_id))
            case ["task", "result", path]:
                task_id, _, name = path.partition("/file/")
                result = mapping(mapping(known.get("results") or {}).get(task_id) or {})
                if not name:
                    return self._answer(request, result.get("manifest"))
                return self._answer(request, mapping(result.get("files") or {}).get(name))
        return web.json_response({"detail": "Not Found"}, status=404)

    def _answer(self, request: web.Request, answer: Json) -> web.StreamResponse:
        if isinstance(answer, list):
            given = self._given.get(request.path, 0)
            self._given[request.path] = given + 1
            answer = answer[min(given, len(answer) - 1)]
        if answer is None:
            return web.json_response({"detail": "Task not found"}, status=404)
        answer = mapping(answer)
        if answer.get("close") or answer.get("timeout"):
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status = answer.get("status", 200)
        assert isinstance(status, int)
        if "json" in answer:
            return web.json_response(answer["json"], status=status)
        if "b64" in answer:
            return web.Response(body=base64.b64decode(text(answer["b64"])), status=status)
        if "blob" in answer:
            return web.Response(body=blob(text(answer["blob"])), status=status)
        content = text(answer.get("raw", answer.get("text", "")))
        kind = text(answer.get("ctype") or ("application/json" if "raw" in answer else "text/plain"))
        return web.Response(text=content, status=status, content_type=kind.partition(";")[0])


@asynccontextmanager
async def recorded_manager(runner: Json) -> AsyncIterator[tuple[RecordedManager, str]]:
    """Managers that answer as ``runner`` of a case says, and their common address."""
    manager = RecordedManager(runner)
    async with served(manager) as base:
        yield manager, base


@asynccontextmanager
async def served(manager: RecordedManager) -> AsyncIterator[str]:
    """Let managers listen; their common address. Who waits for an answer at the end waits no longer."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", manager.handle)
    server = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await server.setup()
    try:
        await web.TCPSite(server, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{server.addresses[0][1]}"
    finally:
        await server.cleanup()

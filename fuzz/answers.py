"""A runner manager that answers anything, and our client that has to make something of it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from random import Random

from msgspec import Struct

from fuzz.values import changed, damaged, written
from poddispatchd.config.model import RunnersSettings
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, RunnerTaskId, SiteId
from poddispatchd.errors import PoddispatchdError
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session

TOKEN = "token-that-no-answer-may-bring-out"
_UNASKED = "answer-that-nobody-asked-for"
_TASK = RunnerTaskId("t-1")
_WITHIN = 0.5
_LONGEST = 20.0
_KEPT = 0.7
"""Of the answers: the share after which the connection may be used again."""
_ONE_PIECE = 8192

_RECORD = {
    "task_id": "t-1",
    "status": "completed",
    "error": None,
    "script_output": "out",
    "task_type": "encoding",
    "source_url": "https://pod.example.org/media/videos/1.mp4",
    "notify_url": "https://pod.example.org/runner/notify_task_end/",
    "parameters": {"rendition": "{}", "video_id": 1},
    "runner_id": "http://runner:8082",
    "run_id": "r",
    "created_at": "2026-01-01T00:00:00",
    "updated_at": "2026-01-01T00:00:00",
    "etab_name": "University",
    "app_name": "Esup-Pod",
}
_ENDPOINTS: dict[str, object] = {
    "execute": {"task_id": "t-1", "status": "running"},
    "status": _RECORD,
    "manifest": {"task_id": "t-1", "files": ["a.mp4", {"file_path": "b.m3u8", "sha256": "0" * 64}]},
    "stop": {"task_id": "t-1", "status": "stopping", "detail": "Stop requested"},
    "health": {
        "status": "healthy",
        "version": "1.7.1",
        "health": "/manager/health",
        "runners": 2,
        "tasks": 3,
        "managers": {"x": 1},
    },
    "runners": [
        {"id": "http://runner:8082", "status": "online", "age_seconds": 2.0, "url": "http://runner:8082"}
    ],
}
_STATUSES = (200,) * 12 + (
    201,
    204,
    301,
    307,
    400,
    401,
    403,
    404,
    409,
    413,
    422,
    425,
    429,
    500,
    502,
    503,
    504,
    599,
)


@dataclass(slots=True)
class Outcome:
    """What came of the answers; ``violations`` are what must not be."""

    asked: int = 0
    refused: int = 0
    violations: list[str] = field(default_factory=list)


class HostileManager:
    """Answers each request with the next of a seeded series."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.template: object = {}
        self._server: asyncio.Server | None = None
        self._served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self) -> int:
        """Listen; on which port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more, and end the connections that are kept."""
        if self._server is not None:
            self._server.close()
        for writer in self._served.values():
            writer.transport.abort()
        await asyncio.gather(*self._served)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._served[task] = writer
        task.add_done_callback(self._served.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            is_kept = True
            while is_kept:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
                answer, is_whole = self._answer()
                # One whose end cannot be found would only be waited for.
                is_kept = is_whole and self.random.random() < _KEPT
                # In one piece: what comes after the next question cannot be told from its answer.
                if is_kept and len(answer) < _ONE_PIECE and self.random.random() < 0.1:
                    answer += self._unasked()
                writer.write(answer)
                await writer.drain()
        writer.close()

    def _unasked(self) -> bytes:
        body = json.dumps({**_RECORD, "task_id": _UNASKED, "files": [_UNASKED], "version": _UNASKED})
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def _answer(self) -> tuple[bytes, bool]:
        """What to send, and whether its end is where its header says."""
        generator = self.random
        data = self.template if generator.random() < 0.2 else changed(generator, self.template)
        body = written(generator, data)
        if generator.random() < 0.02:
            body = generator.choice((b"[", b'{"task_id":', b"[[],")) * 100_000
        status = generator.choice(_STATUSES)
        headers = [
            (
                "Content-Type",
                generator.choice(("application/json",) * 8 + ("text/html", "", "\xff", "image/png")),
            ),
            ("Connection", generator.choice(("keep-alive", "keep-alive", "close"))),
        ]
        is_whole = True
        match generator.randrange(12):
            case 0:
                headers.append(("Transfer-Encoding", "chunked"))
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            case 1:
                headers.append(("Transfer-Encoding", "chunked"))
                body, is_whole = b"zz\r\n" + body, False
            case 2:
                is_whole = False
                headers.append(("Content-Length", str(len(body) + 7)))
            case 3:
                is_whole = False
                headers.append(("Content-Length", generator.choice(("-1", "x", "9" * 25))))
            case 4:
                headers += [("Content-Encoding", "gzip"), ("Content-Length", str(len(body)))]
            case _:
                headers.append(("Content-Length", str(len(body))))
        for name, text in (
            ("Location", "http://169.254.169.254/latest"),
            ("Set-Cookie", "a=b; Domain=.org"),
            ("Retry-After", generator.choice(("x", "-1", "1e9", "9" * 30))),
            ("X-Long", "x" * 9000),
        ):
            if generator.random() < 0.1:
                headers.append((name, text))
        lines = [f"HTTP/1.1 {status} \x1b[31mX", *(f"{name}: {text}" for name, text in headers), "", ""]
        answer = "\r\n".join(lines).encode("utf-8", "surrogatepass") + body
        return (damaged(generator, answer), False) if generator.random() < 0.15 else (answer, is_whole)


def _length(head: bytes) -> int:
    """Of a question's body: our client says it, or sends none."""
    named = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(named[0].partition(b":")[2]) if named else 0


async def ask_all(seed: int, number: int) -> Outcome:
    """Ask a hostile manager so many questions, all of them in turn."""
    hostile, outcome = HostileManager(seed), Outcome()
    port = await hostile.open()
    manager = RunnerManager(
        ManagerId(1), "hostile", 1, f"http://127.0.0.1:{port}/", SecretStr(TOKEN), SiteId(1)
    )
    session = open_session(RunnersSettings())
    client = RunnerClient(session, request_timeout=_WITHIN)
    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "execute": lambda: client.execute(manager, b"{}"),
        "status": lambda: client.status(manager, _TASK),
        "manifest": lambda: client.manifest(manager, _TASK),
        "stop": lambda: client.stop(manager, _TASK),
        "health": lambda: client.health(manager),
        "runners": lambda: client.runners(manager),
    }
    try:
        for count in range(number):
            name = list(questions)[count % len(questions)]
            hostile.template = json.loads(json.dumps(_ENDPOINTS[name]))
            await _ask(questions[name], f"{name} {count}", outcome)
    finally:
        await session.close()
        await hostile.close()
    return outcome


async def _ask(question: Callable[[], Awaitable[object]], name: str, outcome: Outcome) -> None:
    begun = time.monotonic()
    outcome.asked += 1
    try:
        record = await question()
    except PoddispatchdError as error:
        outcome.refused += 1
        found = _unfit(str(error), is_shown=True)
        found += [f"orphan: {words}" for words in _unfit(getattr(error, "orphan", None))]
    except Exception as error:  # noqa: BLE001 - just this must not be
        found = [f"{type(error).__name__}: {error!r:.200}"]
    else:
        found = _unfit(record)
    if time.monotonic() - begun > _LONGEST:
        found.append("it took too long")
    outcome.violations += [f"{name}: {words}" for words in found]


def _unfit(value: object, *, is_shown: bool = False) -> list[str]:
    """What is wrong with what the rest of the program gets to see."""
    match value:
        case str():
            found = []
            if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
                found.append(f"a text that cannot be stored: {value!r:.100}")
            if is_shown and any(ord(character) < 32 or ord(character) == 127 for character in value):
                found.append(f"control characters in words for people: {value!r:.100}")
            if TOKEN in value:
                found.append("the token")
            if _UNASKED in value:
                found.append("an answer to nothing, taken for the one that was waited for")
            return found
        case list() | tuple():
            return [words for item in value for words in _unfit(item)]
        case Struct():
            return [words for name in value.__struct_fields__ for words in _unfit(getattr(value, name))]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return [words for each in fields(value) for words in _unfit(getattr(value, each.name))]
        case _:
            return []

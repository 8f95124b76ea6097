"""Runner managers that cost next to nothing: one process, which answers from memory.

``python -m benchmarks.manager '<JSON>'`` listens on a port for each manager and writes the ports to its
standard output, then a line for each event: ``post`` (a submission was accepted) or ``end`` (a task has
ended, and the webhook is about to be called), with the monotonic time, the manager's number and the task's
id.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[1] / "poddispatchd/sandbox/results/encoding"
"""The files of a result: 15, of 104 KiB together."""

_IN_MEMORY = 2**20
"""Bytes of a file up to which it is answered from memory."""


def token(number: int) -> str:
    """The token of a manager."""
    return f"token-of-benchmark-manager-{number}"


@dataclass(frozen=True, slots=True)
class Spec:
    """How a manager behaves.

    Args:
        delay: seconds until a submission is answered.
        slots: tasks that run at once; None: any number.
        runs: the shortest and the longest run, in seconds, evenly spread; None: runs end never.
    """

    delay: float = 0.0
    slots: int | None = None
    runs: tuple[float, float] | None = None


# --- the process ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Manager:
    number: int
    spec: Spec
    webhook: int
    files: dict[bytes, bytes | Path]
    running: int = 0
    ended: set[str] = field(default_factory=set)
    numbers: "count[int]" = field(default_factory=count)

    def execute(self, respond: Callable[[bytes, object], None]) -> None:
        if self.spec.slots is not None and self.running >= self.spec.slots:
            respond(b"503 Service Unavailable", {"detail": "No runner is available."})
            return
        self.running += 1
        number = next(self.numbers)
        task_id = f"run-{self.number}-{number}"
        _tell("post", self.number, task_id)
        loop = asyncio.get_running_loop()
        answer = {"task_id": task_id, "status": "running"}
        if self.spec.delay:
            loop.call_later(self.spec.delay, respond, b"200 OK", answer)
        else:
            respond(b"200 OK", answer)
        if self.spec.runs is not None:
            shortest, longest = self.spec.runs
            # Evenly spread and in no order, the same in every run.
            seconds = shortest + (longest - shortest) * ((number * 5 + self.number) % 9) / 8
            loop.call_later(self.spec.delay + seconds, self._end, task_id)

    def status(self, task_id: str) -> dict[str, object]:
        return {"task_id": task_id, "status": "completed" if task_id in self.ended else "running"}

    def _end(self, task_id: str) -> None:
        self.running -= 1
        self.ended.add(task_id)
        _tell("end", self.number, task_id)
        _keep(self._call_back(task_id))

    async def _call_back(self, task_id: str) -> None:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.webhook)
            writer.write(callback(token(self.number), task_id, closing=True))
            await reader.read()
            writer.close()


class _Connection(asyncio.Protocol):
    def __init__(self, manager: _Manager) -> None:
        self._manager = manager
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end].lower()
            _, _, length = head.partition(b"content-length:")
            whole = end + 4 + (int(length.partition(b"\r\n")[0]) if length else 0)
            if len(self._pending) < whole:
                return
            path = self._pending.split(b" ", 2)[1]
            self._pending = self._pending[whole:]
            self._answer(path)

    def _answer(self, path: bytes) -> None:
        manager = self._manager
        if path.startswith(b"/task/execute"):
            manager.execute(self._respond)
        elif path.startswith(b"/task/status/"):
            self._respond(b"200 OK", manager.status(path.rpartition(b"/")[2].decode()))
        elif path.startswith(b"/task/result/"):
            task, _, name = path.removeprefix(b"/task/result/").partition(b"/file/")
            if name:
                self._send(manager.files[name])
            else:
                names = [each.decode() for each in manager.files]
                self._respond(b"200 OK", {"task_id": task.decode(), "files": names})
        else:
            self._respond(b"200 OK", {"runners": []})

    def _respond(self, status: bytes, answer: object) -> None:
        body = json.dumps(answer).encode()
        self._transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (status, len(body))
            + body
        )

    def _send(self, content: bytes | Path) -> None:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size
        )
        if isinstance(content, bytes):
            self._transport.write(head + content)
        else:
            self._transport.write(head)
            _keep(self._send_file(content))

    async def _send_file(self, path: Path) -> None:
        with path.open("rb") as file, suppress(OSError):
            await asyncio.get_running_loop().sendfile(self._transport, file)


_WORK: set["asyncio.Task[None]"] = set()


def _keep(work: Coroutine[None, None, None]) -> None:
    task = asyncio.create_task(work)
    _WORK.add(task)
    task.add_done_callback(_WORK.discard)


def _tell(event: str, number: int, task_id: str) -> None:
    sys.stdout.write(f"{event} {time.monotonic()} {number} {task_id}\n")
    sys.stdout.flush()


async def _serve(specs: Sequence[Spec], webhook: int, files: dict[bytes, bytes | Path]) -> None:
    loop = asyncio.get_running_loop()
    ports = []
    for number, spec in enumerate(specs):
        manager = _Manager(number, spec, webhook, files)
        server = await loop.create_server(lambda one=manager: _Connection(one), "127.0.0.1", 0)  # type: ignore[misc]
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


def _files(result: Path) -> dict[bytes, bytes | Path]:
    return {
        path.name.encode(): path.read_bytes() if path.stat().st_size <= _IN_MEMORY else path
        for path in sorted(result.iterdir())
    }


# --- for the benchmarks -----------------------------------------------------------------------------------


def callback(
    token: str, task_id: str, *, status: str = "completed", output: str = "", closing: bool = False
) -> bytes:
    """A request to the webhook, whole."""
    body = json.dumps({"task_id": task_id, "status": status, "script_output": output}).encode()
    return (
        f"POST /runner/notify_task_end/ HTTP/1.1\r\nHost: pod\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{'Connection: close' if closing else 'Accept: */*'}\r\n\r\n"
    ).encode() + body


@dataclass(frozen=True, slots=True)
class Event:
    """What a manager told; ``at`` on the monotonic clock of the machine."""

    kind: str
    at: float
    manager: int
    task_id: str


@dataclass(slots=True)
class Managers:
    """The process, as the benchmark sees it."""

    ports: list[int]
    events: list[Event] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def posts(self) -> list[Event]:
        """The submissions accepted so far."""
        return [event for event in self.events if event.kind == "post"]

    async def until(self, is_enough: Callable[[], bool], *, seconds: float) -> None:
        """Wait until enough has happened; it is asked after each event."""
        async with asyncio.timeout(seconds):
            while not is_enough():
                self._news.clear()
                await self._news.wait()

    async def read(self, lines: asyncio.StreamReader) -> None:
        """Take in what the process tells."""
        async for line in lines:
            kind, at, manager, task_id = line.decode().split()
            self.events.append(Event(kind, float(at), int(manager), task_id))
            self._news.set()


@asynccontextmanager
async def managers(
    specs: Sequence[Spec], *, webhook: int = 0, result: Path = SAMPLE
) -> AsyncIterator[Managers]:
    """Managers in a process of their own; their tasks all have the same files as result."""
    options = json.dumps(
        {"specs": [asdict(spec) for spec in specs], "webhook": webhook, "result": str(result)}
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.manager", options), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        there = Managers(json.loads(await process.stdout.readline()))
        reading = asyncio.create_task(there.read(process.stdout))
        yield there
        reading.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    behaviours = [Spec(**spec) for spec in given["specs"]]
    asyncio.run(_serve(behaviours, given["webhook"], _files(Path(given["result"]))))

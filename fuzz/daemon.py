"""A real daemon on a real database, and what it has made of everything that was sent to it."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import yaml

from fuzz.values import CANARY
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.ports import free_ports
from poddispatchd.sandbox.postgresql import PostgresServer

TOKEN = "token-of-the-real-manager"
PASSWORD = "password-of-the-database"
_START = 240.0
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_SILENCE = 0.3
_FEW_DESCRIPTORS = 16
_FEW_MIB = 40


@dataclass(slots=True)
class Target:
    """The daemon; ``violations`` are what must not be."""

    pid: int
    webhook: int
    ops: int
    log: Path
    connection: "asyncpg.Connection[asyncpg.Record]"
    violations: list[str] = field(default_factory=list)

    def memory(self) -> float:
        """Its resident memory, in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def descriptors(self) -> int:
        """Files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    async def callbacks(self) -> int:
        """Callbacks that are recorded."""
        return int(await self.connection.fetchval("SELECT count(*) FROM poddispatchd.callback"))

    async def rows(self) -> str:
        """What Pod's tables of tasks and managers hold."""
        found = await self.connection.fetch(
            "SELECT id, status, task_id, script_output, runner_manager_id FROM runner_manager_task"
            " ORDER BY id"
        )
        managers = await self.connection.fetch("SELECT id, url, token FROM runner_manager ORDER BY id")
        return repr([tuple(row) for row in (*found, *managers)])

    async def send(self, port: int, data: bytes) -> bytes:
        """All that is answered, until the daemon closes or says nothing more."""
        answer = b""
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                while chunk := await asyncio.wait_for(reader.read(2**16), _SILENCE):
                    answer += chunk
            except TimeoutError:
                pass
            finally:
                writer.close()
        return answer

    def judge(self, answer: bytes, what: str, *, is_signed: bool) -> None:
        """Note what must not be in an answer."""
        for status in map(int, _STATUS.findall(answer)):
            if status >= 500 and status != 503:
                self.violations.append(f"{what}: {status}")
            if status < 300 and not is_signed and what.startswith("webhook") and status != 100:
                self.violations.append(f"{what}: {status} without the token")
        for secret in (CANARY, TOKEN, PASSWORD, "Traceback", "aiohttp", "Python/"):
            if secret.encode() in answer:
                self.violations.append(f"{what}: {secret!r} in the answer")

    def judge_log(self) -> None:
        """Note what must not be in the log."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        for secret in (CANARY, TOKEN, PASSWORD, "Traceback", "service.crashed"):
            if secret in text:
                line = next(line for line in text.splitlines() if secret in line)
                self.violations.append(f"{secret!r} in the log: {line[:300]}")

    async def settled(self, descriptors: int, memory: float) -> None:
        """Note whether it has given back what it took."""
        for _ in range(100):
            if self.descriptors() <= descriptors + _FEW_DESCRIPTORS:
                break
            await asyncio.sleep(0.2)
        else:
            self.violations.append(f"{self.descriptors()} descriptors, of {descriptors} before")
        if self.memory() > memory + _FEW_MIB:
            self.violations.append(f"{self.memory():.0f} MiB of memory, of {memory:.0f} before")


@asynccontextmanager
async def daemon(directory: Path) -> AsyncIterator[Target]:
    """A daemon that logs everything, with one runner manager and two tasks that run.

    Raises:
        RuntimeError: it does not start.
    """
    async with PostgresServer() as server:
        connection = await asyncpg.connect(server.dsn().get_secret_value())
        await create_schema(connection, SchemaVariant.NOPODFILE)
        await _fill(connection)
        webhook, ops = free_ports(2)
        _make_media(directory)
        settings = {
            "database": {"dsn": server.dsn().get_secret_value()},
            "pod": {"media_root": str(directory / "media"), "use_podfile": False},
            "webhook": {"listen": f"127.0.0.1:{webhook}", "header_timeout": "2s", "body_timeout": "2s"},
            "ops": {"listen": f"127.0.0.1:{ops}"},
            "reconcile": {"running_after": "1h"},
            "log": {"level": "debug", "format": "json"},
        }
        config, log = directory / "config.yaml", directory / "daemon.log"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        with log.open("wb") as stream:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "poddispatchd", "run", "-c", str(config)),
                stdout=stream,
                stderr=stream,
            )
            try:
                await _is_ready(log, child)
                yield Target(child.pid, webhook, ops, log, connection)
                if child.returncode is None:
                    child.terminate()
            finally:
                if child.returncode is None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(child.wait(), 20)
                if child.returncode is None:
                    child.kill()
                    await child.wait()
                await connection.close()


async def _is_ready(log: Path, child: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_START):
        while True:
            text = await asyncio.to_thread(log.read_text, encoding="utf-8")
            if "daemon.ready" in text:
                return
            if child.returncode is not None:
                raise RuntimeError(f"the daemon did not start:\n{text}")
            await asyncio.sleep(0.05)


def _make_media(directory: Path) -> None:
    media = directory / "media" / "videos"
    media.mkdir(parents=True)
    (media / "1.mp4").write_bytes(b"x")


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    site = await connection.fetchval(
        "INSERT INTO django_site (domain, name) VALUES ('pod.example.org', 'pod') RETURNING id"
    )
    manager = await connection.fetchval(
        "INSERT INTO runner_manager (name, priority, url, token, site_id, is_active)"
        " VALUES ('one', 1, 'http://127.0.0.1:9/', $1, $2, true) RETURNING id",
        TOKEN,
        site,
    )
    for task_id in ("t-1", "t-2"):
        await connection.execute(
            "INSERT INTO runner_manager_task (type, status, task_id, date_added, runner_manager_id)"
            " VALUES ('encoding', 'running', $1, now(), $2)",
            task_id,
            manager,
        )


def shown(violations: list[str], most: int = 20) -> str:
    """The first of them, as JSON strings: whatever is in them, one line each."""
    return "\n".join(json.dumps(violation) for violation in violations[:most])

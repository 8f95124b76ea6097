"""What the daemon costs when there is nothing to do: time to READY, memory, and statements a minute."""

import asyncio
import os
import re
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import yaml
from pydantic import SecretStr

from benchmarks.report import Figure
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from poddispatchd.sandbox.pod.schema import Variant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.postgresql import PostgresServer, ServerAddress

STARTS = 5
SETTLE_SECONDS = 60.0
COUNT_SECONDS = 120.0

_SSL_REQUEST = 80877103


@dataclass(slots=True)
class Counting:
    """A way to PostgreSQL that counts the statements carried out: messages Query and Execute."""

    address: ServerAddress
    statements: Counter[str] = field(default_factory=Counter)
    port: int = 0

    async def serve(self) -> asyncio.Server:
        """Listen on a port of its own."""
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.address.host, self.address.port)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await asyncio.gather(self._forward(reader, back), _copy(there, writer))
        back.close()
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started = False
        named: dict[bytes, str] = {}
        current = ""
        while True:
            kind = await reader.readexactly(1) if started else b""
            head = await reader.readexactly(4)
            body = await reader.readexactly(struct.unpack("!I", head)[0] - 4)
            if not started:
                started = struct.unpack("!I", body[:4])[0] != _SSL_REQUEST
            elif kind == b"P":
                name, query, *_ = body.split(b"\0")
                named[name] = _first_words(query)
            elif kind == b"B":
                current = named.get(body.split(b"\0")[1], "?")
            elif kind == b"Q":
                self.statements[_first_words(body[:-1])] += 1
            elif kind == b"E":
                self.statements[current] += 1
            writer.write(kind + head + body)
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def _first_words(query: bytes) -> str:
    lines = (line for line in query.decode(errors="replace").splitlines() if not line.startswith("--"))
    return re.sub(r"\s+", " ", " ".join(lines)).strip()[:90]


async def _ready(config: Path) -> tuple[asyncio.subprocess.Process, float]:
    """Start the daemon; it, and the seconds from exec to READY."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.setblocking(False)
        notified.bind(f"\0poddispatchd-benchmark-{os.getpid()}")
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "NOTIFY_SOCKET": f"@poddispatchd-benchmark-{os.getpid()}",
        }
        begun = time.monotonic()
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "poddispatchd", "run", "-c", str(config)),
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        async with asyncio.timeout(60):
            while await loop.sock_recv(notified, 4096) != b"READY=1":
                pass
    return daemon, time.monotonic() - begun


def _resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


async def idle(*, verbose: bool = False) -> list[Figure]:
    """Measure; it takes three minutes."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poddispatchd-idle-")))
        server = await stack.enter_async_context(PostgresServer())
        manager = await stack.enter_async_context(FakeRunnerManager())
        connection = await asyncpg.connect(server.dsn().get_secret_value())
        await create_schema(connection, Variant.PODFILE)
        specs = [ManagerSpec("encoders", manager.url, SecretStr(manager.token))]
        await seed_world(connection, directory / "media", managers=specs)
        await connection.close()
        counting = Counting(server.address)
        await stack.enter_async_context(await counting.serve())
        config = directory / "config.yaml"
        config.write_text(yaml.safe_dump(_settings(server, counting, directory)), encoding="utf-8")
        config.chmod(0o600)
        starts = []
        # The first start compiles, as an installation does, and makes the schema.
        for number in range(STARTS + 1):
            daemon, seconds = await _ready(config)
            starts += [seconds] if number else []
            if number < STARTS:
                daemon.terminate()
                await daemon.wait()
        await asyncio.sleep(SETTLE_SECONDS)
        resident = _resident_mib(daemon.pid)
        counting.statements.clear()
        await asyncio.sleep(COUNT_SECONDS)
        counted = counting.statements.total()
        if verbose:
            for statement, count in counting.statements.most_common():
                print(f"  {count:4} {statement}")
        daemon.terminate()
        await daemon.wait()
    return [
        Figure("exec to READY, middle of all starts", sorted(starts)[STARTS // 2] * 1000, "ms", 1000),
        Figure("exec to READY, slowest start", max(starts) * 1000, "ms"),
        Figure("resident memory, idle for a minute", resident, "MiB", 80),
        Figure("statements a minute, idle", counted * 60 / COUNT_SECONDS, "", 10),
    ]


def _settings(server: PostgresServer, counting: Counting, directory: Path) -> dict[str, dict[str, object]]:
    password = server.address.password.get_secret_value()
    return {
        "database": {"dsn": f"postgresql://postgres:{password}@127.0.0.1:{counting.port}/postgres"},
        "pod": {"media_root": str(directory / "media"), "use_podfile": True},
        "imports": {"keep_free": "1MiB"},
        "webhook": {"listen": "127.0.0.1:0"},
        "ops": {"listen": "127.0.0.1:0"},
    }


def main() -> int:
    """Run by itself: ``python -m benchmarks.idle``, with every statement that was counted."""
    figures = asyncio.run(idle(verbose=True))
    for figure in figures:
        print(figure.line())
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())

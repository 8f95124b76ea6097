"""A Pod with its PostgreSQL, and the daemon as a process beside it: what is measured from outside."""

import asyncio
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import asyncpg
import yaml

from benchmarks.manager import token
from poddispatchd.database import migration
from poddispatchd.domain.secret import SecretStr
from poddispatchd.pod import trigger
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World, add_video
from poddispatchd.sandbox.ports import free_ports
from poddispatchd.sandbox.postgresql import PostgresServer

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Settings: TypeAlias = Mapping[str, Mapping[str, object]]

_READY_WITHIN = 60.0

_SERVER = {
    # As an installation has it: what is committed is on the disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
}


_directory: ContextVar[Path | None] = ContextVar("_directory", default=None)
"""Of the server that all systems have in common; None: each has its own."""

_TEMPLATE = "pod_template"
"""The database with Pod's tables, the daemon's schema and the trigger: each system begins with a copy."""


@dataclass(slots=True)
class Process:
    """The daemon that runs; ``started_in`` seconds from exec until it was ready."""

    process: asyncio.subprocess.Process
    started_in: float

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = self._file("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> float:
        """What is resident, in MiB."""
        return self._mebibytes("VmRSS")

    @property
    def peak_memory(self) -> float:
        """The most that was resident since ``forget_peak``, in MiB."""
        return self._mebibytes("VmHWM")

    def forget_peak(self) -> None:
        """Count the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    async def stop(self) -> None:
        """End it in good order."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()

    def _file(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text(encoding="ascii")

    def _mebibytes(self, field: str) -> float:
        found = re.search(rf"{field}:\s+(\d+) kB", self._file("status"))
        assert found is not None
        return int(found[1]) / 1024


@dataclass(slots=True)
class System:
    """Pod's database and media tree, and how to start the daemon on them."""

    server: PostgresServer
    connection: Connection
    statistics: Connection
    world: World
    folder: Path
    webhook: int
    stack: AsyncExitStack
    settings: dict[str, dict[str, object]]
    videos: list[int] = field(default_factory=list)
    last_before: int = 0
    """The newest task before those that were added last."""

    @property
    def dsn(self) -> str:
        """Of Pod's database."""
        return self.server.dsn("pod").get_secret_value()

    @property
    def config(self) -> Path:
        """The configuration of the daemon."""
        return self.folder / "config.yaml"

    async def start(self) -> Process:
        """Start the daemon; it ends with the system."""
        daemon = await started(self.config)
        self.stack.push_async_callback(daemon.stop)
        return daemon

    async def add_videos(self, count: int, *, with_files: bool = True) -> list[int]:
        """So many videos of all kinds of people, with their sources; their ids."""
        folder = self.world.media_root / "videos" / "bench"
        one = await add_video(self.connection, self.world)
        rows = await self.connection.fetch(
            """
            /* benchmark: */ WITH made AS (
                INSERT INTO video_video
                SELECT (jsonb_populate_record(one, jsonb_build_object(
                            'id', one.id + n, 'slug', (one.id + n) || '-lecture',
                            'video', 'videos/bench/' || (one.id + n) || '.mp4',
                            'owner_id', people.ids[1 + n % cardinality(people.ids)]))).*
                  FROM video_video AS one, generate_series(1, $2) AS n,
                       (SELECT array_agg(id) AS ids FROM auth_user) AS people
                 WHERE one.id = $1
                RETURNING id
            ), shown AS (
                INSERT INTO video_video_sites (video_id, site_id) SELECT id, 1 FROM made
            )
            SELECT id, setval(pg_get_serial_sequence('video_video', 'id'), max(id) OVER ())
              FROM made ORDER BY id
            """,
            one.id,
            count,
        )
        ids = [row["id"] for row in rows]
        if with_files:
            first = self.world.media_root / one.path

            def put() -> None:
                source = first
                folder.mkdir(parents=True, exist_ok=True)
                for n, video in enumerate(ids):
                    target = folder / f"{video}.mp4"
                    # ext4 allows 65,000 links to one file.
                    if n % 10_000 == 0:
                        source = shutil.copyfile(source, target)
                    else:
                        target.hardlink_to(source)

            await asyncio.to_thread(put)
        self.videos += ids
        # As autovacuum does it in a Pod that lives.
        await self.connection.execute("/* benchmark: */ ANALYZE")
        return ids

    async def add_pending(self, videos: Sequence[int]) -> float:
        """A pending encoding of each video, all in one commit; the moment of it on the monotonic clock."""
        await self._note_last()
        await self.connection.execute(
            "/* benchmark: */ INSERT INTO runner_manager_task (type, status, date_added, video_id)"
            " SELECT 'encoding', 'pending', now(), unnest($1::bigint[])",
            videos,
        )
        return time.monotonic()

    async def add_running(self, videos: Sequence[int]) -> list[str]:
        """A running encoding of each video on the first manager; the ids of their runs."""
        await self._note_last()
        return [
            row["task_id"]
            for row in await self.connection.fetch(
                "/* benchmark: */ INSERT INTO runner_manager_task"
                " (type, status, date_added, video_id, task_id, runner_manager_id)"
                " SELECT 'encoding', 'running', now(), video, 't-' || video, $2"
                " FROM unnest($1::bigint[]) AS video RETURNING task_id",
                videos,
                self.world.managers[0].id,
            )
        ]

    async def add_finished(self, count: int) -> None:
        """A history: completed encodings, one a minute into the past."""
        await self.connection.execute(
            "INSERT INTO runner_manager_task (type, status, task_id, date_added, runner_manager_id, video_id,"
            " script_output) SELECT 'encoding', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END,"
            " 'old-' || n, now() - n * interval '1 minute', 1, ($2::bigint[])[1 + n % cardinality($2)],"
            " repeat('x', 200) FROM generate_series(1, $1) AS n",
            count,
            self.videos,
        )
        await self.connection.execute("VACUUM ANALYZE runner_manager_task")

    async def _note_last(self) -> None:
        newest = "/* benchmark: */ SELECT coalesce(max(id), 0) FROM runner_manager_task"
        self.last_before = await self.connection.fetchval(newest)

    async def until_none(self, status: str, *, seconds: float) -> float:
        """Wait until none of the tasks that were added last has this status; the moment."""
        # Of these only: a look through all of a table that grows would cost more than what is measured.
        left = (
            "/* benchmark: */ SELECT EXISTS (SELECT FROM runner_manager_task WHERE id > $1 AND status = $2)"
        )
        async with asyncio.timeout(seconds):
            while await self.connection.fetchval(left, self.last_before, status):  # noqa: ASYNC110 - the daemon changes it
                await asyncio.sleep(0.02)
        return time.monotonic()

    async def statements(self, *, besides: str = "-") -> int:
        """Statements in Pod's database so far, without the benchmark's own and those that hold a text.

        The benchmark's own are marked as ``benchmark:``; those that PostgreSQL makes of foreign keys do not
        count.
        """
        return int(
            await self.statistics.fetchval(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements JOIN pg_database ON oid = dbid"
                " WHERE datname = 'pod' AND query NOT LIKE '%benchmark:%' AND query NOT LIKE '%FROM ONLY%'"
                " AND strpos(query, $1) = 0",
                besides,
            )
        )


@contextmanager
def shared_server() -> Iterator[None]:
    """Have all systems that are made within it use one server, one after the other."""
    with PostgresServer(settings=_SERVER) as server:
        before = _directory.set(server.directory)
        try:
            yield
        finally:
            _directory.reset(before)


@asynccontextmanager
async def system(
    ports: Sequence[int] = (), *, settings: Settings | None = None, webhook: int | None = None
) -> AsyncIterator[System]:
    """A Pod with managers at these ports, all of priority 1; the daemon is not started yet."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poddispatchd-bench-")))
        server = await stack.enter_async_context(PostgresServer(_directory.get(), settings=_SERVER))
        statistics = await asyncpg.connect(server.dsn().get_secret_value())
        stack.push_async_callback(statistics.close)
        await _copy_template(server, statistics)
        connection = await asyncpg.connect(server.dsn("pod").get_secret_value())
        stack.push_async_callback(connection.close)
        world = await seed_world(
            connection,
            folder / "media",
            managers=[
                ManagerSpec(f"manager {number}", f"http://127.0.0.1:{port}", SecretStr(token(number)))
                for number, port in enumerate(ports)
            ],
            videos=False,
        )
        port = webhook or free_ports(1)[0]
        document: dict[str, dict[str, object]] = {
            "database": {"dsn": server.dsn("pod").get_secret_value(), "pool_size": 10},
            "pod": {"media_root": str(folder / "media"), "use_podfile": True},
            # Pod's own submissions are not played here, and the managers have no rate limit.
            "dispatch": {"grace": 0},
            "runners": {"submissions_per_minute": 0},
            "imports": {"keep_free": "1MiB"},
            "webhook": {"listen": f"127.0.0.1:{port}"},
            "ops": {"listen": "127.0.0.1:0"},
        }
        for section, values in (settings or {}).items():
            document[section] = {**document.get(section, {}), **values}
        here = System(server, connection, statistics, world, folder, port, stack, document)
        here.config.write_text(yaml.safe_dump(document), encoding="utf-8")
        here.config.chmod(0o600)
        yield here


async def _copy_template(server: PostgresServer, connection: Connection) -> None:
    """Make the database ``pod`` anew, and forget what others have cost."""
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", _TEMPLATE):
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        await connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        template = await asyncpg.connect(server.dsn(_TEMPLATE).get_secret_value())
        await create_schema(template, SchemaVariant.PODFILE)
        await migration.upgrade_within(template)
        await template.execute(trigger.install_script())
        await template.close()
    await connection.execute("DROP DATABASE IF EXISTS pod WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE pod TEMPLATE {_TEMPLATE}")
    await connection.execute("SELECT pg_stat_statements_reset()")
    # What was written before is not written while something else is measured.
    await connection.execute("CHECKPOINT")


async def started(config: Path) -> Process:
    """The daemon as a process, once it is ready."""
    loop = asyncio.get_running_loop()
    name = f"poddispatchd-benchmark-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.setblocking(False)
        notified.bind(f"\0{name}")
        # An installation has its bytecode beside it.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "poddispatchd", "run", "-c", str(config)),
            stderr=asyncio.subprocess.DEVNULL,
            env={**environment, "NOTIFY_SOCKET": f"@{name}"},
        )
        async with asyncio.timeout(_READY_WITHIN):
            while b"READY=1" not in await loop.sock_recv(notified, 4096):
                pass
    return Process(process, time.monotonic() - begun)

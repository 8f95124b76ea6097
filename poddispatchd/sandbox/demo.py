"""The product in small: Pod's tables in a real PostgreSQL, fake runner managers, and the real daemon."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import yaml

from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager, Runner
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World, add_recording, add_task, add_video
from poddispatchd.sandbox.ports import free_ports
from poddispatchd.sandbox.postgresql import PostgresServer

_DOMAIN = "pod.example.org"
_DATABASE = "pod"
_ENCODING = frozenset({"encoding", "studio"})
_LECTURES = (
    "Algèbre linéaire",
    "Chimie organique",
    "Histoire du droit",
    "Mécanique quantique",
    "Phonétique",
    "Réseaux",
    "Statistiques",
)


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task as the view shows it."""

    pk: TaskPk
    type: str
    status: str
    source: str
    manager: str | None


@dataclass(slots=True)
class Demo:
    """A running demo. ``restarts`` counts how often the daemon was started again after it had died."""

    directory: Path
    world: World
    dsn: SecretStr
    ops_url: str
    config: Path
    log: Path
    managers: list[FakeRunnerManager]
    restarts: int = 0
    daemon: asyncio.subprocess.Process | None = None
    _watch: asyncio.Task[None] | None = field(default=None, repr=False)

    async def start_daemon(self) -> None:
        """Start ``poddispatchd run``; like systemd, start it again whenever it dies."""
        self.daemon = await self._spawn()
        self._watch = asyncio.create_task(self._keep_alive())

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "poddispatchd",
                "run",
                "-c",
                str(self.config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _keep_alive(self) -> None:
        while self.daemon is not None:
            status = await self.daemon.wait()
            if status == 2:
                raise RuntimeError(f"The daemon refuses its configuration: see {self.log}.")
            self.restarts += 1
            await asyncio.sleep(0.5)
            self.daemon = await self._spawn()

    async def stop_daemon(self) -> int | None:
        """Stop the daemon as systemd does; its exit status."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        daemon, self.daemon = self.daemon, None
        if daemon is None:
            return None
        if daemon.returncode is None:
            daemon.send_signal(signal.SIGTERM)
        return await daemon.wait()

    @property
    def daemon_failed(self) -> BaseException | None:
        """Why the daemon cannot be kept running, if so."""
        if self._watch is None or not self._watch.done() or self._watch.cancelled():
            return None
        return self._watch.exception()

    async def tasks(self) -> list[TaskLine]:
        """Every task, by id."""
        connection = await asyncpg.connect(self.dsn.get_secret_value())
        try:
            rows = await connection.fetch(
                "SELECT task.id, task.type, task.status, manager.name AS manager,"
                " coalesce(video.title, recording.title, '') AS source"
                " FROM runner_manager_task AS task"
                " LEFT JOIN runner_manager AS manager ON manager.id = task.runner_manager_id"
                " LEFT JOIN video_video AS video ON video.id = task.video_id"
                " LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id"
                " ORDER BY task.id"
            )
        finally:
            await connection.close()
        return [
            TaskLine(TaskPk(row["id"]), row["type"], row["status"], row["source"], row["manager"])
            for row in rows
        ]

    def life_of(self, task: TaskPk) -> list[str]:
        """The daemon's log lines about one task."""
        lines = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("task") == task:
                lines.append(_plain(entry))
        return lines


def _plain(entry: dict[str, object]) -> str:
    hidden = ("timestamp", "level", "event", "logger", "task")
    facts = "  ".join(f"{key}={value}" for key, value in entry.items() if key not in hidden)
    return f"{str(entry.get('timestamp', ''))[11:23]}  {entry.get('event', ''):22} {facts}"


@asynccontextmanager
async def running_demo(*, tasks: int = 12, seconds: float = 2.0) -> AsyncIterator[Demo]:
    """Everything but the daemon: database, world, tasks, media tree, runner managers, configuration.

    Args:
        tasks: how many tasks wait in the queue.
        seconds: how long a runner works on one.
    """
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poddispatchd-demo-")))
        server = stack.enter_context(PostgresServer())
        webhook_port, ops_port = free_ports(2)
        callbacks = {f"{_DOMAIN}:80": f"127.0.0.1:{webhook_port}"}
        managers = [
            await stack.enter_async_context(
                FakeRunnerManager(token=token, runners=runners, task_seconds=seconds, connect_to=callbacks)
            )
            for token, runners in (
                ("demo-token-of-encoders", [Runner(types=_ENCODING), Runner(types=_ENCODING)]),
                ("demo-token-of-gpu", [Runner(types=frozenset({"transcription"})), Runner()]),
            )
        ]
        dsn, world = await _seed(server, directory / "media", managers, tasks)
        config = directory / "config.yaml"
        config.write_text(
            _config(dsn, directory / "media", webhook_port=webhook_port, ops_port=ops_port), encoding="utf-8"
        )
        config.chmod(0o600)
        demo = Demo(
            directory=directory,
            world=world,
            dsn=dsn,
            ops_url=f"http://127.0.0.1:{ops_port}",
            config=config,
            log=directory / "daemon.log",
            managers=managers,
        )
        try:
            yield demo
        finally:
            await demo.stop_daemon()


async def _seed(
    server: PostgresServer, media_root: Path, managers: list[FakeRunnerManager], tasks: int
) -> tuple[SecretStr, World]:
    administration = await asyncpg.connect(server.dsn().get_secret_value())
    try:
        await administration.execute(f'CREATE DATABASE "{_DATABASE}"')
    finally:
        await administration.close()
    dsn = server.dsn(_DATABASE)
    connection = await asyncpg.connect(dsn.get_secret_value())
    try:
        await create_schema(connection, SchemaVariant.PODFILE)
        names = ("encoders", "gpu")
        world = await seed_world(
            connection,
            media_root,
            site_domain=_DOMAIN,
            managers=[
                ManagerSpec(name, manager.url, SecretStr(manager.token), priority)
                for priority, (name, manager) in enumerate(zip(names, managers, strict=True), start=1)
            ],
            videos=False,
        )
        await _fill_queue(connection, world, tasks)
    finally:
        await connection.close()
    return dsn, world


async def _fill_queue(connection: "asyncpg.Connection[asyncpg.Record]", world: World, tasks: int) -> None:
    """A queue of all three types, from users of all classes."""
    owners = ("student", "employee", "faculty", "priority")
    for number in range(tasks):
        title, owner = _LECTURES[number % len(_LECTURES)], owners[number % len(owners)]
        match number % 6:
            case 2:
                video = await add_video(connection, world, title=title, owner=owner, transcript="fr")
                await add_task(connection, TaskType.TRANSCRIPTION, video=video)
            case 5:
                recording = await add_recording(connection, world, title=f"{title}, en studio")
                await add_task(connection, TaskType.STUDIO, recording=recording)
            case _:
                video = await add_video(connection, world, title=title, owner=owner)
                await add_task(connection, TaskType.ENCODING, video=video)


def _config(dsn: SecretStr, media_root: Path, *, webhook_port: int, ops_port: int) -> str:
    return yaml.safe_dump(
        {
            "database": {"dsn": dsn.get_secret_value()},
            "pod": {
                "https": False,
                "media_root": str(media_root),
                "use_podfile": True,
                "use_transcription": True,
            },
            "dispatch": {"poll_interval": "1s", "grace": 0},
            "reconcile": {"interval": "5s", "running_after": "5s"},
            "imports": {"keep_free": "16MiB"},
            "webhook": {"listen": f"127.0.0.1:{webhook_port}"},
            "ops": {"listen": f"127.0.0.1:{ops_port}"},
            "log": {"format": "json"},
        },
        sort_keys=False,
    )


def all_done(tasks: list[TaskLine]) -> bool:
    """Whether every task has ended."""
    return all(task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMEOUT) for task in tasks)

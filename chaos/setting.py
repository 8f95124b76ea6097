"""The stage: database, Pod, media tree, proxies, relay, managers and daemons of one campaign."""

import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from chaos.disk import SmallDisk
from chaos.history import History
from chaos.postgres import DURABLE, RestartableServer
from chaos.processes import DaemonChild, ManagerChild, daemon_command
from chaos.proxy import Proxy
from chaos.relay import Relay
from chaos.timeline import Timeline
from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.pod.schema import Variant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World, add_recording, add_task, add_video
from poddispatchd.sandbox.postgresql import PostgresServer

_DOMAIN = "pod.example.org"
_TIME_SCALE = 0.1
_PER_TASK = 300_000
_HEADROOM = 96 * 2**20
_KEEP_FREE = "4MiB"
SKEW = 120.0
"""Seconds by which the clock of the second daemon is ahead."""

_MANAGERS = (
    ("one", "proxy", [["encoding", "studio"]] * 4 + [["transcription"]] * 2),
    ("two", "shared", [["encoding", "studio", "transcription"]] * 5),
    ("three", "proxy", [["encoding", "studio", "transcription"]] * 5),
)


@dataclass(slots=True)
class Stage:
    """Everything a campaign plays with. ``titles`` are the recordings' titles by task."""

    directory: Path
    media_root: Path
    dsn: SecretStr
    world: World
    server: RestartableServer
    disk: SmallDisk
    relay: Relay
    proxies: list[Proxy]
    daemons: list[DaemonChild]
    managers: list[ManagerChild]
    histories: list[History]
    timeline: Timeline
    tasks: list[int] = field(default_factory=list)
    titles: dict[int, str] = field(default_factory=dict)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of the campaign's own, round every proxy."""
        return await asyncpg.connect(self.dsn.get_secret_value(), timeout=5, command_timeout=30)

    async def add_tasks(self, count: int, lot: Random) -> None:
        """Add tasks of all three types, from users of all classes, as Pod does."""
        connection = await self.connect()
        try:
            for _ in range(count):
                number = len(self.tasks)
                owner = lot.choice(("student", "employee", "faculty", "priority"))
                match lot.randrange(6):
                    case 0 | 1:
                        video = await add_video(
                            connection, self.world, title=f"Vidéo {number}", owner=owner, transcript="fr"
                        )
                        pk = await add_task(connection, TaskType.TRANSCRIPTION, video=video)
                    case 2:
                        title = f"Studio {number}"
                        recording = await add_recording(connection, self.world, title=title)
                        pk = await add_task(connection, TaskType.STUDIO, recording=recording)
                        self.titles[pk] = title
                    case _:
                        video = await add_video(connection, self.world, title=f"Vidéo {number}", owner=owner)
                        pk = await add_task(connection, TaskType.ENCODING, video=video)
                self.tasks.append(pk)
        finally:
            await connection.close()


@asynccontextmanager
async def stage(directory: Path, *, tasks: int, seed: int) -> AsyncIterator[Stage]:
    """Set everything up and start it; the daemons are ready soon afterwards."""
    lot, timeline = Random(f"{seed} relay"), Timeline()
    async with AsyncExitStack() as stack:
        keeper = await stack.enter_async_context(PostgresServer(settings=DURABLE))
        server = RestartableServer(keeper)
        stack.callback(server.close)
        disk = SmallDisk(directory / "media", _HEADROOM + tasks * _PER_TASK)
        stack.callback(disk.close)
        ports = free_ports(4)
        webhooks = [f"http://127.0.0.1:{port}" for port in ports[:2]]
        relay = await stack.enter_async_context(Relay(webhooks, timeline, lot))
        managers, histories = await _managers(stack, directory, relay, seed)
        dsn, world = await _seed(keeper, disk.directory, managers)
        proxies = [await stack.enter_async_context(Proxy(keeper.address.port)) for _ in range(2)]
        daemons = [
            _daemon(
                directory,
                index,
                _through(dsn, proxy),
                disk.directory,
                webhook_port=ports[index],
                ops_port=ports[2 + index],
            )
            for index, proxy in enumerate(proxies)
        ]
        made = Stage(
            directory=directory,
            media_root=disk.directory,
            dsn=dsn,
            world=world,
            server=server,
            disk=disk,
            relay=relay,
            proxies=proxies,
            daemons=daemons,
            managers=managers,
            histories=histories,
            timeline=timeline,
        )
        for daemon in daemons:
            await daemon.start()
            stack.push_async_callback(daemon.kill)
        for daemon in daemons:
            await daemon.ready()
        yield made


async def _managers(
    stack: AsyncExitStack, directory: Path, relay: Relay, seed: int
) -> tuple[list[ManagerChild], list[History]]:
    children, histories = [], []
    for index, (name, mode, runners) in enumerate(_MANAGERS):
        port = free_ports(1)[0]
        history = directory / f"manager-{name}.history"
        settings = {
            "name": name,
            "port": port,
            "token": f"token-of-{name}",
            "seed": seed,
            "runners": runners,
            "mode": mode,
            "time_scale": _TIME_SCALE,
            "connect_to": {f"{_DOMAIN}:80": f"127.0.0.1:{relay.port}"},
            "history": str(history),
        }
        path = directory / f"manager-{name}.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        child = ManagerChild(
            name=f"manager {name}",
            command=[sys.executable, "-m", "chaos.manager_process", str(path)],
            log=directory / f"manager-{name}.log",
            index=index,
            url=f"http://127.0.0.1:{port}",
            token=str(settings["token"]),
            runners=len(runners),
        )
        await child.start()
        stack.push_async_callback(child.kill)
        children.append(child)
        histories.append(History(history, name))
    return children, histories


async def _seed(
    server: PostgresServer, media_root: Path, managers: list[ManagerChild]
) -> tuple[SecretStr, World]:
    administration = await asyncpg.connect(server.dsn().get_secret_value())
    try:
        await administration.execute("CREATE DATABASE pod")
    finally:
        await administration.close()
    dsn = server.dsn("pod")
    connection = await asyncpg.connect(dsn.get_secret_value())
    try:
        await create_schema(connection, Variant.PODFILE)
        specs = [
            ManagerSpec(_MANAGERS[one.index][0], one.url, SecretStr(one.token), 1 if one.index < 2 else 2)
            for one in managers
        ]
        world = await seed_world(connection, media_root, site_domain=_DOMAIN, managers=specs, videos=False)
    finally:
        await connection.close()
    return dsn, world


def _daemon(
    directory: Path, index: int, dsn: str, media_root: Path, *, webhook_port: int, ops_port: int
) -> DaemonChild:
    name = "AB"[index]
    config = directory / f"daemon-{name}.yaml"
    child = DaemonChild(
        name=f"daemon {name}",
        command=daemon_command(config, SKEW * index),
        log=directory / f"daemon-{name}.log",
        config=config,
        webhook=f"http://127.0.0.1:{webhook_port}",
        ops=f"http://127.0.0.1:{ops_port}",
        settings={
            "database": {"dsn": dsn},
            "pod": {
                "https": False,
                "media_root": str(media_root),
                "use_podfile": True,
                "use_transcription": True,
            },
            "dispatch": {"poll_interval": "2s", "grace": 0},
            "runners": {"request_timeout": "6s"},
            "reconcile": {"interval": "2s", "running_after": "6s", "max_attempts": 5},
            "imports": {"keep_free": _KEEP_FREE, "concurrency": 3},
            "webhook": {"listen": f"127.0.0.1:{webhook_port}"},
            "ops": {"listen": f"127.0.0.1:{ops_port}"},
            "log": {"format": "json"},
        },
    )
    child.write_config()
    return child


def _through(dsn: SecretStr, proxy: Proxy) -> str:
    parts = urlsplit(dsn.get_secret_value())
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()

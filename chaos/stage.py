"""The stage: database, Pod, media tree, proxies, relay, managers and daemons of one campaign."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg

from chaos.disk import SmallDisk
from chaos.history import History
from chaos.pgbouncer import PgBouncer, pgbouncer
from chaos.pod import Pod
from chaos.postgres import DURABLE, RestartableServer
from chaos.processes import OUR_SOURCE, Command, DaemonChild, ManagerChild, daemon_command
from chaos.proxy import Proxy, through
from chaos.relay import Relay
from chaos.timeline import Kind, Timeline
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World
from poddispatchd.sandbox.ports import free_ports
from poddispatchd.sandbox.postgresql import PostgresServer

_DOMAIN = "pod.example.org"
_TIME_SCALE = 0.1
_PER_TASK = 300_000
_HEADROOM = 96 * 2**20
_KEEP_FREE = "4MiB"
_GRACE = "1s"
MAX_ATTEMPTS = 5
"""Submissions of one task."""
_SKEW = 120.0
"""Seconds by which the clock of the second daemon is ahead at first."""

_POOL_SIZES = {"session": 30, "transaction": 8}
"""Servers of a pooler, by its mode. The daemons have six connections each, and those of a half-open link keep
their servers: sessions find enough of them even then, transactions have to share."""

_RESTART_AFTER = 1.0

_MANAGERS = (
    ("one", "proxy", [["encoding", "studio"]] * 4 + [["transcription"]] * 2),
    ("two", "shared", [["encoding", "studio", "transcription"]] * 5),
    ("three", "proxy", [["encoding", "studio", "transcription"]] * 5),
)


@dataclass(frozen=True, slots=True)
class Tempo:
    """How soon the daemons look again: settings of theirs."""

    interval: str = "2s"
    running_after: str = "6s"


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a campaign plays with.

    ``proxies`` stand before the database, one for each daemon; where there is a ``pooler``, it is in between.
    """

    directory: Path
    media_root: Path
    dsn: SecretStr
    pod: Pod
    server: RestartableServer
    pooler: PgBouncer | None
    disk: SmallDisk
    relay: Relay
    proxies: list[Proxy]
    manager_proxies: list[Proxy]
    daemons: list[DaemonChild]
    managers: list[ManagerChild]
    histories: list[History]
    timeline: Timeline

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of the campaign's own, round the pooler and every proxy; it may write at any time."""
        return await asyncpg.connect(
            self.dsn.get_secret_value(),
            timeout=5,
            command_timeout=30,
            server_settings={"default_transaction_read_only": "off"},
        )

    async def leader(self) -> DaemonChild | None:
        """The daemon that schedules, as the database knows it."""
        try:
            connection = await self.connect()
        except Exception:  # noqa: BLE001 - the database is down, on purpose
            return None
        try:
            instance = await connection.fetchval("SELECT instance FROM poddispatchd.leader")
        except Exception:  # noqa: BLE001 - nobody has made the table yet, or the database goes down
            return None
        finally:
            connection.terminate()
        pid = str(instance).split(":")[1] if instance else ""
        return next((one for one in self.daemons if pid == str(one.pid)), None)


@asynccontextmanager
async def stage(
    directory: Path,
    *,
    tasks: int,
    seed: int,
    tempo: Tempo | None = None,
    pooler: str | None = None,
    file_server: bool = False,
    older: Path | None = None,
    command: Command = daemon_command,
) -> AsyncIterator[Stage]:
    """Set everything up and start it; the daemons are ready by then, those of an ``older`` release if any.

    ``command`` is how they are started.

    Raises:
        PgBouncerMissingError: there is to be a pooler, and PgBouncer is not installed.
        RuntimeError: a daemon does not start; or the media tree is to have a file server, and there is none.
    """
    timeline = Timeline()
    async with AsyncExitStack() as stack:
        keeper = await stack.enter_async_context(PostgresServer(settings=DURABLE))
        server = RestartableServer(keeper)
        stack.callback(server.close)
        disk = SmallDisk(directory / "media", _HEADROOM + tasks * _PER_TASK, wants_server=file_server)
        stack.callback(disk.close)
        ports = free_ports(4)
        webhooks = [f"http://127.0.0.1:{port}" for port in ports[:2]]
        relay = await stack.enter_async_context(Relay(webhooks, timeline, Random(f"{seed} relay")))
        managers, histories = await _managers(stack, directory, relay, seed)
        manager_proxies = [await stack.enter_async_context(Proxy(one.port)) for one in managers]
        dsn, world = await _seed(keeper, disk.directory, managers, manager_proxies)
        bouncer = None if pooler is None else await _pooler(stack, directory, dsn, pooler, timeline)
        port = keeper.address.port if bouncer is None else bouncer.port
        proxies = [await stack.enter_async_context(Proxy(port)) for _ in range(2)]
        daemons = [
            _daemon(
                directory,
                index,
                through(dsn, proxy.port),
                disk.directory,
                tempo or Tempo(),
                command=command,
                webhook_port=ports[index],
                ops_port=ports[2 + index],
            )
            for index, proxy in enumerate(proxies)
        ]
        made = Stage(
            directory=directory,
            media_root=disk.directory,
            dsn=dsn,
            pod=await Pod.at(dsn, world, timeline, Random(f"{seed} tasks")),
            server=server,
            pooler=bouncer,
            disk=disk,
            relay=relay,
            proxies=proxies,
            manager_proxies=manager_proxies,
            daemons=daemons,
            managers=managers,
            histories=histories,
            timeline=timeline,
        )
        for daemon in daemons:
            daemon.source = older or OUR_SOURCE
        for daemon in daemons:
            await daemon.start()
            stack.push_async_callback(daemon.kill)
        for daemon in daemons:
            await daemon.ready()
        yield made


async def _pooler(
    stack: AsyncExitStack, directory: Path, dsn: SecretStr, mode: str, timeline: Timeline
) -> PgBouncer:
    own = directory / "pgbouncer"
    own.mkdir(exist_ok=True)
    # A database that comes back is found within a second rather than fifteen.
    settings = {"default_pool_size": _POOL_SIZES[mode], "server_login_retry": 1}
    bouncer = await stack.enter_async_context(pgbouncer(dsn, own, mode, **settings))
    keeping = asyncio.create_task(keep_alive(bouncer, timeline))
    stack.callback(keeping.cancel)
    return bouncer


async def keep_alive(bouncer: PgBouncer, timeline: Timeline) -> None:
    """Start a PgBouncer again whenever it ends by itself, as systemd does: that is no daemon's fault."""
    while True:
        await bouncer.died.wait()
        with timeline.incident(Kind.POOLER_END, "pooler") as incident:
            incident.happened = True
            await asyncio.sleep(_RESTART_AFTER)
            async with bouncer.busy:
                # It may have been a saboteur's turn.
                if bouncer.died.is_set():
                    await bouncer.stop()
                    await bouncer.start()


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
            "seed": seed,
            "runners": runners,
            "mode": mode,
            "time_scale": _TIME_SCALE,
            "connect_to": {f"{_DOMAIN}:80": f"127.0.0.1:{relay.port}"},
            "history": str(history),
        }
        path = directory / f"manager-{name}.json"
        child = ManagerChild(
            name=f"manager {name}",
            command=[sys.executable, "-m", "chaos.manager_process", str(path)],
            log=directory / f"manager-{name}.log",
            index=index,
            port=port,
            runners=len(runners),
            settings=settings,
            settings_file=path,
        )
        children.append(child)
        histories.append(History(history, name))
    await asyncio.gather(*(child.start() for child in children))
    for child in children:
        stack.push_async_callback(child.kill)
    return children, histories


async def _seed(
    server: PostgresServer, media_root: Path, managers: list[ManagerChild], proxies: list[Proxy]
) -> tuple[SecretStr, World]:
    administration = await asyncpg.connect(server.dsn().get_secret_value())
    try:
        await administration.execute("CREATE DATABASE pod")
    finally:
        await administration.close()
    dsn = server.dsn("pod")
    connection = await asyncpg.connect(dsn.get_secret_value())
    try:
        await create_schema(connection, SchemaVariant.PODFILE)
        specs = [
            ManagerSpec(
                _MANAGERS[one.index][0],
                f"http://127.0.0.1:{proxy.port}",
                SecretStr(one.token),
                1 if one.index < 2 else 2,
            )
            for one, proxy in zip(managers, proxies, strict=True)
        ]
        world = await seed_world(connection, media_root, site_domain=_DOMAIN, managers=specs, videos=False)
    finally:
        await connection.close()
    return dsn, world


def _daemon(
    directory: Path,
    index: int,
    dsn: SecretStr,
    media_root: Path,
    tempo: Tempo,
    *,
    command: Command,
    webhook_port: int,
    ops_port: int,
) -> DaemonChild:
    name = "AB"[index]
    config, clock = directory / f"daemon-{name}.yaml", directory / f"daemon-{name}.clock"
    child = DaemonChild(
        name=f"daemon {name}",
        command=command(config, clock),
        log=directory / f"daemon-{name}.log",
        config=config,
        clock=clock,
        webhook=f"http://127.0.0.1:{webhook_port}",
        ops=f"http://127.0.0.1:{ops_port}",
        settings={
            "database": {"dsn": dsn.get_secret_value()},
            "pod": {
                "https": False,
                "media_root": str(media_root),
                "use_podfile": True,
                "use_transcription": True,
            },
            "dispatch": {"poll_interval": tempo.interval, "grace": _GRACE},
            # Minutes of a campaign stand for hours, and its managers have no rate limit.
            "runners": {"request_timeout": "6s", "submissions_per_minute": 0},
            "reconcile": {
                "interval": tempo.interval,
                "running_after": tempo.running_after,
                "max_attempts": MAX_ATTEMPTS,
                "retry_wait": "2s",
            },
            "imports": {"keep_free": _KEEP_FREE, "concurrency": 3},
            "webhook": {"listen": f"127.0.0.1:{webhook_port}"},
            "ops": {"listen": f"127.0.0.1:{ops_port}"},
            "log": {"format": "json"},
        },
    )
    child.write_config()
    child.set_clock(_SKEW * index)
    return child

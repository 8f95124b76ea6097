"""Every fault that the campaign can cause, and the seeded order in which it does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from chaos.processes import DaemonChild, ManagerChild
from chaos.setting import Stage
from chaos.timeline import Kind

_HALF_OPEN_FOR = 25.0
"""Seconds after which the server finds out that its peer has vanished: its keep-alives with our settings."""

_ANSWERS: tuple[Mapping[str, object], ...] = (
    {"endpoint": "execute", "kind": "lose-answer", "seconds": 20},
    {"endpoint": "execute", "kind": "drop-answer"},
    {"endpoint": "execute", "kind": "drop"},
    {"endpoint": "execute", "kind": "slow", "seconds": 30},
    {"endpoint": "execute", "kind": "hang", "seconds": 100},
    {"endpoint": "execute", "kind": "status", "status": 500},
    {"endpoint": "execute", "kind": "status", "status": 503},
    {"endpoint": "execute", "kind": "html"},
    {"endpoint": "status", "kind": "status", "status": 502},
    {"endpoint": "status", "kind": "drop"},
    {"endpoint": "status", "kind": "html"},
    {"endpoint": "status", "kind": "hang", "seconds": 100},
    {"endpoint": "runners", "kind": "status", "status": 500},
    {"endpoint": "health", "kind": "status", "status": 500},
)

_DOWNLOADS: tuple[Mapping[str, object], ...] = (
    {"endpoint": "file", "kind": "cut", "length": 3000},
    {"endpoint": "file", "kind": "wrong-length", "length": 10},
    {"endpoint": "file", "kind": "drop"},
    {"endpoint": "file", "kind": "status", "status": 502},
    {"endpoint": "file", "kind": "slow", "seconds": 20},
    {"endpoint": "result", "kind": "cut", "length": 20},
    {"endpoint": "result", "kind": "status", "status": 500},
    {"endpoint": "result", "kind": "drop"},
)


class Saboteur:
    """Causes faults; a target that somebody is at already is left to them.

    Args:
        stage: what is broken.
        lot: decides who is hit, for how long, and in which order.
        pace: scales the pauses between faults: 1 is about one every three seconds.
    """

    def __init__(self, stage: Stage, lot: Random, *, pace: float = 1.0) -> None:
        self._stage = stage
        self._lot = lot
        self._pace = pace
        self._links_busy = [asyncio.Lock() for _ in stage.proxies]
        self._server_busy, self._disk_busy = asyncio.Lock(), asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    def _faults(self) -> Mapping[Kind, tuple[int, Callable[[], Awaitable[None]]]]:
        return {
            Kind.DAEMON_KILL: (3, self.kill_daemon),
            Kind.LEADER_KILL: (3, self.kill_leader),
            Kind.DAEMON_STOP: (2, self.stop_daemon),
            Kind.DAEMON_PAUSE: (2, self.pause_daemon),
            Kind.DAEMON_RELOAD: (1, self.reload_daemon),
            Kind.DAEMON_BAD_RELOAD: (1, self.reload_badly),
            Kind.MANAGER_KILL: (3, self.kill_manager),
            Kind.MANAGER_PAUSE: (2, self.pause_manager),
            Kind.RUNNER_DEATH: (3, self.kill_runner),
            Kind.ANSWERS: (5, self.spoil_answers),
            Kind.DOWNLOADS: (3, self.spoil_downloads),
            Kind.DATABASE_RESTART: (2, self.restart_database),
            Kind.LINK_CUT: (2, self.cut_link),
            Kind.LINK_STALL: (2, self.stall_link),
            Kind.LINK_HALF_OPEN: (2, self.half_open_link),
            Kind.LINK_DELAY: (1, self.delay_link),
            Kind.DISK_FULL: (2, self.fill_disk),
        }

    async def run(self, enough: asyncio.Event) -> None:
        """Cause faults until ``enough`` is set, then wait until those under way are over."""
        bag: list[Kind] = []
        faults = self._faults()
        while not enough.is_set():
            if not bag:
                bag = [kind for kind, (share, _) in faults.items() for _ in range(share)]
                self._lot.shuffle(bag)
            work = asyncio.create_task(self._guarded(faults[bag.pop()][1]))
            self._under_way.add(work)
            work.add_done_callback(self._under_way.discard)
            try:
                async with asyncio.timeout(self._lot.uniform(1.0, 5.0) * self._pace):
                    await enough.wait()
            except TimeoutError:
                continue
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _guarded(self, fault: Callable[[], Awaitable[None]]) -> None:
        try:
            await fault()
        except Exception as error:  # noqa: BLE001 - told at the end: a broken saboteur proves nothing
            self.failures.append(error)

    def _seconds(self, least: float, most: float) -> float:
        return self._lot.uniform(least, most)

    # --- daemons ---------------------------------------------------------------------------------------

    async def kill_daemon(self) -> None:
        """Kill a daemon, and start it again as systemd does."""
        await self._kill(self._lot.choice(self._stage.daemons), Kind.DAEMON_KILL)

    async def kill_leader(self) -> None:
        """Kill the scheduler."""
        leader = await self.leader()
        if leader is not None:
            await self._kill(leader, Kind.LEADER_KILL)

    async def _kill(self, daemon: DaemonChild, kind: Kind) -> None:
        pause = self._seconds(0.5, 12.0)
        if daemon.busy.locked():
            return
        async with daemon.busy:
            with self._stage.timeline.incident(kind, daemon.name, f"pid {daemon.pid}"):
                await daemon.kill()
                await asyncio.sleep(pause)
            await daemon.start()

    async def leader(self) -> DaemonChild | None:
        """The daemon that schedules, as the database knows it."""
        try:
            connection = await self._stage.connect()
        except Exception:  # noqa: BLE001 - the database is down, on purpose
            return None
        try:
            instance = await connection.fetchval("SELECT instance FROM poddispatchd.leader")
        except Exception:  # noqa: BLE001 - nobody has made the table yet, or the database goes down
            return None
        finally:
            connection.terminate()
        pid = str(instance).split(":")[1] if instance else ""
        return next((one for one in self._stage.daemons if pid == str(one.pid)), None)

    async def stop_daemon(self) -> None:
        """Stop a daemon politely."""
        daemon = self._lot.choice(self._stage.daemons)
        if daemon.busy.locked():
            return
        async with daemon.busy:
            with self._stage.timeline.incident(Kind.DAEMON_STOP, daemon.name):
                await daemon.terminate()
            await daemon.start()

    async def pause_daemon(self) -> None:
        """Freeze a daemon: its leases run out, its lock stays held."""
        daemon, seconds = self._lot.choice(self._stage.daemons), self._seconds(2.0, 35.0)
        if daemon.busy.locked():
            return
        async with daemon.busy:
            with self._stage.timeline.incident(Kind.DAEMON_PAUSE, daemon.name):
                daemon.stop_clock()
                await asyncio.sleep(seconds)
                daemon.go_on()

    async def reload_daemon(self) -> None:
        """Have a daemon read its configuration again."""
        await self._reload(Kind.DAEMON_RELOAD)

    async def reload_badly(self) -> None:
        """Have a daemon read a configuration that is wrong: the old one stays in effect."""
        await self._reload(Kind.DAEMON_BAD_RELOAD)

    async def _reload(self, kind: Kind) -> None:
        daemon = self._lot.choice(self._stage.daemons)
        if daemon.busy.locked() or not daemon.is_ready():
            return
        async with daemon.busy:
            with self._stage.timeline.incident(kind, daemon.name):
                if kind is Kind.DAEMON_BAD_RELOAD:
                    daemon.spoil_config()
                daemon.hang_up()
                await asyncio.sleep(1.5)
                daemon.write_config()

    # --- managers --------------------------------------------------------------------------------------

    async def kill_manager(self) -> None:
        """Kill a manager with its runners; its records stay."""
        manager, pause = self._lot.choice(self._stage.managers), self._seconds(0.5, 8.0)
        if manager.busy.locked():
            return
        async with manager.busy:
            with self._stage.timeline.incident(Kind.MANAGER_KILL, manager.name):
                await manager.kill()
                await asyncio.sleep(pause)
                await manager.start()

    async def pause_manager(self) -> None:
        """Freeze a manager: connections are taken, nothing is answered."""
        manager, seconds = self._lot.choice(self._stage.managers), self._seconds(2.0, 10.0)
        if manager.busy.locked():
            return
        async with manager.busy:
            with self._stage.timeline.incident(Kind.MANAGER_PAUSE, manager.name):
                manager.stop_clock()
                await asyncio.sleep(seconds)
                manager.go_on()

    async def kill_runner(self) -> None:
        """A runner dies; mostly it comes back, in time or far too late."""
        manager = self._lot.choice(self._stage.managers)
        index, seconds = self._lot.randrange(manager.runners), self._seconds(2.0, 40.0)
        with self._stage.timeline.incident(Kind.RUNNER_DEATH, manager.name, f"runner {index}"):
            await self._order(manager, do="kill_runner", index=index)
            await asyncio.sleep(seconds)
            await self._order(manager, do="revive_runner", index=index)

    async def spoil_answers(self) -> None:
        """Answers are lost, late or nonsense."""
        await self._spoil(Kind.ANSWERS, self._lot.choice(_ANSWERS))

    async def spoil_downloads(self) -> None:
        """Downloads break."""
        await self._spoil(Kind.DOWNLOADS, self._lot.choice(_DOWNLOADS))

    async def _spoil(self, kind: Kind, fault: Mapping[str, object]) -> None:
        manager, times = self._lot.choice(self._stage.managers), self._lot.randint(1, 3)
        self._stage.timeline.moment(kind, manager.name, f"{fault['endpoint']} {fault['kind']}")
        await self._order(manager, do="inject", times=times, **fault)

    async def _order(self, manager: ManagerChild, **order: object) -> None:
        async with manager.busy:
            await manager.order(**order)

    # --- database --------------------------------------------------------------------------------------

    async def restart_database(self) -> None:
        """End the server without a shutdown, and start it again."""
        pause = self._seconds(0.0, 6.0)
        if self._server_busy.locked():
            return
        async with self._server_busy:
            with self._stage.timeline.incident(Kind.DATABASE_RESTART, "database"):
                command, user = await self._stage.server.stop_immediately()
                await asyncio.sleep(pause)
                await self._stage.server.start(command, user)

    async def cut_link(self) -> None:
        """Reset one daemon's connections and refuse new ones for a while."""
        await self._link(Kind.LINK_CUT, self._seconds(0.5, 12.0))

    async def stall_link(self) -> None:
        """Nothing gets through for a while; connections stay up."""
        await self._link(Kind.LINK_STALL, self._seconds(3.0, 30.0))

    async def half_open_link(self) -> None:
        """The present connections lead nowhere any more."""
        await self._link(Kind.LINK_HALF_OPEN, _HALF_OPEN_FOR)

    async def delay_link(self) -> None:
        """Everything takes longer."""
        await self._link(Kind.LINK_DELAY, self._seconds(5.0, 15.0))

    async def _link(self, kind: Kind, seconds: float) -> None:
        index, delay = self._lot.randrange(len(self._stage.proxies)), self._seconds(0.02, 0.3)
        proxy, busy = self._stage.proxies[index], self._links_busy[index]
        if busy.locked():
            return
        async with busy:
            with self._stage.timeline.incident(kind, self._stage.daemons[index].name):
                links = []
                match kind:
                    case Kind.LINK_CUT:
                        proxy.cut()
                    case Kind.LINK_STALL:
                        proxy.stall()
                    case Kind.LINK_HALF_OPEN:
                        links = proxy.half_open()
                    case _:
                        proxy.delay = delay
                await asyncio.sleep(seconds)
                proxy.forget(links)
                proxy.heal()

    # --- disk ------------------------------------------------------------------------------------------

    async def fill_disk(self) -> None:
        """No space is left; without a file system of our own, the daemons are told so by their settings."""
        seconds = self._seconds(2.0, 10.0)
        if self._disk_busy.locked():
            return
        async with self._disk_busy:
            stage = self._stage
            with stage.timeline.incident(
                Kind.DISK_FULL, "disk", "tmpfs" if stage.disk.is_real else "keep_free"
            ):
                if stage.disk.is_real:
                    await asyncio.to_thread(stage.disk.fill)
                    await asyncio.sleep(seconds)
                    await asyncio.to_thread(stage.disk.empty)
                    return
                for changes in ({"keep_free": "1000TiB"}, {}):
                    for daemon in stage.daemons:
                        daemon.write_config(imports=dict(changes))
                        if daemon.is_ready():
                            daemon.hang_up()
                    await asyncio.sleep(seconds)

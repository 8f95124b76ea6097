"""Faults of runner managers, of their runners, and of the links to them."""

import asyncio
from collections.abc import Mapping, Sequence

from chaos.postgres import UNREACHABLE
from chaos.processes import ManagerChild
from chaos.sabotage.fault import Fault, Lot
from chaos.sabotage.links import LinkFaults
from chaos.stage import Stage
from chaos.timeline import Kind

_Spoilt = Sequence[Mapping[str, object]]

_SUBMISSION_ANSWERS: _Spoilt = (
    {"endpoint": "execute", "kind": "lose-answer", "seconds": 20},
    {"endpoint": "execute", "kind": "drop-answer"},
    {"endpoint": "execute", "kind": "drop"},
    {"endpoint": "execute", "kind": "cut", "length": 20},
    {"endpoint": "execute", "kind": "wrong-length", "length": 10},
    {"endpoint": "execute", "kind": "short", "length": 20},
    {"endpoint": "execute", "kind": "slow", "seconds": 30},
    {"endpoint": "execute", "kind": "hang", "seconds": 100},
    {"endpoint": "execute", "kind": "status", "status": 500},
    {"endpoint": "execute", "kind": "status", "status": 502},
    {"endpoint": "execute", "kind": "status", "status": 503},
    {"endpoint": "execute", "kind": "status", "status": 504},
    {"endpoint": "execute", "kind": "html"},
)

_STATUS_ANSWERS: _Spoilt = (
    {"endpoint": "status", "kind": "status", "status": 500},
    {"endpoint": "status", "kind": "status", "status": 502},
    {"endpoint": "status", "kind": "status", "status": 503},
    {"endpoint": "status", "kind": "status", "status": 504},
    {"endpoint": "status", "kind": "drop"},
    {"endpoint": "status", "kind": "cut", "length": 60},
    {"endpoint": "status", "kind": "wrong-length", "length": 10},
    {"endpoint": "status", "kind": "short", "length": 60},
    {"endpoint": "status", "kind": "html"},
    {"endpoint": "status", "kind": "slow", "seconds": 30},
    {"endpoint": "status", "kind": "hang", "seconds": 100},
    {"endpoint": "runners", "kind": "status", "status": 500},
    {"endpoint": "runners", "kind": "cut", "length": 20},
    {"endpoint": "health", "kind": "status", "status": 500},
    {"endpoint": "stop", "kind": "status", "status": 500},
)

_GONE = {"detail": "Error fetching result from runner"}
"""What a manager says of a file that its runner does not give."""

_DOWNLOADS: _Spoilt = (
    {"endpoint": "file", "kind": "cut", "length": 3000},
    {"endpoint": "file", "kind": "cut", "length": 0},
    {"endpoint": "file", "kind": "wrong-length", "length": 10},
    {"endpoint": "file", "kind": "drop"},
    {"endpoint": "file", "kind": "status", "status": 502},
    {"endpoint": "file", "kind": "status", "status": 404, "body": _GONE},
    {"endpoint": "file", "kind": "slow", "seconds": 20},
    {"endpoint": "file", "kind": "hang", "seconds": 100},
    # Without a length or a checksum in the protocol, only what is named elsewhere can be missed.
    {"endpoint": "file", "kind": "short", "length": 900, "match": ".ts"},
    {"endpoint": "file", "kind": "short", "length": 40, "match": ".m3u8"},
    {"endpoint": "file", "kind": "short", "length": 200, "match": "info_video.json"},
    {"endpoint": "result", "kind": "cut", "length": 20},
    {"endpoint": "result", "kind": "wrong-length", "length": 10},
    {"endpoint": "result", "kind": "short", "length": 20},
    {"endpoint": "result", "kind": "html"},
    {"endpoint": "result", "kind": "status", "status": 500},
    {"endpoint": "result", "kind": "drop"},
)

_WHOLE = 1 << 30

_UNENDED_BODIES: _Spoilt = (
    {"endpoint": "file", "kind": "unended", "length": 0},
    {"endpoint": "file", "kind": "unended", "length": 100},
    {"endpoint": "file", "kind": "unended", "length": 3000},
    {"endpoint": "file", "kind": "unended", "length": 900, "match": ".mp4"},
    {"endpoint": "file", "kind": "unended", "length": 60, "match": ".m3u8"},
    {"endpoint": "file", "kind": "unended", "length": 40, "match": ".png"},
    {"endpoint": "file", "kind": "unended", "length": 50, "match": ".vtt"},
    # Not cut, which nothing tells.
    {"endpoint": "file", "kind": "unended", "length": _WHOLE},
    {"endpoint": "result", "kind": "unended", "length": 30},
    {"endpoint": "status", "kind": "unended", "length": 60},
    {"endpoint": "execute", "kind": "unended", "length": 20},
)
"""Bodies of which nothing tells how long they are: HTTP/1.0, nginx's default towards what is behind it."""

_RATE_LIMIT: _Spoilt = (
    {"endpoint": "execute", "kind": "status", "status": 429},
    {"endpoint": "status", "kind": "status", "status": 429},
    {"endpoint": "result", "kind": "status", "status": 429},
    {"endpoint": "file", "kind": "status", "status": 429},
)


class ManagerFaults:
    """Kills, freezes and slows managers down, spoils their answers, and breaks the links to them."""

    def __init__(self, stage: Stage, lot: Lot) -> None:
        self._stage = stage
        self._lot = lot
        names = [manager.name for manager in stage.managers]
        self._links = LinkFaults(stage.timeline, lot, stage.manager_proxies, names)

    def faults(self) -> Mapping[Kind, Fault]:
        """Each of them by its kind."""
        return {
            Kind.MANAGER_KILL: self.kill,
            Kind.MANAGER_PAUSE: self.pause,
            Kind.MANAGER_SLOW: self.slow_down,
            Kind.MANAGER_LINK_CUT: lambda: self._links.cut(Kind.MANAGER_LINK_CUT),
            Kind.MANAGER_LINK_STALL: lambda: self._links.stall(Kind.MANAGER_LINK_STALL),
            Kind.MANAGER_LINK_HALF_OPEN: lambda: self._links.half_open(Kind.MANAGER_LINK_HALF_OPEN),
            Kind.MANAGER_MUTE: self.silence,
            Kind.TOKEN_ROTATED: self.rotate_token,
            Kind.RUNNER_DEATH: self.kill_runner,
            Kind.RATE_LIMIT: lambda: self._spoil(Kind.RATE_LIMIT, _RATE_LIMIT),
            Kind.SUBMISSION_ANSWERS: lambda: self._spoil(Kind.SUBMISSION_ANSWERS, _SUBMISSION_ANSWERS),
            Kind.STATUS_ANSWERS: lambda: self._spoil(Kind.STATUS_ANSWERS, _STATUS_ANSWERS),
            Kind.UNENDED_BODIES: lambda: self._spoil(Kind.UNENDED_BODIES, _UNENDED_BODIES),
            Kind.DOWNLOADS: lambda: self._spoil(Kind.DOWNLOADS, _DOWNLOADS),
        }

    def _manager(self) -> ManagerChild:
        return self._lot.one_of(self._stage.managers)

    async def kill(self) -> None:
        """Kill a manager with its runners; its records stay."""
        manager, pause = self._manager(), self._lot.seconds(0.5, 8.0)
        async with self._lot.turn(manager.busy) as ours:
            if not ours:
                return
            with self._stage.timeline.incident(Kind.MANAGER_KILL, manager.name) as incident:
                incident.happened = await manager.kill()
                await asyncio.sleep(pause)
                await manager.start()

    async def pause(self) -> None:
        """Freeze a manager: connections are taken, nothing is answered."""
        manager, seconds = self._manager(), self._lot.seconds(2.0, 10.0)
        async with self._lot.turn(manager.busy) as ours:
            if not ours:
                return
            with self._stage.timeline.incident(Kind.MANAGER_PAUSE, manager.name) as incident:
                incident.happened = await manager.freeze()
                await asyncio.sleep(seconds)
                manager.go_on()

    async def slow_down(self) -> None:
        """A manager answers everything, and takes its time."""
        manager, seconds = self._manager(), self._lot.seconds(5.0, 20.0)
        lateness = self._lot.random.uniform(3.0, 45.0)
        with self._stage.timeline.incident(Kind.MANAGER_SLOW, manager.name, f"{lateness:.0f} s of its own"):
            await self._order(manager, do="slow", seconds=lateness)
            await asyncio.sleep(seconds)
            await self._order(manager, do="slow", seconds=None)

    async def silence(self) -> None:
        """A manager takes every request and does what it asks for; no answer ever arrives."""
        manager, seconds = self._manager(), self._lot.seconds(10.0, 60.0)
        with self._stage.timeline.incident(Kind.MANAGER_MUTE, manager.name):
            await self._order(manager, do="mute", on=True)
            await asyncio.sleep(seconds)
            await self._order(manager, do="mute", on=False)

    async def rotate_token(self) -> None:
        """A manager takes another token from now on, and Pod learns of it a little before or after.

        Runs in flight call back with the one they were submitted with.
        """
        manager, pause = self._manager(), self._lot.seconds(0.0, 8.0)
        is_first = self._lot.one_of((True, False))
        async with self._lot.turn(manager.busy) as ours:
            if not ours:
                return
            token = manager.next_token()
            with self._stage.timeline.incident(Kind.TOKEN_ROTATED, manager.name) as incident:
                if is_first:
                    await self._tell_pod(manager, token)
                    await asyncio.sleep(pause)
                await manager.take_token(token)
                if not is_first:
                    await asyncio.sleep(pause)
                    await self._tell_pod(manager, token)
                incident.happened = True

    async def _tell_pod(self, manager: ManagerChild, token: str) -> None:
        """Store a manager's new token in Pod, as its administrator does: until that has worked."""
        while True:
            try:
                connection = await self._stage.connect()
                try:
                    await self._stage.pod.change_token(connection, manager.index, token)
                    return
                finally:
                    connection.terminate()
            except UNREACHABLE:
                await asyncio.sleep(0.5)

    async def kill_runner(self) -> None:
        """A runner dies; mostly it comes back, in time or far too late."""
        manager = self._manager()
        index, seconds = self._lot.random.randrange(manager.runners), self._lot.seconds(2.0, 40.0)
        with self._stage.timeline.incident(Kind.RUNNER_DEATH, manager.name, f"runner {index}"):
            await self._order(manager, do="kill_runner", index=index)
            await asyncio.sleep(seconds)
            await self._order(manager, do="revive_runner", index=index)

    async def _spoil(self, kind: Kind, spoilt: _Spoilt) -> None:
        """Answers are lost, late, cut short or nonsense; the manager writes down who met them."""
        fault, manager = self._lot.one_of(spoilt), self._manager()
        times = self._lot.random.randint(1, 3)
        detail = " ".join(str(value) for name, value in fault.items() if name != "body")
        with self._stage.timeline.incident(kind, manager.name, detail):
            await self._order(manager, do="inject", times=times, **fault)

    async def _order(self, manager: ManagerChild, **order: object) -> None:
        async with manager.busy:
            await manager.order(**order)

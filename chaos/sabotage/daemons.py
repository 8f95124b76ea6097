"""Faults of daemons and of the machines they run on."""

import asyncio
from collections.abc import Mapping

from chaos.processes import DaemonChild
from chaos.sabotage.fault import Fault, Lot
from chaos.stage import Stage
from chaos.timeline import Kind

_FURTHEST = 600.0
"""Seconds by which a clock is wrong at most, in either direction."""


class DaemonFaults:
    """Kills, stops, freezes and reloads daemons, and steps their clocks."""

    def __init__(self, stage: Stage, lot: Lot) -> None:
        self._stage = stage
        self._lot = lot

    def faults(self) -> Mapping[Kind, Fault]:
        """Each of them by its kind."""
        return {
            Kind.DAEMON_KILL: self.kill,
            Kind.LEADER_KILL: self.kill_leader,
            Kind.DAEMON_STOP: self.stop,
            Kind.DAEMON_PAUSE: self.pause,
            Kind.DAEMON_RELOAD: self.reload,
            Kind.DAEMON_BAD_RELOAD: self.reload_badly,
            Kind.CLOCK_STEP: self.step_clock,
        }

    def _daemon(self) -> DaemonChild:
        return self._lot.one_of(self._stage.daemons)

    async def kill(self) -> None:
        """Kill a daemon, and start it again as systemd does."""
        await self._kill(self._daemon(), Kind.DAEMON_KILL)

    async def kill_leader(self) -> None:
        """Kill the scheduler."""
        leader = await self._stage.leader()
        if leader is not None:
            await self._kill(leader, Kind.LEADER_KILL)

    async def _kill(self, daemon: DaemonChild, kind: Kind) -> None:
        pause = self._lot.seconds(0.5, 12.0)
        async with self._lot.turn(daemon.busy) as ours:
            if not ours or (kind is Kind.LEADER_KILL and await self._stage.leader() is not daemon):
                return
            with self._stage.timeline.incident(kind, daemon.name, f"pid {daemon.pid}") as incident:
                incident.happened = await daemon.kill()
                await asyncio.sleep(pause)
            await daemon.start()

    async def stop(self) -> None:
        """Stop a daemon politely."""
        daemon = self._daemon()
        async with self._lot.turn(daemon.busy) as ours:
            if not ours:
                return
            with self._stage.timeline.incident(Kind.DAEMON_STOP, daemon.name) as incident:
                incident.happened = await daemon.terminate() == 0
            await daemon.start()

    async def pause(self) -> None:
        """Freeze a daemon: its leases run out, its lock stays held."""
        daemon, seconds = self._daemon(), self._lot.seconds(2.0, 35.0)
        async with self._lot.turn(daemon.busy) as ours:
            if not ours:
                return
            with self._stage.timeline.incident(Kind.DAEMON_PAUSE, daemon.name) as incident:
                incident.happened = await daemon.freeze()
                await asyncio.sleep(seconds)
                daemon.go_on()

    async def reload(self) -> None:
        """Have a daemon read its configuration again."""
        await self._reload(Kind.DAEMON_RELOAD, "config.reloaded")

    async def reload_badly(self) -> None:
        """Have a daemon read a configuration that is wrong: the old one stays in effect."""
        await self._reload(Kind.DAEMON_BAD_RELOAD, "config.invalid")

    async def _reload(self, kind: Kind, event: str) -> None:
        daemon = self._daemon()
        async with self._lot.turn(daemon.busy) as ours, daemon.config_busy:
            if not ours or not daemon.is_ready():
                return
            with self._stage.timeline.incident(kind, daemon.name) as incident:
                if kind is Kind.DAEMON_BAD_RELOAD:
                    daemon.spoil_config()
                before = daemon.told(event)
                daemon.hang_up()
                incident.happened = await daemon.tells(event, before)
                daemon.write_config()

    async def step_clock(self) -> None:
        """A daemon's machine is told another time of the day, and stays wrong."""
        daemon, seconds = self._daemon(), self._lot.random.uniform(-_FURTHEST, _FURTHEST)
        with self._stage.timeline.incident(Kind.CLOCK_STEP, daemon.name, f"{seconds:+.0f} s") as incident:
            await asyncio.to_thread(daemon.set_clock, seconds)
            incident.happened = True

"""Faults of the pooler between the daemons and the database, where a campaign has one."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import asyncpg

from chaos.pgbouncer import PgBouncer
from chaos.sabotage.fault import Fault, Lot
from chaos.timeline import Kind, Timeline

_TAKES = 1.0
"""Seconds in which a free server begins a transaction; after that there is none."""

_DOWN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PoolerFaults:
    """Kills the pooler, and takes all of its servers."""

    def __init__(self, pooler: PgBouncer, timeline: Timeline, lot: Lot) -> None:
        self._pooler = pooler
        self._timeline = timeline
        self._lot = lot

    def faults(self) -> Mapping[Kind, Fault]:
        """Each of them by its kind."""
        return {Kind.POOLER_KILL: self.kill, Kind.POOLER_CROWDED: self.crowd}

    async def kill(self) -> None:
        """Kill it, with every connection through it, and start it again."""
        pause = self._lot.seconds(0.5, 8.0)
        async with self._lot.turn(self._pooler.busy) as ours:
            if not ours:
                return
            with self._timeline.incident(Kind.POOLER_KILL, "pooler") as incident:
                await self._pooler.stop()
                incident.happened = True
                await asyncio.sleep(pause)
                await self._pooler.start()

    async def crowd(self) -> None:
        """Another program takes every server that is free, and keeps it in a transaction."""
        seconds = self._lot.seconds(2.0, 15.0)
        async with self._lot.turn(self._pooler.busy) as ours:
            if not ours:
                return
            with self._timeline.incident(Kind.POOLER_CROWDED, "pooler") as incident:
                async with AsyncExitStack() as crowd:
                    incident.happened = await self._take_all(crowd)
                    await asyncio.sleep(seconds if incident.happened else 0)

    async def _take_all(self, crowd: AsyncExitStack) -> bool:
        """Connect until no server is left; False when the database is down: that is another fault's."""
        try:
            while True:
                async with asyncio.timeout(_TAKES):
                    client = await self._pooler.connect()
                    crowd.callback(client.terminate)
                    await client.execute("BEGIN")
        except TimeoutError:
            return True
        except _DOWN:
            return False

"""Faults of TCP connections, through a proxy for each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from chaos.proxy import Proxy
from chaos.sabotage.fault import Lot
from chaos.timeline import Kind, Timeline

_HALF_OPEN_FOR = 25.0
"""Seconds after which the far side finds out that its peer has vanished: a server's keep-alives, with the
settings of a daemon's session."""

_TRIES = 100
"""Tenths of a second in which somebody must have used a half-open link."""


class LinkFaults:
    """Cuts, stalls, slows down and half opens links; ``names`` are who is behind each proxy."""

    def __init__(self, timeline: Timeline, lot: Lot, proxies: Sequence[Proxy], names: Sequence[str]) -> None:
        self._timeline = timeline
        self._lot = lot
        self._links = list(zip(proxies, names, [asyncio.Lock() for _ in proxies], strict=True))

    async def cut(self, kind: Kind, *, of: str | None = None) -> None:
        """Reset all connections of a link, or of the one of somebody, and refuse new ones for a while."""
        async with self._some_link(kind, of) as proxy:
            if proxy is not None:
                proxy.cut()
                await asyncio.sleep(self._lot.seconds(0.5, 12.0))

    async def stall(self, kind: Kind) -> None:
        """Nothing gets through for a while; connections stay up."""
        async with self._some_link(kind) as proxy:
            if proxy is not None:
                proxy.stall()
                await asyncio.sleep(self._lot.seconds(3.0, 30.0))

    async def half_open(self, kind: Kind) -> None:
        """The present connections lead nowhere any more; if nobody uses them, the next ones do not either."""
        async with self._some_link(kind) as proxy:
            if proxy is not None:
                before, links = proxy.hurt, proxy.half_open()
                for _ in range(_TRIES):
                    await asyncio.sleep(0.1)
                    if proxy.hurt > before:
                        break
                    links += proxy.half_open()
                await asyncio.sleep(_HALF_OPEN_FOR * self._lot.brevity)
                proxy.forget(links)

    async def delay(self, kind: Kind) -> None:
        """Everything takes longer."""
        async with self._some_link(kind) as proxy:
            if proxy is not None:
                proxy.delay = self._lot.random.uniform(0.02, 0.3)
                await asyncio.sleep(self._lot.seconds(5.0, 15.0))

    @asynccontextmanager
    async def _some_link(self, kind: Kind, of: str | None = None) -> AsyncIterator[Proxy | None]:
        """A link for the length of a fault, None when all is over; it is whole again afterwards."""
        proxy, name, busy = self._lot.one_of([link for link in self._links if of in (None, link[1])])
        async with self._lot.turn(busy) as ours:
            if not ours:
                yield None
                return
            before = proxy.hurt
            with self._timeline.incident(kind, name) as incident:
                yield proxy
                incident.happened = proxy.hurt > before
            proxy.heal()

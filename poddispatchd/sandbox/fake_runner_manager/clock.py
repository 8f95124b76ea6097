"""The fake manager's own time: real time scaled, or moved by hand."""

import asyncio
import heapq
import itertools
from datetime import datetime, timedelta
from typing import Protocol


class ManagerClock(Protocol):
    """Time as the runner manager lives it, in seconds."""

    def time(self) -> float:
        """Seconds since the clock was made."""
        ...

    def wall(self) -> datetime:
        """The naive local date a manager writes into its records."""
        ...

    async def sleep(self, seconds: float, *, floor: float = 0.0) -> None:
        """Wait; ``floor`` is the least number of real seconds, where a real peer must keep up."""
        ...


class ScaledClock:
    """Real time, in which one second of the manager lasts ``scale`` real seconds."""

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError("The time scale must be above zero.")
        self._scale = scale
        self._started: float | None = None
        self._wall = datetime.now()  # noqa: DTZ005 - a manager's dates carry no zone

    def time(self) -> float:
        """Seconds of the manager since the clock was first read."""
        now = asyncio.get_running_loop().time()
        if self._started is None:
            self._started = now
        return (now - self._started) / self._scale

    def wall(self) -> datetime:
        """The naive local date, which runs as fast as the clock."""
        return self._wall + timedelta(seconds=self.time())

    async def sleep(self, seconds: float, *, floor: float = 0.0) -> None:
        """Wait ``seconds`` of the manager, and at least ``floor`` real ones."""
        await asyncio.sleep(max(seconds * self._scale, floor))


class ManualClock:
    """A clock that only :meth:`advance` moves: schedules can be asserted to the second."""

    def __init__(self) -> None:
        self._now = 0.0
        self._wall = datetime(2030, 1, 1, 12)  # noqa: DTZ001 - a manager's dates carry no zone
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._arrival = asyncio.Event()

    def time(self) -> float:
        """Seconds advanced so far."""
        return self._now

    def wall(self) -> datetime:
        """A fixed date plus the seconds advanced."""
        return self._wall + timedelta(seconds=self._now)

    async def sleep(self, seconds: float, *, floor: float = 0.0) -> None:  # noqa: ARG002 - no real time here
        """Wait until the clock was moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waker))
        self._arrival.set()
        await waker

    def due(self) -> float | None:
        """When the next sleeper wakeups, None when nobody sleeps."""
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[2].done()]
        heapq.heapify(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def next_due(self) -> float:
        """When the next sleeper wakeups; waits until there is one."""
        while (due := self.due()) is None:
            self._arrival.clear()
            await self._arrival.wait()
        return due

    def advance(self, seconds: float) -> None:
        """Move the clock and wake, in order, everyone whose time has come."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                waker.set_result(None)

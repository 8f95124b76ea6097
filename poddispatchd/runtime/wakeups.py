"""How the jobs wake each other."""

import asyncio


class Wakeup:
    """A coalescing alarm: any number of rings before the next look cost one look.

    ``rings`` counts all of them, so that a look can tell whether there was a reason for it.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._quiet_until = float("-inf")
        self._later: asyncio.TimerHandle | None = None
        self.rings = 0

    def ring(self) -> None:
        """There may be something to do."""
        self.rings += 1
        self._event.set()

    def ring_within(self, seconds: float) -> None:
        """There is something to do that can wait for more: rings now, and then once in so many seconds."""
        if self._later is not None:
            return
        loop = asyncio.get_running_loop()
        # The first ring is never late: only those that follow it wait for each other.
        left = self._quiet_until - loop.time()
        if left <= 0:
            self._ring_and_rest(seconds)
        else:
            self._later = loop.call_later(left, self._ring_and_rest, seconds)

    def _ring_and_rest(self, seconds: float) -> None:
        self._later = None
        self._quiet_until = asyncio.get_running_loop().time() + seconds
        self.ring()

    async def wait(self, seconds: float | None) -> bool:
        """Wait for a ring, at most so many seconds; whether it rang. The alarm is quiet again afterwards."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        finally:
            # Also after a time-out: a ring of the same moment is answered by the look that follows either
            # way.
            self._event.clear()
        return True


class Wakeups:
    """One alarm for each job."""

    def __init__(self) -> None:
        self.dispatcher = Wakeup()
        self.inbox = Wakeup()
        self.importer = Wakeup()
        self.reconciler = Wakeup()
        self.maintenance = Wakeup()
        self.notifier = Wakeup()
        self.mail = Wakeup()
        self.push = Wakeup()
        self.hooks = Wakeup()
        self.events = Wakeup()
        self.event_watch = Wakeup()
        self.campaigns = Wakeup()
        self.scheduler_watch = Wakeup()
        self.stops = Wakeup()
        self.administration = Wakeup()
        """Wakes nobody: whoever needs the runner managers or the figures next reads them again."""

    def ring_all(self) -> None:
        """Everything may have changed: after a start, and after every reconnect."""
        for wake in (
            self.dispatcher,
            self.inbox,
            self.importer,
            self.reconciler,
            self.stops,
            self.maintenance,
            self.notifier,
            self.mail,
            self.push,
            self.hooks,
            self.events,
            self.event_watch,
            self.campaigns,
            self.scheduler_watch,
        ):
            wake.ring()

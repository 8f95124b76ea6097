"""How the jobs wake each other."""

import asyncio


class Wakeup:
    """A coalescing alarm: any number of rings before the next look cost one look.

    ``rings`` counts all of them, so that a look can tell whether there was a reason for it.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.rings = 0

    def ring(self) -> None:
        """There may be something to do."""
        self.rings += 1
        self._event.set()

    async def wait(self, seconds: float | None) -> bool:
        """Wait for a ring, at most so many seconds; whether it rang. The alarm is quiet again afterwards."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        finally:
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

"""How the jobs wake each other."""

import asyncio


class Wake:
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


class Wakes:
    """One alarm for each job."""

    def __init__(self) -> None:
        self.dispatcher = Wake()
        self.inbox = Wake()
        self.importer = Wake()
        self.reconciler = Wake()
        self.janitor = Wake()
        self.notifier = Wake()
        self.hooks = Wake()

    def ring_all(self) -> None:
        """Everything may have changed: after a start, and after every reconnect."""
        for wake in (
            self.dispatcher,
            self.inbox,
            self.importer,
            self.reconciler,
            self.janitor,
            self.notifier,
            self.hooks,
        ):
            wake.ring()

"""A shadow moved by hand, beside a Pod whose rows the test changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from structlog.testing import capture_logs
from structlog.types import EventDict

from poddispatchd.app import features
from poddispatchd.app.composition import assembled, create_resources
from poddispatchd.app.parts import Parts
from poddispatchd.domain.task import TaskPk
from poddispatchd.observability.events import Event
from poddispatchd.shadow.jobs import ShadowJobs
from tests.integration.dispatch.scene import HandClock, Scene

CRON_INTERVAL = 180.0


@dataclass(slots=True)
class Shadow:
    """A shadow; ``told`` is all that it logged."""

    parts: Parts
    jobs: ShadowJobs
    clock: HandClock
    told: list[EventDict] = field(default_factory=list)

    async def look(self, *, after: float = 0.0) -> None:
        """One look at the queue, and another one when the managers have told their runners."""
        self.clock.advance(after)
        await self.jobs.dispatcher.step()
        await self.jobs.capacity.until_idle()
        await self.jobs.dispatcher.step()

    async def ask(self, *, after: float = 0.0) -> None:
        """Ask about running tasks whose turn it is, and compare."""
        self.clock.advance(after)
        await self.jobs.reconcile()

    async def keep_up(self, *, after: float = 0.0) -> None:
        """One round of ranks, purge and totals."""
        self.clock.advance(after)
        await self.jobs.upkeep.step()

    def expected(self) -> list[tuple[TaskPk, str, str | None]]:
        """Tasks, with what would be done with them and at which manager."""
        return [
            (entry["task"], entry["decision"], entry.get("runner_manager"))
            for entry in self._entries(Event.SHADOW_EXPECTED)
        ]

    def agreed(self) -> list[tuple[TaskPk, str]]:
        """Tasks, with how Pod agreed."""
        return [(entry["task"], entry["agreement"]) for entry in self._entries(Event.SHADOW_AGREED)]

    def differed(self) -> list[tuple[TaskPk | None, str]]:
        """Tasks, with how Pod differed."""
        return [(entry.get("task"), entry["difference"]) for entry in self._entries(Event.SHADOW_DIFFERED)]

    def words(self) -> str:
        """The words of the last difference."""
        return str(self._entries(Event.SHADOW_DIFFERED)[-1]["reason"])

    def summaries(self) -> list[EventDict]:
        """The totals that were logged."""
        return self._entries(Event.SHADOW_SUMMED_UP)

    def _entries(self, event: Event) -> list[EventDict]:
        return [entry for entry in self.told if entry["event"] == event]


@asynccontextmanager
async def watching(scene: Scene, **settings: object) -> AsyncIterator[Shadow]:
    """A shadow beside this Pod, whose CRON runs every three minutes."""
    clock = HandClock()
    ground = create_resources(scene.settings(**settings), clock=clock, is_shadow=True)
    with capture_logs() as told:
        async with assembled(ground) as parts:
            session = asyncio.create_task(parts.session.run())
            jobs = features.shadow_jobs(parts)
            try:
                await parts.session.available()
                yield Shadow(parts, jobs, clock, told)
            finally:
                await jobs.capacity.stop()
                session.cancel()
                await asyncio.gather(session, return_exceptions=True)
    for fake in scene.fakes.values():
        assert {request.method for request in fake.requests} <= {"GET"}

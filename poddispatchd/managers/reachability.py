"""Who can be reached when a runner manager is silent: all are asked at once, before a task meets each.

A task finds out that a manager cannot be reached when the time to connect has passed. With ten such ones it
would find that out ten times, one after the other, while another one is free.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from poddispatchd.clock import Clock
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.routing import ANSWERS_WITHIN
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import RunnerManagerError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.state import POLICY, PROVEN_FOR, ManagerState
from poddispatchd.runner.client import RunnerReader
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.supervisor import cancel_surely

_QUESTIONS = "question whether runner managers answer"


class Reachability:
    """Asks runner managers something that is about no task; the registry learns what they answer.

    Args:
        client: asks.
        registry: knows of whom nothing was heard.
        incidents: is told of what nobody foresaw.
        clock: of the daemon.
        ring: is called when a manager can be given tasks again.
    """

    def __init__(
        self,
        client: RunnerReader,
        registry: ManagerRegistry,
        incidents: Incidents,
        clock: Clock,
        ring: Callable[[], None],
    ) -> None:
        self._client = client
        self._registry = registry
        self._incidents = incidents
        self._clock = clock
        self._ring = ring
        self._asking: dict[ManagerId, asyncio.Task[None]] = {}

    async def look_around(self, unreachable: ManagerId) -> None:
        """One manager cannot be reached: ask those of which nothing was heard lately, and it.

        Until they answer they are given no task, and after ``ANSWERS_WITHIN`` they come after all others.
        Where nobody else is known to answer, the first answer is waited for, at most so long.
        """
        now = self._clock.monotonic()
        # Those whose breaker is open get no tasks anyway.
        closed = [
            known
            for known in self._registry.states.values()
            if known.manager.is_active and known.breaker.state is BreakerState.CLOSED
        ]
        others = [known for known in closed if known.manager.id != unreachable]
        doubtful = [known for known in others if known.answered_at < now - PROVEN_FOR]
        if not others:
            return
        for known in doubtful + [known for known in closed if known.manager.id == unreachable]:
            # An answer to anything ends the doubt (``asked_since``); the question goes on until its end.
            if known.asked_since is None and known.manager.id not in self._asking:
                self._begin(known, now)
        if len(doubtful) == len(others):
            waiting = {self._asking[known.manager.id] for known in doubtful}
            await asyncio.wait(waiting, timeout=ANSWERS_WITHIN, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """Ask nobody any more."""
        await cancel_surely(*self._asking.values())

    def _begin(self, known: ManagerState, now: float) -> None:
        known.asked_since = now
        asking = asyncio.create_task(self._ask(known), name=f"question to {known.manager.name}")
        self._asking[known.manager.id] = asking
        asking.add_done_callback(partial(self._asked, known))
        self._incidents.watch(asking, _QUESTIONS)

    def _asked(self, known: ManagerState, _: "asyncio.Task[None]") -> None:
        self._asking.pop(known.manager.id, None)
        known.asked_since = None
        self._ring()

    async def _ask(self, known: ManagerState) -> None:
        """Ask until it answers, or has failed so often that its breaker opens."""
        for attempt in range(POLICY.threshold):
            if attempt:
                await self._clock.sleep(POLICY.floor)
            manager, error = known.manager, None
            try:
                await self._client.ping(manager)
            except RunnerManagerError as failure:
                error = failure
            self._registry.learn(manager, error)
            # It has answered, this question or another; or it is down, and the health check goes on.
            if known.asked_since is None or self._registry.is_down(manager.id):
                return

"""Finding out whether a runner manager that failed works again, before a task is risked on it."""

import asyncio
from collections.abc import Sequence

from poddispatchd.clock import Clock
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import (
    NoHealthCheckError,
    RunnerManagerError,
    RunnerManagerMisconfiguredError,
    UnusableAnswerError,
)
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.state import ManagerReport
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.supervisor import cancel_surely

_BROKEN = (BreakerState.OPEN, BreakerState.MISCONFIGURED)
_IDLE = 5.0
_LEAST = 0.1
_INACTIVE_EVERY = 300.0
"""Seconds between two questions to a runner manager that is inactive in Pod's administration."""

_QUIET = 60.0
"""Seconds without a word of an active one after which it is asked: without tasks nothing else tells. About no
task, which takes a manager milliseconds: for its health it reads whatever it remembers."""


class Prober:
    """Asks the health of managers whose breaker is not closed, and of those that were not heard of lately."""

    def __init__(
        self, client: RunnerClient, registry: ManagerRegistry, incidents: Incidents, clock: Clock
    ) -> None:
        self._client = client
        self._registry = registry
        self._incidents = incidents
        self._clock = clock
        self._asking: dict[ManagerId, asyncio.Task[None]] = {}
        self._inactive_asked: dict[ManagerId, float] = {}
        self._doubted: set[ManagerId] = set()
        """Those that did not answer once: that is no failure yet, the next answer decides."""
        self._not_before: dict[ManagerId, float] = {}
        """When those are asked again whose question met something that nobody foresaw."""

    async def step(self) -> float:
        """Begin the probes that are due; seconds until the next look.

        None is waited for: one manager that hangs must not keep another one that is back from its tasks.
        """
        reports = self._registry.reports()
        known = {report.id for report in reports}
        self._doubted &= known
        self._not_before = {manager: at for manager, at in self._not_before.items() if manager in known}
        broken = [report for report in reports if report.state in _BROKEN and report.is_active]
        for report in broken:
            if report.retry_in is None:
                self._begin(report)
        for report in reports:
            is_closed = report.is_active and report.state is BreakerState.CLOSED
            if is_closed and (report.quiet_for >= _QUIET or report.id in self._doubted):
                self._begin(report, is_quiet=True)
        self._look_at_inactive([report for report in reports if not report.is_active])
        soonest = min((report.retry_in for report in broken if report.retry_in is not None), default=_IDLE)
        return min(_IDLE, max(_LEAST, soonest))

    def _look_at_inactive(self, inactive: Sequence[ManagerReport]) -> None:
        """Ask those that get no tasks now and then: nothing else tells whether one could be activated."""
        now = self._clock.monotonic()
        self._inactive_asked = {
            report.id: self._inactive_asked.get(report.id, float("-inf")) for report in inactive
        }
        for report in inactive:
            if now - self._inactive_asked[report.id] >= _INACTIVE_EVERY:
                self._inactive_asked[report.id] = now
                self._begin(report)

    def _begin(self, report: ManagerReport, *, is_quiet: bool = False) -> None:
        if self._not_before.get(report.id, 0.0) > self._clock.monotonic():
            return
        manager = self._registry.get(report.id)
        if manager is not None and report.id not in self._asking:
            self._asking[report.id] = asyncio.create_task(
                self._probe(manager, is_quiet=is_quiet), name=f"probe of {report.name}"
            )

    async def until_idle(self) -> None:
        """Wait for the probes in progress."""
        while self._asking:
            await asyncio.wait(self._asking.values())

    async def stop(self) -> None:
        """Give up the probes in progress: what they would meet from now on says nothing of a manager."""
        await cancel_surely(*self._asking.values())

    async def is_well(self, manager_id: ManagerId) -> bool:
        """Whether a manager answers its health check now; that it does not is learnt from."""
        manager = self._registry.get(manager_id)
        if manager is None:
            return False
        try:
            await self._ask(manager)
        except RunnerManagerError as error:
            # One that hides its health may take tasks all the same: who only asks must not shut it.
            if not (isinstance(error, NoHealthCheckError) and self._works(manager_id)):
                self._registry.learn(manager, error)
            return False
        return True

    async def _ask(self, manager: RunnerManager) -> None:
        """Ask a manager's health; one that hides it is asked about no task instead.

        Raises:
            RunnerManagerError: it cannot be given tasks.
        """
        try:
            await self._client.health(manager)
        except NoHealthCheckError as hidden:
            # A proxy may pass on no more than what Pod asks, and nothing but this closes the breaker again.
            try:
                await self._client.ping(manager)
            except (RunnerManagerMisconfiguredError, UnusableAnswerError):
                raise hidden from None

    async def _ask_quiet(self, manager: RunnerManager) -> None:
        """See whether one that is believed to be well answers at all; where it does not, its health decides.

        Raises:
            RunnerManagerError: it cannot be given tasks.
        """
        try:
            await self._client.ping(manager)
        except RunnerManagerError:
            await self._ask(manager)

    def _works(self, manager_id: ManagerId) -> bool:
        """Whether tasks go to this manager, as far as is known."""
        return manager_id not in self._inactive_asked and not self._registry.is_down(manager_id)

    async def _probe(self, manager: RunnerManager, *, is_quiet: bool) -> None:
        manager_id, job = manager.id, "question about the health of a runner manager"
        try:
            await (self._ask_quiet(manager) if is_quiet else self._ask(manager))
            self._registry.learn(manager, None)
            self._doubted.discard(manager_id)
            self._not_before.pop(manager_id, None)
            self._incidents.recovered(job)
        except RunnerManagerError as error:
            if isinstance(error, NoHealthCheckError) and self._works(manager_id):
                # It may hide its health and take tasks all the same: that it answers is all that was asked.
                self._doubted.discard(manager_id)
                self._registry.learn(manager, None)
                return
            self._registry.learn(manager, error)
            is_down = self._registry.is_down(manager_id)
            if manager_id in self._inactive_asked and not is_down:
                # Once more at the next look: the breaker opens with the second failure, and is shown then.
                self._inactive_asked[manager_id] = self._clock.monotonic() - _INACTIVE_EVERY
            elif is_down:
                self._doubted.discard(manager_id)
            else:
                self._doubted.add(manager_id)
        except Exception as error:  # noqa: BLE001 - nobody waits for it: a bug must be seen all the same
            self._not_before[manager_id] = self._clock.monotonic() + self._incidents.failed(job, error)
        finally:
            self._asking.pop(manager_id, None)

"""The runner managers as the daemon knows them: Pod's rows, and what their answers have taught."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf

import structlog

from poddispatchd.clock import Clock
from poddispatchd.domain import breaker as breakers
from poddispatchd.domain.breaker import Breaker, BreakerPolicy, BreakerState, Outcome
from poddispatchd.domain.fullness import Fullness
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.routing import PATIENCE, Lane
from poddispatchd.domain.task import ManagerId, TaskType
from poddispatchd.errors import PoddispatchdError, RunnerManagerBusyError, RunnerManagerFullError
from poddispatchd.events import Event
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.logs import register_secret
from poddispatchd.metrics import Metrics
from poddispatchd.services.signals import Wake

log = structlog.get_logger(__name__)

_RATE_LIMIT_WINDOW = 60.0
"""Seconds after a 429 in which a manager gets no submission: its limiter counts in windows of a minute."""

POLICY = BreakerPolicy(threshold=2, base=2.0, cap=60.0, floor=1.0, misconfigured=60.0)


@dataclass(slots=True)
class _Knowledge:
    manager: RunnerManager
    memory: ManagerMemory
    breaker: Breaker = field(default_factory=Breaker)
    fullness: dict[TaskType, Fullness] = field(default_factory=dict)
    limited_until: float = 0.0
    busy_since: float | None = None
    is_slow: bool = False
    told: BreakerState = BreakerState.CLOSED
    """The state that was logged last."""
    refused_by_task: bool = False
    """Only a task can show whether it is configured well by now: the health check never saw the problem."""
    last_error: str | None = None
    freed_at: float | None = None
    last_given: float | None = None


@dataclass(frozen=True, slots=True)
class ManagerReport:
    """One runner manager, for people. Times are seconds from now; None where they do not apply."""

    id: ManagerId
    name: str
    priority: int
    is_active: bool
    paused: bool
    state: BreakerState
    retry_in: float | None
    full_for: dict[TaskType, float]
    error: str | None


class Fleet:
    """What is known of every runner manager, kept in memory; Pod's rows are read again with ``refresh``.

    ``came_back`` is rung when a manager that was down can be asked for tasks again.
    """

    def __init__(self, clock: Clock, metrics: Metrics, *, came_back: Wake | None = None) -> None:
        self._clock = clock
        self._metrics = metrics
        self._came_back = came_back or Wake()
        self._known: dict[ManagerId, _Knowledge] = {}

    def refresh(self, managers: Iterable[RunnerManager], memories: dict[ManagerId, ManagerMemory]) -> None:
        """Take over Pod's rows; a manager whose URL or token was changed starts with a clean slate."""
        fresh: dict[ManagerId, _Knowledge] = {}
        for manager in managers:
            memory = memories.get(manager.id, ManagerMemory())
            known = self._known.get(manager.id)
            if known is None or (known.manager.url, known.manager.token) != (manager.url, manager.token):
                register_secret(manager.token)
                known = _Knowledge(manager, memory)
            known.manager, known.memory = manager, memory
            fresh[manager.id] = known
        names = {known.manager.name for known in fresh.values()}
        gone = {known.manager.name for known in self._known.values()} - names
        self._known = fresh
        self._metrics.add_managers(names)
        self._metrics.forget_managers(gone)
        for known in fresh.values():
            self._show(known)

    def get(self, manager: ManagerId) -> RunnerManager | None:
        """A runner manager, active or not; None when Pod has no such row any more."""
        known = self._known.get(manager)
        return None if known is None else known.manager

    def all(self) -> list[RunnerManager]:
        """Every runner manager, active or not."""
        return [known.manager for known in self._known.values()]

    def lanes(self) -> list[Lane]:
        """The active runner managers as routing sees them."""
        return [self._lane(known) for known in self._known.values() if known.manager.is_active]

    def _lane(self, known: _Knowledge) -> Lane:
        memory = known.memory.last_given_at
        remembered = 0.0 if memory is None else memory.timestamp()
        return Lane(
            manager=known.manager.id,
            site=known.manager.site_id,
            priority=known.manager.priority,
            paused=known.memory.paused_at is not None,
            closed_until=self._closed_until(known),
            full_until={kind: fullness.until for kind, fullness in known.fullness.items()},
            last_given=known.last_given if known.last_given is not None else remembered,
            busy_since=known.busy_since,
            is_slow=known.is_slow,
        )

    def _closed_until(self, known: _Knowledge) -> float:
        """Until when no task goes there: a breaker is closed by the health check, not by a task's luck.

        The exception is a problem that only a task can meet: then one is tried when its time has come.
        """
        breaker = known.breaker
        if breaker.state is BreakerState.CLOSED:
            return known.limited_until
        if known.refused_by_task and breaker.state is BreakerState.HALF_OPEN:
            return max(known.limited_until, breaker.until)
        return inf

    def begin(self, manager: ManagerId) -> None:
        """A submission to this manager begins: no other one goes there until ``end``."""
        self._known[manager].busy_since = self._clock.monotonic()

    def end(self, manager: ManagerId) -> None:
        """The submission in progress has ended, however it did."""
        known = self._known.get(manager)
        if known is not None and known.busy_since is not None:
            known.is_slow = self._clock.monotonic() - known.busy_since >= PATIENCE
            known.busy_since = None

    def is_free(self, manager: ManagerId) -> bool:
        """Whether a request that is no new task may go to this manager now."""
        known = self._known.get(manager)
        if known is None or known.busy_since is not None:
            return False
        return self._closed_until(known) <= self._clock.monotonic()

    def is_down(self, manager: ManagerId) -> bool:
        """Whether this manager's breaker keeps requests from it."""
        known = self._known.get(manager)
        return known is not None and known.breaker.state is not BreakerState.CLOSED

    def opening_of(self, manager: ManagerId) -> float:
        """When a question that is no task may go to this manager again, on the monotonic clock."""
        known = self._known.get(manager)
        return 0.0 if known is None else max(known.limited_until, _probe_at(known.breaker))

    def accepted(self, manager: ManagerId, kind: TaskType) -> None:
        """This manager took a task."""
        known = self._known.get(manager)
        if known is None:
            return
        now = self._clock.monotonic()
        if known.freed_at is not None:
            self._metrics.slot_idle.observe(now - known.freed_at)
            known.freed_at = None
        known.last_given = self._clock.now().timestamp()
        known.fullness[kind] = known.fullness.get(kind, Fullness()).accepted()
        self._show(known)

    def freed(self, manager: ManagerId) -> None:
        """A runner of this manager has become free, or is about to."""
        known = self._known.get(manager)
        if known is None:
            return
        now = self._clock.monotonic()
        known.freed_at = now
        known.fullness = {kind: known.fullness.get(kind, Fullness()).freed(now) for kind in TaskType}
        self._show(known)

    def full(self, manager: ManagerId, kind: TaskType) -> None:
        """This manager had no free runner for this type of task."""
        known = self._known.get(manager)
        if known is None:
            return
        now = self._clock.monotonic()
        before = known.fullness.get(kind, Fullness())
        known.fullness[kind] = before.refused(now, self._clock.random)
        if before.refusals == 0:
            log.info(Event.RUNNER_MANAGER_FULL, runner_manager=known.manager.name, type=kind)
        self._show(known)

    def learn(
        self, manager: ManagerId, error: PoddispatchdError | None, *, kind: TaskType | None = None
    ) -> None:
        """Take over what a request told about this manager.

        Args:
            manager: whom it went to.
            error: how it failed; None when it succeeded.
            kind: the type of the task, for a submission.
        """
        known = self._known.get(manager)
        if known is None:
            return
        now = self._clock.monotonic()
        outcome = Outcome.of(error)
        if outcome is Outcome.ANSWERED and kind is None and known.breaker.state is not BreakerState.CLOSED:
            self._answers_again(known, now)
        else:
            known.breaker = breakers.after(
                known.breaker, outcome, now=now, random=self._clock.random, policy=POLICY
            )
            known.refused_by_task = kind is not None and outcome is Outcome.MISCONFIGURED
        if isinstance(error, RunnerManagerBusyError):
            known.limited_until = now + _RATE_LIMIT_WINDOW
        if isinstance(error, RunnerManagerFullError) and kind is not None:
            self.full(manager, kind)
        self._tell(known, error)
        self._show(known)

    def _answers_again(self, known: _Knowledge, now: float) -> None:
        """Something else than a submission succeeded while the breaker is open: tasks may come back.

        How often it opened is not forgotten before a task is accepted: a manager that is healthy and drops
        every submission is left alone for longer and longer.
        """
        if known.refused_by_task:
            if known.breaker.state is not BreakerState.HALF_OPEN and now >= known.breaker.until:
                known.breaker = replace(known.breaker, state=BreakerState.HALF_OPEN, until=now)
                self._came_back.ring()
            return
        known.breaker = Breaker(failures=POLICY.threshold - 1, openings=known.breaker.openings)

    def reports(self) -> list[ManagerReport]:
        """Every runner manager, for people, in Pod's order."""
        now = self._clock.monotonic()
        ordered = sorted(self._known.values(), key=lambda known: (known.manager.priority, known.manager.id))
        return [
            ManagerReport(
                id=known.manager.id,
                name=known.manager.name,
                priority=known.manager.priority,
                is_active=known.manager.is_active,
                paused=known.memory.paused_at is not None,
                state=known.breaker.state,
                retry_in=_positive(max(known.limited_until, _probe_at(known.breaker)) - now),
                full_for={
                    kind: fullness.until - now
                    for kind, fullness in known.fullness.items()
                    if fullness.until > now
                },
                error=known.last_error,
            )
            for known in ordered
        ]

    def _tell(self, known: _Knowledge, error: PoddispatchdError | None) -> None:
        """Log each transition once; a probe that fails again is none."""
        before, after = known.told, known.breaker.state
        name = known.manager.name
        if after is BreakerState.CLOSED:
            known.last_error = None
            known.told = after
            if before is not BreakerState.CLOSED:
                log.info(Event.RUNNER_MANAGER_UP, runner_manager=name)
                self._came_back.ring()
            return
        if Outcome.of(error) is not Outcome.ANSWERED:
            known.last_error = str(error)
        if after is BreakerState.HALF_OPEN or after is before:
            return
        known.told = after
        if after is BreakerState.MISCONFIGURED:
            log.error(Event.RUNNER_MANAGER_MISCONFIGURED, runner_manager=name, error=str(error))
        else:
            log.warning(Event.RUNNER_MANAGER_DOWN, runner_manager=name, error=str(error))

    def _show(self, known: _Knowledge) -> None:
        name, metrics = known.manager.name, self._metrics
        metrics.runner_manager_up.labels(name).set(known.breaker.state is BreakerState.CLOSED)
        for state in BreakerState:
            metrics.runner_manager_breaker.labels(name, state).set(known.breaker.state is state)
        to_wall_clock = self._clock.now().timestamp() - self._clock.monotonic()
        for kind in TaskType:
            until = known.fullness.get(kind, Fullness()).until
            is_full = until > self._clock.monotonic()
            metrics.runner_manager_full_until.labels(name, kind).set(until + to_wall_clock if is_full else 0)


def _probe_at(breaker: Breaker) -> float:
    return 0.0 if breaker.state is BreakerState.CLOSED else breaker.until


def _positive(seconds: float) -> float | None:
    return seconds if seconds > 0 else None

"""The runner managers as the daemon knows them: Pod's rows, and what their answers have taught."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import structlog

from poddispatchd.clock import Clock
from poddispatchd.domain import breaker as breakers
from poddispatchd.domain.availability import Availability, Openings, closed_everywhere
from poddispatchd.domain.back_pressure import Fullness, Pace
from poddispatchd.domain.breaker import BreakerState, RequestOutcome
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.routing import ANSWERS_WITHIN, Lane
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, SiteId, TaskType
from poddispatchd.errors import (
    AnswerLostError,
    PoddispatchdError,
    RunnerManagerBusyError,
    RunnerManagerFullError,
)
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.managers.gauges import set_gauges
from poddispatchd.managers.state import POLICY, ManagerReport, ManagerState, unix_time
from poddispatchd.managers.timetable import ALWAYS, Timetables
from poddispatchd.observability.events import Event
from poddispatchd.observability.logs import register_secret
from poddispatchd.observability.metrics import Metrics
from poddispatchd.runtime.wakeups import Wakeup

log = structlog.get_logger(__name__)

_RATE_LIMIT_WINDOW = 60.0
"""Seconds after a 429 in which a manager gets no submission: its limiter counts in windows of a minute."""


class ManagerRegistry:
    """What is known of every runner manager, kept in memory; Pod's rows are read again with ``refresh``.

    ``came_back`` is rung when a manager that was down can be asked for tasks again. ``per_minute``: how many
    tasks one may be asked to take within a minute (``runners.submissions_per_minute``); 0: any number.
    """

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        *,
        came_back: Wakeup | None = None,
        per_minute: int = 0,
        availability: Availability = Availability(),  # noqa: B008 - it is frozen
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._came_back = came_back or Wakeup()
        self._per_minute = per_minute
        self.availability = availability
        self._known: dict[ManagerId, ManagerState] = {}
        self._paces: dict[str, Pace] = {}
        """By address: a manager that serves several sites counts the tasks of all of them together."""
        self.active_sites: frozenset[SiteId] = frozenset()
        """The sites that have an active manager."""
        self._has_pauses = False
        metrics.when_exposed(self._show)

    @property
    def availability(self) -> Availability:
        """When tasks may be submitted; a reload changes it."""
        return self._availability

    @availability.setter
    def availability(self, availability: Availability) -> None:
        self._availability = availability
        self._has_windows = not availability.is_unlimited

    def refresh(
        self,
        managers: Iterable[RunnerManager],
        memories: Mapping[ManagerId, ManagerMemory],
        latest_tasks: Mapping[ManagerId, datetime],
    ) -> None:
        """Take over Pod's rows; a manager whose URL or token was changed starts with a clean slate.

        Args:
            managers: all of them.
            memories: what the journal holds of each.
            latest_tasks: when the latest task of each was added: Pod submits tasks as well.
        """
        fresh: dict[ManagerId, ManagerState] = {}
        for manager in managers:
            memory = memories.get(manager.id, ManagerMemory())
            known = self._known.get(manager.id)
            if known is None or (known.manager.url, known.manager.token) != (manager.url, manager.token):
                register_secret(manager.token)
                pace = self._paces.setdefault(_address(manager), Pace(self._per_minute))
                # What is in progress at its old address must not end what begins at the new one.
                turn = 0 if known is None else known.turn
                known = ManagerState(manager, memory, pace, heard_at=self._clock.monotonic(), turn=turn)
            known.manager, known.memory = manager, memory
            known.given_before = unix_time(memory.last_given_at)
            known.latest_task = unix_time(latest_tasks.get(manager.id))
            fresh[manager.id] = known
        names = {known.manager.name for known in fresh.values()}
        gone = {known.manager.name for known in self._known.values()} - names
        self._paces = {_address(known.manager): known.pace for known in fresh.values()}
        self._known = fresh
        self.active_sites = frozenset(known.site_id for known in self.all() if known.is_active)
        self._has_pauses = any(known.memory.pauses for known in fresh.values())
        self._metrics.add_managers(names)
        self._metrics.forget_managers(gone)

    def get(self, manager: ManagerId) -> RunnerManager | None:
        """A runner manager, active or not; None when Pod has no such row any more."""
        known = self._known.get(manager)
        return None if known is None else known.manager

    def is_current(self, manager: RunnerManager) -> bool:
        """Whether a manager still has the address and the token that it had when it was read."""
        known = self.get(manager.id)
        return known is not None and (known.url, known.token) == (manager.url, manager.token)

    @property
    def states(self) -> Mapping[ManagerId, ManagerState]:
        """All that is known of each."""
        return self._known

    def all(self) -> list[RunnerManager]:
        """Every runner manager, active or not."""
        return [known.manager for known in self._known.values()]

    def lanes(self, only: ManagerId | None = None) -> list[Lane]:
        """The active runner managers as routing sees them, or one of them, if it is active."""
        now = self._clock.monotonic()
        active = [
            known
            for known in self._known.values()
            if known.manager.is_active and only in (None, known.manager.id)
        ]
        if not self._has_windows and not self._has_pauses:
            return [known.lane(now, ALWAYS) for known in active]
        timetables = self._timetables()
        return [known.lane(now, timetables.of(known.manager.name, known.memory.pauses)) for known in active]

    def begin(self, manager: ManagerId) -> int:
        """A submission to this manager begins: no other one goes there until ``end``, with its number."""
        known = self._known[manager]
        known.busy_since = self._clock.monotonic()
        known.begun_at = self._clock.now().timestamp()
        known.turn += 1
        return known.turn

    def posts(self, manager: ManagerId) -> None:
        """This manager is being asked to take a task, right now."""
        if (known := self._known.get(manager)) is not None:
            known.pace.posted(self._clock.monotonic())

    def end(self, manager: ManagerId, turn: int) -> None:
        """A submission has ended, however it did, as far as this manager is concerned; once is enough."""
        known = self._known.get(manager)
        if known is not None and known.busy_since is not None and known.turn == turn:
            known.is_slow = self._clock.monotonic() - known.busy_since >= ANSWERS_WITHIN
            known.busy_since = None

    def is_busy(self, manager: ManagerId) -> bool:
        """Whether a submission to this manager is in progress."""
        known = self._known.get(manager)
        return known is not None and known.busy_since is not None

    def is_free(self, manager: ManagerId) -> bool:
        """Whether a task that this manager may have may be posted to it again now."""
        known, now = self._known.get(manager), self._clock.monotonic()
        if known is None or known.busy_since is not None:
            return False
        return max(known.shut_until, known.pace.opening(now)) <= now

    def refused_parameters(self, manager: ManagerId) -> frozenset[str]:
        """The optional parameters over which runners of this manager failed tasks lately."""
        known = self._known.get(manager)
        return frozenset() if known is None else known.memory.refused_parameters

    def is_down(self, manager: ManagerId) -> bool:
        """Whether this manager's breaker keeps requests from it."""
        known = self._known.get(manager)
        return known is not None and known.breaker.state is not BreakerState.CLOSED

    def opening_of(self, manager: ManagerId) -> float:
        """When a question that is no task may go to this manager again, on the monotonic clock."""
        known = self._known.get(manager)
        return 0.0 if known is None else known.probe_at

    def accepted(self, manager: ManagerId, kind: TaskType) -> None:
        """This manager took a task."""
        known = self._known.get(manager)
        if known is None:
            return
        now = self._clock.monotonic()
        if known.freed_at is not None:
            self._metrics.slot_idle.observe(now - known.freed_at)
            known.freed_at = None
        # The turn was taken when it was asked, so that a slow answer does not change whose turn is next.
        known.given_at = known.begun_at
        known.fullness[kind] = known.fullness.get(kind, Fullness()).accepted()
        known.full_since.pop(kind, None)
        known.taken_in_a_row += 1

    def freed(self, manager: ManagerId) -> None:
        """A runner of this manager has become free, or is about to."""
        known = self._known.get(manager)
        if known is None:
            return
        now = self._clock.monotonic()
        known.freed_at = known.heard_at = now
        known.fullness = {kind: known.fullness.get(kind, Fullness()).freed(now) for kind in SUBMITTABLE}

    def full(self, manager: ManagerId, kind: TaskType) -> None:
        """This manager had no free runner for this type of task."""
        known = self._known.get(manager)
        if known is None:
            return
        now = self._clock.monotonic()
        before = known.fullness.get(kind, Fullness())
        known.fullness[kind] = before.refused(now, self._clock.random)
        known.full_since.setdefault(kind, self._clock.now())
        if before.refusals == 0:
            log.info(Event.RUNNER_MANAGER_FULL, runner_manager=known.manager.name, type=kind)

    def learn(
        self, manager: RunnerManager, error: PoddispatchdError | None, *, kind: TaskType | None = None
    ) -> None:
        """Take over what a request told about this manager.

        Args:
            manager: as it was asked; an address or a token that Pod has replaced since tells nothing.
            error: how it failed; None when it succeeded.
            kind: the type of the task, for a submission.
        """
        known = self._known.get(manager.id)
        if known is None or not self.is_current(manager):
            return
        now = known.heard_at = self._clock.monotonic()
        if kind is not None:
            is_lost = isinstance(error, AnswerLostError)
            known.lost_answers = known.lost_answers + 1 if is_lost else 0
            known.lost_at = now if is_lost else known.lost_at
            known.taken_in_a_row = 0 if error is not None else known.taken_in_a_row
        outcome, is_down = RequestOutcome.of(error), known.breaker.state is not BreakerState.CLOSED
        if outcome is RequestOutcome.ANSWERED:
            known.answered_at, known.asked_since = now, None
        if outcome is RequestOutcome.ANSWERED and kind is None and (is_down or known.failed_by_task):
            # What tasks have met is not over because questions are answered.
            if is_down and known.answers_again(now):
                self._came_back.ring()
        else:
            known.breaker = breakers.after(
                known.breaker, outcome, now=now, random=self._clock.random, policy=POLICY
            )
            known.refused_by_task = kind is not None and outcome is RequestOutcome.MISCONFIGURED
            if kind is not None:
                known.failed_by_task = outcome is RequestOutcome.UNAVAILABLE
        if isinstance(error, RunnerManagerBusyError):
            known.limits(now, until=now + _RATE_LIMIT_WINDOW)
        if isinstance(error, RunnerManagerFullError) and kind is not None:
            self.full(manager.id, kind)
        if known.tell(error):
            self._came_back.ring()

    def reports(self) -> list[ManagerReport]:
        """Every runner manager, for people, in Pod's order."""
        now, timetables = self._clock.monotonic(), self._timetables()
        ordered = sorted(self._known.values(), key=lambda known: (known.manager.priority, known.manager.id))
        return [
            known.report(now, timetables.of(known.manager.name, known.memory.pauses)) for known in ordered
        ]

    def closed_types(self) -> frozenset[TaskType]:
        """The types of which no task is submitted now, for windows are closed at every active manager."""
        return frozenset(
            closed_everywhere([report.opens_at for report in self.reports() if report.is_active])
        )

    def openings(self) -> dict[ManagerId, Mapping[str, Openings]]:
        """When each runner manager may be given tasks of each type; a type that is absent: always."""
        timetables = self._timetables()
        return {
            known.manager.id: timetables.openings(known.manager.name, known.memory.pauses)
            for known in self._known.values()
        }

    def _timetables(self) -> Timetables:
        return Timetables(self._availability, self._clock.now())

    def _show(self) -> None:
        """Set the gauges of all of them."""
        set_gauges(self._metrics, self._known.values(), self._clock.monotonic(), self._clock.now())


def _address(manager: RunnerManager) -> str:
    return manager.url.strip().rstrip("/")

"""What is known of one runner manager, and how routing and people see it."""

from datetime import datetime, timedelta
from math import inf

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from poddispatchd.domain.availability import Pause, WindowNow
from poddispatchd.domain.back_pressure import Fullness, Pace
from poddispatchd.domain.breaker import Breaker, BreakerPolicy, BreakerState, RequestOutcome
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.routing import ANSWERS_WITHIN, Lane
from poddispatchd.domain.situation import ManagerView
from poddispatchd.domain.task import ManagerId, SiteId, TaskType
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.managers.timetable import Timetable
from poddispatchd.observability.events import Event
from poddispatchd.runner.request_errors import unforeseen

log = structlog.get_logger(__name__)

POLICY = BreakerPolicy(threshold=2, base=2.0, cap=60.0, floor=1.0, misconfigured=60.0)

DOUBTFUL_AFTER = 3
"""Lost answers in a row after which others get the tasks: something cuts what a healthy manager says."""

STEADY_AFTER = 2
"""Tasks taken in a row after which a manager is expected to take another one: it has several free runners."""

DOUBT_LASTS = 600.0
"""Seconds after the last lost answer for which that is believed. Only a submission shows that answers come
again, and while the others have room it would get none: then it gets one task in its turn."""


PROVEN_FOR = 10.0
"""Seconds after an answer for which a manager is taken to be reachable although another one is not."""

_LIMITS_TOLD_AFTER = 600.0
"""Seconds for which a runner manager must not have limited our rate until that is told anew."""


class ManagerReport(Struct, frozen=True):
    """One runner manager, for people. Times are seconds from now, or moments; None where they do not apply.

    ``full_since``: since when it has taken no task of a type, for it had no free runner. ``paced_for``: it
    has been asked to take so many tasks that the next one waits. ``paused_until`` is None when it is paused
    until somebody resumes it, ``planned_pauses`` are those to come. ``window`` are its own windows;
    ``opens_at``: the types for which a window is closed, its own or that of the type, and when a task of them
    may begin, None: never.
    """

    id: ManagerId
    name: str
    priority: int
    is_active: bool
    paused: bool
    state: BreakerState
    retry_in: float | None
    full_for: dict[TaskType, float]
    paced_for: float | None
    error: str | None
    site: SiteId
    paused_since: datetime | None
    full_since: dict[TaskType, datetime]
    paused_until: datetime | None = None
    pause_reason: str = ""
    planned_pauses: tuple[Pause, ...] = ()
    window: WindowNow | None = None
    opens_at: dict[TaskType, datetime | None] = field(default_factory=dict)
    quiet_for: float = 0.0
    """Seconds since anything was heard of it: an answer, the failure to get one, a callback."""

    @property
    def timetable(self) -> Timetable:
        """What windows and pauses say of it."""
        since = self.paused_since
        held = None if since is None else Pause(since, self.paused_until, self.pause_reason)
        return Timetable(held, self.planned_pauses, self.window, self.opens_at)

    def view(self, now: datetime) -> ManagerView:
        """This manager as ``domain/manager_diagnosis.py`` wants it."""
        return ManagerView(
            id=self.id,
            name=self.name,
            site=self.site,
            is_active=self.is_active,
            is_paused=self.paused,
            paused_until=self.paused_until,
            pause_reason=self.pause_reason,
            opens_at=self.opens_at,
            state=self.state,
            error=self.error,
            retry_at=None if self.retry_in is None else now + timedelta(seconds=self.retry_in),
            full_since=self.full_since,
            full_until={kind: now + timedelta(seconds=left) for kind, left in self.full_for.items()},
            paced_until=None if self.paced_for is None else now + timedelta(seconds=self.paced_for),
        )


class ManagerState(Struct):
    """Pod's row of a runner manager, and what its answers have taught; kept up to date by the registry.

    Times are of the monotonic clock, moments of the wall clock. ``pace`` is shared by all rows of one
    address. ``told`` is the state that was logged last. ``refused_by_task``: only a task can show whether it
    is configured well by now, for the health check never saw the problem. ``failed_by_task``: it failed over
    the last one, and only one that it answers for shows that this is over. ``begun_at`` is when the last
    submission began, ``given_at`` when the last one began that was accepted, ``given_before`` the same as
    the journal knows it, ``latest_task`` when the latest of its tasks was added, whoever submitted it: Unix
    times, 0 for never. ``lost_answers``: submissions in a row whose answer did not arrive, ``lost_at`` when
    the last of them did not. ``turn`` is the number of the submission in progress, or of the last one.
    ``heard_at`` is when anything was heard of it, a failure included. ``taken_in_a_row``: tasks that it took
    since it last did not take one. ``answered_at`` is when it last answered anything; ``asked_since``: since
    when it is asked whether it does, because another one could not be reached.
    """

    manager: RunnerManager
    memory: ManagerMemory
    pace: Pace
    breaker: Breaker = field(default_factory=Breaker)
    fullness: dict[TaskType, Fullness] = field(default_factory=dict)
    full_since: dict[TaskType, datetime] = field(default_factory=dict)
    limited_until: float = -inf
    busy_since: float | None = None
    is_slow: bool = False
    told: BreakerState = BreakerState.CLOSED
    refused_by_task: bool = False
    failed_by_task: bool = False
    last_error: str | None = None
    freed_at: float | None = None
    begun_at: float = 0.0
    given_at: float = 0.0
    given_before: float = 0.0
    latest_task: float = 0.0
    lost_answers: int = 0
    lost_at: float = 0.0
    turn: int = 0
    taken_in_a_row: int = 0
    heard_at: float = 0.0
    answered_at: float = -inf
    asked_since: float | None = None

    @property
    def last_turn(self) -> float:
        """When it was last given a task, by this daemon or an earlier one, or by Pod; 0 for never."""
        return max(self.given_at or self.given_before, self.latest_task)

    @property
    def shut_until(self) -> float:
        """Until when nothing but a probe goes there: a breaker is closed by the health check.

        The exception is a problem that only a task can meet: then one is tried when its time has come.
        """
        if self.breaker.state is BreakerState.CLOSED:
            return self.limited_until
        if self.refused_by_task and self.breaker.state is BreakerState.HALF_OPEN:
            return max(self.limited_until, self.breaker.until)
        return inf

    @property
    def probe_at(self) -> float:
        """When a question that is no task may go there again."""
        is_closed = self.breaker.state is BreakerState.CLOSED
        return max(self.limited_until, 0.0 if is_closed else self.breaker.until)

    def answers_again(self, now: float) -> bool:
        """Something else than a submission succeeded while the breaker is open: tasks may come back.

        How often it opened is not forgotten before a task is accepted: a manager that is healthy and drops
        every submission is left alone for longer and longer.

        Returns:
            Whether one task is to find out now what only a task can.
        """
        if not self.refused_by_task:
            # The next failure of a task opens it again, for longer than before.
            self.breaker = Breaker(failures=POLICY.threshold - 1, openings=self.breaker.openings)
            return False
        if self.breaker.state is BreakerState.HALF_OPEN or now < self.breaker.until:
            return False
        self.breaker = replace(self.breaker, state=BreakerState.HALF_OPEN, until=now)
        return True

    def limits(self, now: float, *, until: float) -> None:
        """It limits our rate of requests: told when it has not done so for a while."""
        if now - self.limited_until >= _LIMITS_TOLD_AFTER:
            log.warning(Event.RUNNER_MANAGER_LIMITS, runner_manager=self.manager.name)
        self.limited_until = until

    def tell(self, error: PoddispatchdError | None) -> bool:
        """Log a transition of the breaker, each once; a probe that fails again is none.

        Args:
            error: what was met; None: it answered.

        Returns:
            Whether the manager is back.
        """
        before, after = self.told, self.breaker.state
        name = self.manager.name
        if after is BreakerState.CLOSED:
            self.last_error = None
            self.told = after
            if before is BreakerState.CLOSED:
                return False
            log.info(Event.RUNNER_MANAGER_UP, runner_manager=name)
            return True
        if RequestOutcome.of(error) is not RequestOutcome.ANSWERED:
            self.last_error = str(error)
        if after is BreakerState.HALF_OPEN or after is before:
            return False
        self.told = after
        if after is BreakerState.MISCONFIGURED:
            log.error(Event.RUNNER_MANAGER_MISCONFIGURED, runner_manager=name, error=str(error))
        else:
            bug = unforeseen(error)
            log.warning(Event.RUNNER_MANAGER_DOWN, runner_manager=name, error=str(error), exc_info=bug)
        return False

    def lane(self, now: float, timetable: Timetable) -> Lane:
        """This manager as routing sees it: after a failure others get the tasks for a moment.

        While it is asked whether it answers, that is waited for like the answer to a submission; then
        others come first.
        """
        asked = self.asked_since
        is_silent = asked is not None and now - asked >= ANSWERS_WITHIN
        is_doubtful = self.lost_answers >= DOUBTFUL_AFTER and now - self.lost_at < DOUBT_LASTS
        return Lane(
            manager=self.manager.id,
            site=self.manager.site_id,
            priority=self.manager.priority,
            paused=timetable.pause is not None,
            closed_until=max(self.shut_until, self.breaker.until, self.pace.opening(now)),
            full_until={kind: fullness.until for kind, fullness in self.fullness.items()},
            shut_until={kind: now + seconds for kind, seconds in timetable.shut_for.items()},
            last_given=self.last_turn,
            busy_since=asked if self.busy_since is None and not is_silent else self.busy_since,
            is_slow=self.is_slow,
            is_doubtful=is_doubtful or is_silent,
            is_steady=asked is None and self.taken_in_a_row >= STEADY_AFTER and self.pace.lets_two_go(now),
        )

    def report(self, now: float, timetable: Timetable) -> ManagerReport:
        """This manager as people see it."""
        held = timetable.pause
        wait, pause = self.probe_at - now, self.pace.opening(now) - now
        return ManagerReport(
            id=self.manager.id,
            name=self.manager.name,
            priority=self.manager.priority,
            is_active=self.manager.is_active,
            paused=held is not None,
            state=self.breaker.state,
            retry_in=wait if wait > 0 else None,
            full_for={
                kind: fullness.until - now for kind, fullness in self.fullness.items() if fullness.until > now
            },
            paced_for=pause if pause > 0 else None,
            error=self.last_error,
            site=self.manager.site_id,
            paused_since=None if held is None else held.begins,
            paused_until=None if held is None else held.ends,
            pause_reason="" if held is None else held.reason,
            planned_pauses=timetable.planned,
            window=timetable.window,
            opens_at=dict(timetable.opens_at),
            full_since={
                kind: since
                for kind, since in self.full_since.items()
                if self.fullness.get(kind, Fullness()).until > now
            },
            quiet_for=now - self.heard_at,
        )


def unix_time(moment: datetime | None) -> float:
    """A moment as a Unix time; 0 for none."""
    return 0.0 if moment is None else moment.timestamp()

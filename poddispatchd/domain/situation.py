"""What is known when somebody asks why something does not move, and what is answered.

The answers are computed in ``domain/pending_reasons.py``, ``domain/manager_diagnosis.py`` and
``domain/campaign_reasons.py``.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, field

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskType


class Severity(StrEnum):
    """How much a finding matters."""

    NORMAL = "normal"
    """As it should be: it moves by itself."""

    NOTICE = "notice"
    """Worth knowing; it moves by itself, but slowly, or because somebody wanted it so."""

    PROBLEM = "problem"
    """A person must do something."""


SEVEREST_FIRST = (Severity.PROBLEM, Severity.NOTICE, Severity.NORMAL)


class Reason(StrEnum):
    """Why a task, or a whole type, is not submitted right now."""

    DATABASE_AWAY = "database_away"
    DATABASE_REFUSES = "database_refuses"
    NOBODY_SCHEDULES = "nobody_schedules"
    ANOTHER_SCHEDULES = "another_schedules"
    SHADOW = "shadow"
    MEDIA_NOT_USABLE = "media_not_usable"
    ROW_LOCKED = "row_locked"
    SOURCE_MISSING = "source_missing"
    TYPE_UNKNOWN = "type_unknown"
    STATUS_UNKNOWN = "status_unknown"
    SITE_NOT_SERVED = "site_not_served"
    SAME_SOURCE_RUNS = "same_source_runs"
    SAME_SOURCE_WAITS = "same_source_waits"
    RETRY_WAIT = "retry_wait"
    GRACE = "grace"
    NO_MANAGER = "no_manager"
    NO_MANAGER_FOR_SITE = "no_manager_for_site"
    MANAGERS_INACTIVE = "managers_inactive"
    MANAGERS_PAUSED = "managers_paused"
    WINDOW_CLOSED = "window_closed"
    WINDOW_NEVER_OPEN = "window_never_open"
    MANAGERS_MISCONFIGURED = "managers_misconfigured"
    MANAGERS_DOWN = "managers_down"
    MANAGERS_FULL = "managers_full"
    MANAGERS_LIMIT = "managers_limit"
    KEPT_FOR_OTHERS = "kept_for_others"
    NEXT = "next"
    INSTALLATION = "installation"


NOTHING_IS_SUBMITTED = (Reason.DATABASE_AWAY, Reason.DATABASE_REFUSES, Reason.MEDIA_NOT_USABLE)
"""What keeps every task waiting, until somebody has mended it."""


class Finding(Struct, frozen=True):
    """One thing that was found: what it is, and what a person does about it (empty: nothing)."""

    reason: Reason
    severity: Severity
    words: str
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """Words and remedy."""
        return f"{self.words} {self.remedy}".rstrip()


class Scheduling(StrEnum):
    """Who hands out tasks, as far as the one that asks knows."""

    HERE = "here"
    ANOTHER = "another"
    NOBODY = "nobody"
    SHADOW = "shadow"
    PASSES = "passes"
    """No daemon now; somebody did a while ago, as single passes do, and a daemon that was stopped."""
    UNKNOWN = "unknown"


class ManagerView(Struct, frozen=True):
    """A runner manager as a person sees it.

    ``retry_at``: when one that does not work, or limits our rate, is asked again. ``paced_until``: when it
    gets its next task by ``runners.submissions_per_minute``. ``full_since`` and ``full_until``: by type,
    since when it has had no free runner and when it is asked again. ``paused_until`` is None when it is
    paused until somebody resumes it. ``opens_at``: the types for which a window is closed, its own or that of
    the type, and when a task of them may begin, None: never.
    """

    id: ManagerId
    name: str
    site: SiteId
    is_active: bool = True
    is_paused: bool = False
    state: BreakerState = BreakerState.CLOSED
    error: str | None = None
    retry_at: datetime | None = None
    paced_until: datetime | None = None
    full_since: Mapping[TaskType, datetime] = field(default_factory=dict)
    full_until: Mapping[TaskType, datetime] = field(default_factory=dict)
    paused_until: datetime | None = None
    pause_reason: str = ""
    opens_at: Mapping[TaskType, datetime | None] = field(default_factory=dict)

    def state_words(self) -> str:
        """How it is, in a word or two."""
        if not self.is_active:
            return "inactive"
        if self.is_paused:
            return "paused"
        return breaker_words(self.state)


def breaker_words(state: BreakerState) -> str:
    """What a breaker's state means to a person."""
    match state:
        case BreakerState.CLOSED:
            return "up"
        case BreakerState.OPEN:
            return "down"
        case BreakerState.HALF_OPEN:
            return "coming back"
        case BreakerState.MISCONFIGURED:
            return "misconfigured"


def error_about(name: str, error: str) -> str:
    """The last error of a runner manager, where it is named already."""
    for called in (repr(name), name):
        about = f"Runner manager {called} "
        if error.startswith(about):
            return f"it {error.removeprefix(about)}"
    return error


class Situation(Struct, frozen=True):
    """Everything around the queue that can keep a task waiting.

    Attributes:
        now: the moment; all times carry a zone.
        managers: every runner manager of Pod, active or not.
        sites: the domain of each of Pod's sites.
        served: the sites whose tasks are handed out (``dispatch.sites``).
        scheduling: who hands out tasks.
        scheduler: the instance that does, if it is another one.
        scheduled_at: when the last single pass, or daemon, began, where there are passes.
        database_problem: in words, if the database does not answer.
        write_problem: in words, if the database answers but does not take what is written.
        media_problem: in words, if nothing can be read or written under MEDIA_ROOT.
        source_problems: in words, what keeps the tasks that have their sources at some places.
        dispatch_problems: in words, what fails while tasks are submitted, each time or for some of them.
        stalled_after: seconds after which a type that waits while none of it runs is a problem
            (``reconcile.stale_after``).
        opened_at: since when the windows of types are open; a wait before that is no sign of trouble.
    """

    now: datetime
    managers: tuple[ManagerView, ...] = ()
    sites: Mapping[SiteId, str] = field(default_factory=dict)
    served: Collection[SiteId] = ()
    scheduling: Scheduling = Scheduling.HERE
    scheduler: str | None = None
    scheduled_at: datetime | None = None
    database_problem: str | None = None
    write_problem: str | None = None
    media_problem: str | None = None
    source_problems: tuple[str, ...] = ()
    dispatch_problems: tuple[str, ...] = ()
    stalled_after: float = 7200.0
    opened_at: Mapping[str, datetime] = field(default_factory=dict)

    def clock(self, moment: datetime) -> str:
        """A moment for people, in the zone of ``now``: the time alone on the same day."""
        local = moment.astimezone(self.now.tzinfo)
        return f"{local:%H:%M:%S %Z}" if local.date() == self.now.date() else f"{local:%Y-%m-%d %H:%M %Z}"

    def countdown(self, moment: datetime) -> str:
        """A moment to come, and how long it is until then."""
        return f"{self.clock(moment)} (in {duration_words(moment - self.now)})"


class Backlog(Struct, frozen=True):
    """The pending tasks of one type. ``sites``: those they belong to, None when that was not counted."""

    type: TaskType
    pending: int
    running: int = 0
    oldest: datetime | None = None
    sites: frozenset[SiteId] | None = None


class WaitingTask(Struct, frozen=True):
    """One pending task.

    Attributes:
        pk: its id.
        type: its type.
        site: for which it is done; None when none of its sites is served.
        site_names: the domains it belongs to.
        rank: its place in the queue, from 1.
        visible_at: when it was added.
        grace: seconds for which it is left to Pod's own submission; 0 when Pod is not submitting it.
        waits_until: a task that was put back into the queue is not submitted before.
        behind: a task of the same type and source that is done first.
        behind_runs: that one runs already.
        locked_by: who holds its row, in words.
        source_problem: why its source cannot be submitted, in words.
        lost_by: the managers at which its runs came to nothing.
        is_last_run: there is one run of it left.
    """

    pk: TaskPk
    type: TaskType
    site: SiteId | None
    site_names: tuple[str, ...] = ()
    rank: int | None = None
    visible_at: datetime | None = None
    grace: float = 0.0
    waits_until: datetime | None = None
    behind: TaskPk | None = None
    behind_runs: bool = False
    locked_by: str | None = None
    source_problem: str | None = None
    lost_by: frozenset[ManagerId] = frozenset()
    is_last_run: bool = False


def duration_words(length: timedelta) -> str:
    """A length of time for people: ``45 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"

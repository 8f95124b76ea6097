"""States of a daemon to look at: what a page shows, without a daemon."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.forecast import Interval
from poddispatchd.domain.situation import Finding, Reason, Severity
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskStatus, TaskType
from poddispatchd.journal.ends import HourOfTasks, TaskEnd
from poddispatchd.managers.state import ManagerReport
from poddispatchd.pod.task_list import ListedTask
from poddispatchd.web.expected_state import ExpectedState
from poddispatchd.web.overviews import Overview
from poddispatchd.web.page import status_page
from poddispatchd.web.state import DaemonState, QueueState, WaitingState

NOW = datetime.now(UTC)


def _in(low: int, high: int) -> Interval:
    """Between so many minutes from now, and some seconds until somebody looks."""
    late = timedelta(seconds=30)
    return Interval(
        NOW + timedelta(minutes=low) + (late if low else timedelta()), NOW + timedelta(minutes=high) + late
    )


FULL = Finding(
    Reason.MANAGERS_FULL,
    Severity.NOTICE,
    "They wait for a free runner: encoders is full since 16:10:00, asked again at 17:00:40. "
    "The oldest has been waiting for 45 min.",
)


def manager(number: int, name: str) -> ManagerReport:
    return ManagerReport(
        id=ManagerId(number),
        name=name,
        priority=number,
        is_active=True,
        paused=False,
        state=BreakerState.CLOSED,
        retry_in=None,
        full_for={},
        paced_for=None,
        error=None,
        site=SiteId(1),
        paused_since=None,
        full_since={},
    )


def queue(kind: TaskType, pending: int = 0, why: Finding | None = None) -> QueueState:
    counts = {
        TaskStatus.PENDING: pending,
        TaskStatus.RUNNING: 1 if kind is TaskType.ENCODING else 0,
        TaskStatus.COMPLETED: 12_345,
        TaskStatus.FAILED: 3,
        TaskStatus.TIMEOUT: 0,
    }
    oldest = (NOW - timedelta(minutes=45)).isoformat() if pending else None
    return QueueState(kind, counts, oldest, why)


CALM = DaemonState(
    version="1.0.0",
    instance="pod.example.org:4711",
    leader=True,
    term=3,
    database_up=True,
    database_writable=True,
    pooling=Pooling.NONE,
    listening=True,
    submissions_in_progress=0,
    imports_in_progress=1,
    queue=tuple(queue(kind) for kind in TaskType),
    managers=(manager(1, "encoders"), manager(2, "second")),
    problems=(),
    as_of=NOW.isoformat(),
    running_on={ManagerId(1): 1},
    time_zone="Europe/Paris",
)

TROUBLE = replace(
    CALM,
    queue=(
        queue(TaskType.ENCODING, 1987, FULL),
        queue(TaskType.STUDIO),
        queue(
            TaskType.TRANSCRIPTION,
            13,
            Finding(
                Reason.MANAGERS_PAUSED,
                Severity.PROBLEM,
                "Every active runner manager of pod.example.org is paused (second).",
                "Resume one: 'poddispatchd runners resume second'.",
            ),
        ),
    ),
    managers=(
        replace(
            manager(1, "encoders"),
            full_for={TaskType.ENCODING: 40.0},
            full_since={TaskType.ENCODING: NOW - timedelta(minutes=50)},
        ),
        replace(manager(2, "second"), paused=True, paused_since=NOW - timedelta(hours=3)),
        replace(
            manager(3, "third-with-a-rather-long-name"),
            state=BreakerState.OPEN,
            error="Runner manager third cannot be reached: no connection to 10.0.0.3 port 8081.",
        ),
        replace(manager(4, "<b>old</b>"), is_active=False),
    ),
    problems=("Runner manager third is down: no connection to 10.0.0.3 port 8081.",),
    notices=(f"Pending tasks of type encoding: {FULL.words}",),
    waiting=tuple(WaitingState(TaskPk(100 + n), "encoding", n, FULL) for n in range(1, 8)),
    expected=ExpectedState(
        NOW,
        begins={TaskPk(101): _in(4, 12), TaskPk(102): _in(70, 190)},
        ends={TaskPk(101): _in(19, 48), TaskPk(50): _in(0, 35)},
        drained={"encoding": _in(600, 1500)},
    ),
)


def row(pk: int, title: str, status: str = "running", failure: str | None = None) -> ListedTask:
    return ListedTask(
        TaskPk(pk), "encoding", status, None, title, "anna", ManagerId(1), f"id-{pk}",
        NOW - timedelta(hours=2), failure,
    )  # fmt: skip


_FAILED = (
    row(40, "Séminaire de physique, 3e partie", "failed", "effective video duration is 0 seconds"),
    row(41, "<script>alert(1)</script>", "failed", "effective video duration is 0 seconds"),
    row(42, "Welcome", "timeout", "The runner gave up after 5 h."),
)

OVERVIEW = Overview(
    as_of=NOW,
    running=(row(50, "Amphi B: introduction à la thermodynamique des systèmes ouverts et fermés"),),
    begun={TaskPk(50): NOW - timedelta(minutes=73)},
    titles={TaskPk(100 + n): f"Analyse, chapitre {n}" for n in range(1, 7)},
    ended=(
        *((task, TaskEnd(task.pk, NOW - timedelta(minutes=5), is_completed=False)) for task in _FAILED),
        (
            row(39, "Cours 1", "completed"),
            TaskEnd(TaskPk(39), NOW - timedelta(minutes=9), is_completed=True),
        ),
    ),
    failed=tuple((task, TaskEnd(task.pk, NOW, is_completed=False)) for task in _FAILED),
    hours=tuple(
        HourOfTasks(NOW - timedelta(hours=23 - n), (n * 7) % 11, (n * 5) % 9, n % 5 // 3) for n in range(24)
    ),
)

STARTING = status_page(None, "Waiting for the database: no <server> answers.")
PAGES = {
    "calm": status_page(CALM, "", None),
    "trouble": status_page(TROUBLE, "", OVERVIEW),
    "starting": STARTING,
}

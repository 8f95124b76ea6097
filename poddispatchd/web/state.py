"""The state of a daemon in short: for the status page, the CLI and the health checks."""

from collections.abc import Iterable, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from poddispatchd.config.units import format_duration
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.availability import WindowNow
from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.situation import SEVEREST_FIRST, Finding, Reason
from poddispatchd.domain.task import ManagerId, StaleTasks, TaskPk, TaskStatus, TaskType
from poddispatchd.managers.state import ManagerReport
from poddispatchd.web.campaigns import CampaignReport
from poddispatchd.web.expected_state import ExpectedState
from poddispatchd.web.failures import FailureState

_SHOWN = 5
"""Tasks named in one sentence."""


class QueueState(Struct, frozen=True):
    """Tasks of one type.

    ``oldest_pending`` is an ISO 8601 time, and ``why`` says why they wait; both None when none waits.
    ``window``: when tasks of this type are submitted, None: always.
    """

    type: TaskType
    counts: dict[TaskStatus, int]
    oldest_pending: str | None
    why: Finding | None = None
    window: WindowNow | None = None


class WaitingState(Struct, frozen=True):
    """A pending task, and why it waits."""

    task: TaskPk
    type: str
    rank: int | None
    why: Finding


class DaemonState(Struct, frozen=True):
    """Everything a sysadmin wants to know first.

    ``problems`` are sentences on what a person must do something about, ``notices`` on what is worth
    knowing; none of either when all is well. ``not_ready`` says why the daemon cannot do its work at all;
    ``database_writable`` is False while the database refuses what the daemon has to write.
    ``dispatch_problems`` are what fails while tasks are submitted, each time or for some of them.
    ``as_of`` is when the tasks were counted, ``scheduler`` the instance that schedules if it is another one,
    ``running_on`` the running tasks of each runner manager, ``waiting`` why the first tasks of the queue
    wait, ``expected`` when they and the running ones will be done, ``failures`` what failed in the last
    day, by reason, ``campaigns`` how far those are that are not over, or ended in the last day.
    To poll because of a pooler is no problem: it was chosen with the pooler.
    """

    version: str
    instance: str
    leader: bool
    term: int | None
    database_up: bool
    database_writable: bool
    pooling: Pooling
    listening: bool
    submissions_in_progress: int
    imports_in_progress: int
    queue: tuple[QueueState, ...]
    managers: tuple[ManagerReport, ...]
    problems: tuple[str, ...]
    shadow: ShadowState | None = None
    notices: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()
    dispatch_problems: tuple[str, ...] = ()
    as_of: str | None = None
    scheduler: str | None = None
    running_on: dict[ManagerId, int] = field(default_factory=dict)
    waiting: tuple[WaitingState, ...] = ()
    time_zone: str = "UTC"
    expected: ExpectedState | None = None
    failures: tuple[FailureState, ...] = ()
    campaigns: tuple[CampaignReport, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the daemon can do its work."""
        return not self.not_ready

    @property
    def role(self) -> str:
        """What this daemon is to the queue, in a few words."""
        if self.shadow is not None:
            return "shadow: writes and sends nothing"
        if self.leader:
            return "scheduling"
        return "standing by" if self.database_up else "cut off from the database"

    def line(self) -> str:
        """One line for ``systemctl status``."""
        pending, running = (
            sum(entry.counts[status] for entry in self.queue)
            for status in (TaskStatus.PENDING, TaskStatus.RUNNING)
        )
        head = f"{pending} pending, {running} running, {self.imports_in_progress} importing; {self.role}"
        if self.as_of is None:
            head = f"not counted yet; {self.role}"
        if self.shadow is not None:
            head += f", Pod agreed {self.shadow.agreed} and differed {self.shadow.differed} times"
        return f"{head}; {' '.join(self.problems)}" if self.problems else head


def stale_words(stale: StaleTasks, *, after: float) -> str:
    """A sentence about tasks that run for longer than ``after`` seconds (``reconcile.stale_after``)."""
    verb = "have" if len(stale.tasks) > 1 else "has"
    words = (
        f"{_listed(stale.tasks)} {verb} been running for more than {format_duration(after)}: "
        "see 'poddispatchd tasks show', and ask the runner manager."
    )
    if not stale.waiting:
        return words
    verb = "wait" if len(stale.waiting) > 1 else "waits"
    return (
        f"{words} {_listed(stale.waiting)} for the same source {verb} until then: "
        "'poddispatchd tasks cancel' ends either."
    )


def _listed(tasks: Sequence[TaskPk]) -> str:
    more = f" and {len(tasks) - _SHOWN} more" if len(tasks) > _SHOWN else ""
    return f"Task{'s' if len(tasks) > 1 else ''} {', '.join(str(pk) for pk in tasks[:_SHOWN])}{more}"


def with_own_reason(entry: QueueState, waiting: Iterable[WaitingState]) -> QueueState:
    """A type whose tasks all wait for reasons of their own, which say more than that a runner is free."""
    if entry.why is None or entry.why.reason is not Reason.NEXT:
        return entry
    own = [task for task in waiting if task.type == entry.type]
    if len(own) < entry.counts[TaskStatus.PENDING] or any(task.why.reason is Reason.NEXT for task in own):
        return entry
    first = min(own, key=lambda task: SEVEREST_FIRST.index(task.why.severity))
    more = f" {len(own) - 1} more wait for reasons of their own." if len(own) > 1 else ""
    words = f"Task {first.task}: {first.why.words}{more}"
    return replace(entry, why=Finding(first.why.reason, first.why.severity, words, first.why.remedy))

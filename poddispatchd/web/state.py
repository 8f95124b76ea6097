"""The state of a daemon in short: for the status page, the CLI and the health checks."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from poddispatchd import __version__
from poddispatchd.config.units import format_duration
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.availability import WindowNow
from poddispatchd.domain.manager_diagnosis import manager_findings
from poddispatchd.domain.pending_reasons import nobody_takes_tasks, why_task, why_type
from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.situation import Backlog, Finding, Reason, Scheduling, Severity, Situation
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, StaleTasks, TaskPk, TaskStatus, TaskType
from poddispatchd.maintenance.stalled_queue import stalled_words
from poddispatchd.managers.sites import SiteChooser
from poddispatchd.managers.state import ManagerReport
from poddispatchd.parts import Parts
from poddispatchd.pod.queue_order import QueueStats
from poddispatchd.runtime.queues import set_aside_words
from poddispatchd.tasks.pending_facts import chosen_sites, waiting_task
from poddispatchd.web.expectation import ExpectedState, expected_state
from poddispatchd.web.failures import FailureState, failure_states
from poddispatchd.web.figures import Figures

_SHOWN = 5
"""Tasks named in one sentence."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Tasks of one type.

    ``oldest_pending`` is an ISO 8601 time, and ``why`` says why they wait; both None when none waits.
    ``window``: when tasks of this type are submitted, None: always.
    """

    type: TaskType
    counts: dict[TaskStatus, int]
    oldest_pending: str | None
    why: Finding | None = None
    window: WindowNow | None = None


@dataclass(frozen=True, slots=True)
class WaitingState:
    """A pending task, and why it waits."""

    task: TaskPk
    type: str
    rank: int | None
    why: Finding


@dataclass(frozen=True, slots=True)
class DaemonState:
    """Everything a sysadmin wants to know first.

    ``problems`` are sentences on what a person must do something about, ``notices`` on what is worth
    knowing; none of either when all is well. ``not_ready`` says why the daemon cannot do its work at all;
    ``database_writable`` is False while the database refuses what the daemon has to write.
    ``as_of`` is when the tasks were counted, ``scheduler`` the instance that schedules if it is another one,
    ``running_on`` the running tasks of each runner manager, ``waiting`` why the first tasks of the queue
    wait, ``expected`` when they and the running ones will be done, ``failures`` what failed in the last
    day, by reason.
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
    as_of: str | None = None
    scheduler: str | None = None
    running_on: dict[ManagerId, int] = field(default_factory=dict)
    waiting: tuple[WaitingState, ...] = ()
    time_zone: str = "UTC"
    expected: ExpectedState | None = None
    failures: tuple[FailureState, ...] = ()

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


def state_of(
    parts: Parts,
    *,
    queue_stats: QueueStats | None,
    submissions: int,
    imports: int,
    stale: StaleTasks = StaleTasks(),  # noqa: B008 - it is frozen
    stalled_types: Collection[TaskType] = (),
    shadow: ShadowState | None = None,
    blind: Collection[str] = (),
    told: Collection[str] = (),
    figures: Figures | None = None,
) -> DaemonState:
    """The state of a daemon now.

    Args:
        parts: the daemon's.
        queue_stats: the last look at the queue, None before the first one.
        submissions: those in progress.
        imports: those in progress.
        stale: the tasks that run for too long.
        stalled_types: the types of which tasks wait for too long while none runs.
        shadow: what a shadow has found out.
        blind: the runner managers that do not tell a shadow which runners they have.
        told: what else is wrong, as sentences.
        figures: what was read for somebody who looks.
    """
    managers = tuple(parts.registry.reports())
    situation = situation_of(parts, managers, figures)
    choose, windows = parts.sites.chooser(), parts.registry.availability.task_types
    queue = tuple(
        state
        for state in (
            replace(
                _queue_state(kind, queue_stats, situation, choose),
                window=WindowNow.of(windows.get(kind), situation.now),
            )
            for kind in TaskType
        )
        if state.type in SUBMITTABLE or any(state.counts.values())
    )
    problems = list(told)
    not_ready = [] if situation.database_problem is None else [situation.database_problem]
    if situation.database_problem is not None:
        problems.append(situation.database_problem)
    elif not (parts.session.listening or parts.session.pooling is Pooling.TRANSACTION or shadow is not None):
        problems.append("Notifications of the database do not arrive; the queue is polled.")
    failing = [incident.words for incident in parts.incidents.active]
    if not parts.incidents.can_write:
        not_ready += failing
    problems += [
        *filter(None, (parts.session.lease_problem, parts.catalogue.problem)),
        *failing,
        *parts.locked_rows.problems,
    ]
    if parts.evidence.problem is not None:
        problems.append(parts.evidence.problem)
    problems += parts.evidence.place_problems
    nobody = nobody_takes_tasks(situation)
    found = manager_findings(situation) if nobody is None else [nobody]
    problems += [finding.sentence for finding in found if finding.severity is Severity.PROBLEM]
    notices = [finding.sentence for finding in found if finding.severity is Severity.NOTICE]
    if parts.storage.problem is not None:
        problems.append(f"Results wait: {parts.storage.problem}")
    if (words := set_aside_words(parts.set_aside)) is not None:
        problems.append(words)
    if stale.tasks:
        problems.append(stale_words(stale, after=parts.settings.reconcile.stale_after))
    if stalled_types:
        problems.append(stalled_words(stalled_types, after=parts.settings.reconcile.stale_after))
    for words, severity in _queue_words(
        queue, excluding=_SAID_ALREADY if nobody else (), stalled=stalled_types
    ):
        (problems if severity is Severity.PROBLEM else notices).append(words)
    problems += [
        f"Runner manager {name} does not tell which runners it has: nothing is expected of it."
        for name in blind
    ]
    scheduling = None if shadow is not None else parts.session.term
    waiting = _waiting(parts, situation, figures)
    return DaemonState(
        version=__version__,
        instance=parts.instance,
        leader=scheduling is not None,
        term=scheduling,
        database_up=parts.session.is_up,
        database_writable=parts.incidents.can_write,
        pooling=parts.session.pooling,
        listening=parts.session.listening,
        submissions_in_progress=submissions,
        imports_in_progress=imports,
        queue=tuple(with_own_reason(entry, waiting) for entry in queue),
        managers=managers,
        problems=tuple(problems),
        shadow=shadow,
        notices=tuple(notices),
        not_ready=tuple(not_ready),
        as_of=None if queue_stats is None or queue_stats.as_of is None else queue_stats.as_of.isoformat(),
        scheduler=situation.scheduler,
        running_on={} if queue_stats is None else dict(queue_stats.running_on),
        waiting=waiting,
        time_zone=parts.settings.pod.time_zone,
        expected=_expected(parts, figures),
        failures=failure_states(None if figures is None else figures.overview),
    )


def situation_of(parts: Parts, managers: Iterable[ManagerReport], figures: Figures | None) -> Situation:
    """What surrounds the queue, as this daemon knows it."""
    now = parts.clock.now_in(parts.settings.pod.time_zone)
    scheduler = None if figures is None else figures.scheduler
    if not parts.has_journal:
        scheduling = Scheduling.SHADOW
    elif parts.session.term is not None:
        scheduling = Scheduling.HERE
    else:
        is_held = scheduler is not None and scheduler.is_held
        scheduling = Scheduling.ANOTHER if is_held else Scheduling.UNKNOWN
    return Situation(
        now=now,
        managers=tuple(manager.view(now) for manager in managers),
        sites={pk: site.domain for pk, site in parts.sites.known.items()},
        served=parts.sites.served,
        scheduling=scheduling,
        scheduler=scheduler.instance if scheduler is not None and scheduling is Scheduling.ANOTHER else None,
        database_problem=None
        if parts.session.is_up
        else parts.session.problem or "The database does not answer.",
        write_problem=None
        if parts.incidents.can_write
        else " ".join(incident.words for incident in parts.incidents.active),
        media_problem=parts.evidence.nothing_can_be_submitted,
        stalled_after=parts.settings.reconcile.stale_after,
        opened_at=parts.registry.availability.opened_at(now),
    )


_SAID_ALREADY = (
    Reason.NO_MANAGER,
    Reason.NO_MANAGER_FOR_SITE,
    Reason.MANAGERS_INACTIVE,
    Reason.MANAGERS_PAUSED,
    Reason.MANAGERS_DOWN,
    Reason.MANAGERS_MISCONFIGURED,
)
"""Why tasks of a type wait when no manager can be given any task."""


_TOLD_ANYWAY = (Reason.DATABASE_AWAY, Reason.DATABASE_REFUSES, Reason.MEDIA_NOT_USABLE)
"""What is a problem of its own, whether tasks wait or not."""


def _queue_words(
    queue: Iterable[QueueState], *, excluding: Collection[Reason], stalled: Collection[TaskType]
) -> Iterator[tuple[str, Severity]]:
    """A sentence for each reason that keeps tasks for long, with the types that it keeps."""
    by_finding: dict[tuple[str, Severity], list[TaskType]] = {}
    for entry in queue:
        why = entry.why
        if why is None or why.severity is Severity.NORMAL or why.reason in (*excluding, *_TOLD_ANYWAY):
            continue
        if entry.type not in stalled:
            by_finding.setdefault((why.sentence, why.severity), []).append(entry.type)
    for (sentence, severity), types in by_finding.items():
        yield f"Pending tasks of type {' and '.join(types)}: {sentence}", severity


def _expected(parts: Parts, figures: Figures | None) -> ExpectedState | None:
    if figures is None:
        return None
    overview = figures.overview
    shown: set[TaskPk] = set()
    if overview is not None:
        shown = {row.pk for row in overview.waiting} | {row.pk for row in overview.running}
    return expected_state(figures.expected.forecast, shown, parts.clock.now())


def _waiting(parts: Parts, situation: Situation, figures: Figures | None) -> tuple[WaitingState, ...]:
    if figures is None or figures.overview is None:
        return ()
    choose = parts.sites.chooser()
    told = []
    for row in figures.overview.waiting:
        task = waiting_task(
            row,
            choose=choose,
            sites=parts.sites.known,
            own_tasks=figures.overview.own_tasks,
            grace=parts.settings.dispatch.grace,
        )
        if task is not None:
            told.append(WaitingState(task.pk, row.type, row.rank, why_task(task, situation)))
    return tuple(told)


def with_own_reason(entry: QueueState, waiting: Iterable[WaitingState]) -> QueueState:
    """A type whose tasks all wait for reasons of their own, which say more than that a runner is free."""
    if entry.why is None or entry.why.reason is not Reason.NEXT:
        return entry
    own = [task for task in waiting if task.type == entry.type]
    if len(own) < entry.counts[TaskStatus.PENDING] or any(task.why.reason is Reason.NEXT for task in own):
        return entry
    first = own[0]
    more = f" {len(own) - 1} more wait for reasons of their own." if len(own) > 1 else ""
    words = f"Task {first.task}: {first.why.words}{more}"
    return replace(entry, why=Finding(first.why.reason, first.why.severity, words, first.why.remedy))


def _queue_state(
    kind: TaskType, queue_stats: QueueStats | None, situation: Situation, choose: SiteChooser
) -> QueueState:
    if queue_stats is None:
        return QueueState(kind, dict.fromkeys(TaskStatus, 0), None)
    counts = {status: queue_stats.count(kind, status) for status in TaskStatus}
    oldest = queue_stats.oldest_pending.get(kind)
    backlog = Backlog(
        type=kind,
        pending=counts[TaskStatus.PENDING],
        running=counts[TaskStatus.RUNNING],
        oldest=oldest,
        # Sites are read less often than tasks are counted: of a type that came since nothing is known yet.
        sites=None
        if queue_stats.sites is None or kind not in queue_stats.sites
        else chosen_sites(queue_stats.sites[kind], choose),
    )
    return QueueState(
        kind, counts, None if oldest is None else oldest.isoformat(), why_type(backlog, situation)
    )

"""The state of a daemon, put together from what its jobs and its surroundings tell."""

from collections.abc import Callable, Collection, Iterable, Iterator

from msgspec.structs import replace

from poddispatchd.build import FULL_VERSION
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.domain.availability import WindowNow
from poddispatchd.domain.manager_diagnosis import manager_findings
from poddispatchd.domain.pending_reasons import nobody_takes_tasks, why_task, why_type
from poddispatchd.domain.situation import (
    NOTHING_IS_SUBMITTED,
    Backlog,
    Reason,
    Scheduling,
    Severity,
    Situation,
)
from poddispatchd.domain.task import SUBMITTABLE, TaskPk, TaskStatus, TaskType
from poddispatchd.maintenance.stalled_queue import stalled_words
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.managers.rows import PodSites, SiteChooser
from poddispatchd.managers.state import ManagerReport
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.jobs import Progress
from poddispatchd.runtime.queue_tables import late_words, set_aside_words
from poddispatchd.tasks.pending_facts import SubmissionRules, chosen_sites, waiting_task
from poddispatchd.web.campaigns import campaign_reports
from poddispatchd.web.expected_state import ExpectedState, expected_state
from poddispatchd.web.failures import failure_states
from poddispatchd.web.figures import Figures
from poddispatchd.web.health import DaemonHealth
from poddispatchd.web.state import DaemonState, QueueState, WaitingState, stale_words, with_own_reason

_SAID_ALREADY = (
    Reason.NO_MANAGER,
    Reason.NO_MANAGER_FOR_SITE,
    Reason.MANAGERS_INACTIVE,
    Reason.MANAGERS_PAUSED,
    Reason.MANAGERS_DOWN,
    Reason.MANAGERS_MISCONFIGURED,
)
"""Why tasks of a type wait when no manager can be given any task."""


class DaemonStatus:
    """Tells the state of a daemon.

    Args:
        health: what keeps it from its work.
        session: whether it schedules.
        registry: the runner managers.
        sites: Pod's.
        settings: the current ones.
        instance: its name.
        clock: of the daemon.
        figures: what was read for whoever looks; None: nothing.
        has_journal: whether there is a journal; a shadow has none.
    """

    def __init__(
        self,
        *,
        health: DaemonHealth,
        session: DatabaseSession,
        registry: ManagerRegistry,
        sites: PodSites,
        settings: Callable[[], Settings],
        instance: str,
        clock: Clock,
        figures: Figures | None = None,
        has_journal: bool = True,
    ) -> None:
        self._health = health
        self._session = session
        self._registry = registry
        self._sites = sites
        self._settings = settings
        self._instance = instance
        self._clock = clock
        self._figures = figures
        self._has_journal = has_journal

    def state(self, progress: Progress, *, told: Collection[str] = ()) -> DaemonState:
        """The state now.

        Args:
            progress: what the jobs tell.
            told: what else is wrong, as sentences.
        """
        stats, is_shadow = progress.queue_stats, progress.shadow is not None
        overview = None if self._figures is None else self._figures.overview
        campaigns = campaign_reports(() if overview is None else overview.campaigns)
        managers = tuple(self._registry.reports())
        situation = self._situation(managers)
        queue = self._queue(stats, situation)
        nobody = nobody_takes_tasks(situation)
        found = manager_findings(situation) if nobody is None else [nobody]
        problems = [
            *told,
            *self._health.problems(is_shadow=is_shadow),
            *(finding.sentence for finding in found if finding.severity is Severity.PROBLEM),
            *self._waiting_work(progress),
            *(f"Campaign {each.name} is paused. {each.reason}" for each in campaigns if each.reason),
        ]
        notices = [finding.sentence for finding in found if finding.severity is Severity.NOTICE]
        notices += filter(None, [None if stats is None else stats.odd_words])
        notices += late_words(progress.late)
        waiting = self._waiting(situation)
        queue = tuple(with_own_reason(entry, waiting) for entry in queue)
        excluding = _SAID_ALREADY if nobody else ()
        for words, severity in _queue_words(queue, excluding=excluding, stalled=progress.stalled_types):
            (problems if severity is Severity.PROBLEM else notices).append(words)
        problems += [
            f"Runner manager {name} does not tell which runners it has: nothing is expected of it."
            for name in progress.blind
        ]
        scheduling = None if is_shadow else self._session.term
        return DaemonState(
            version=FULL_VERSION,
            instance=self._instance,
            leader=scheduling is not None,
            term=scheduling,
            database_up=self._session.is_up,
            database_writable=self._health.can_write,
            pooling=self._session.pooling,
            listening=self._session.listening,
            submissions_in_progress=progress.submissions,
            imports_in_progress=progress.imports,
            queue=queue,
            managers=managers,
            problems=tuple(problems),
            shadow=progress.shadow,
            notices=tuple(notices),
            not_ready=self._health.not_ready,
            dispatch_problems=situation.dispatch_problems,
            as_of=None if stats is None or stats.as_of is None else stats.as_of.isoformat(),
            scheduler=situation.scheduler,
            running_on={} if stats is None else dict(stats.running_on),
            waiting=waiting,
            time_zone=self._settings().pod.time_zone,
            expected=self._expected(),
            failures=failure_states(overview),
            campaigns=campaigns,
        )

    def _queue(self, stats: QueueStats | None, situation: Situation) -> tuple[QueueState, ...]:
        """How the queue stands, by type; of types that nobody submits only those of which there are tasks."""
        choose, windows = self._sites.chooser(), self._registry.availability.task_types
        states = (
            replace(
                _queue_state(kind, stats, situation, choose),
                window=WindowNow.of(windows.get(kind), situation.now),
            )
            for kind in TaskType
        )
        return tuple(state for state in states if state.type in SUBMITTABLE or any(state.counts.values()))

    def _waiting_work(self, progress: Progress) -> Iterator[str]:
        """Sentences about what waits for a person, or for too long."""
        after = self._settings().reconcile.stale_after
        yield from (f"Results wait: {words}" for words in self._health.import_problems)
        if (words := set_aside_words(progress.set_aside)) is not None:
            yield words
        if progress.stale.tasks:
            yield stale_words(progress.stale, after=after)
        if progress.stalled_types:
            yield stalled_words(progress.stalled_types, after=after)

    def _situation(self, managers: Iterable[ManagerReport]) -> Situation:
        """What surrounds the queue, as this daemon knows it."""
        settings, health = self._settings(), self._health
        now = self._clock.now_in(settings.pod.time_zone)
        scheduler = None if self._figures is None else self._figures.scheduler
        if not self._has_journal:
            scheduling = Scheduling.SHADOW
        elif self._session.term is not None:
            scheduling = Scheduling.HERE
        else:
            is_held = scheduler is not None and scheduler.is_held
            scheduling = Scheduling.ANOTHER if is_held else Scheduling.UNKNOWN
        is_another = scheduler is not None and scheduling is Scheduling.ANOTHER
        return Situation(
            now=now,
            managers=tuple(manager.view(now) for manager in managers),
            sites={pk: site.domain for pk, site in self._sites.known.items()},
            served=self._sites.served,
            scheduling=scheduling,
            scheduler=scheduler.instance if scheduler is not None and is_another else None,
            database_problem=health.database_problem,
            write_problem=health.write_problem,
            media_problem=health.submission_problem,
            source_problems=health.source_problems,
            dispatch_problems=health.dispatch_problems,
            stalled_after=settings.reconcile.stale_after,
            opened_at=self._registry.availability.opened_at(now),
        )

    def _expected(self) -> ExpectedState | None:
        if self._figures is None:
            return None
        overview = self._figures.overview
        shown: set[TaskPk] = set()
        if overview is not None:
            shown = {row.pk for row in overview.waiting} | {row.pk for row in overview.running}
        return expected_state(self._figures.forecast, shown, self._clock.now())

    def _waiting(self, situation: Situation) -> tuple[WaitingState, ...]:
        if self._figures is None or self._figures.overview is None:
            return ()
        overview, choose = self._figures.overview, self._sites.chooser()
        rules = SubmissionRules.of(self._settings())
        told = []
        for row in overview.waiting:
            task = waiting_task(
                row,
                choose=choose,
                sites=self._sites.known,
                own_tasks=overview.own_tasks,
                rules=rules,
            )
            if task is not None:
                told.append(WaitingState(task.pk, row.type, row.rank, why_task(task, situation)))
        return tuple(told)


def _queue_words(
    queue: Iterable[QueueState], *, excluding: Collection[Reason], stalled: Collection[TaskType]
) -> Iterator[tuple[str, Severity]]:
    """A sentence for each reason that keeps tasks for long, with the types that it keeps."""
    by_finding: dict[tuple[str, Severity], list[TaskType]] = {}
    for entry in queue:
        why = entry.why
        if (
            why is None
            or why.severity is Severity.NORMAL
            or why.reason in (*excluding, *NOTHING_IS_SUBMITTED)
        ):
            continue
        if entry.type not in stalled:
            by_finding.setdefault((why.sentence, why.severity), []).append(entry.type)
    for (sentence, severity), types in by_finding.items():
        yield f"Pending tasks of type {' and '.join(types)}: {sentence}", severity


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

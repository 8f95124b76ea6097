"""The state of a daemon at a glance: for the status page, the CLI and the health checks."""

from collections.abc import Collection
from dataclasses import dataclass

from poddispatchd import __version__
from poddispatchd.config.units import format_duration
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.shadow import ShadowState
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.maintenance.stalled_queue import stalled_words
from poddispatchd.managers.state import ManagerReport
from poddispatchd.parts import Parts
from poddispatchd.pod.queue import QueueStats

_SHOWN = 5
"""Tasks named in one sentence."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Tasks of one type; ``oldest_pending`` is an ISO 8601 time, or None when none waits."""

    type: TaskType
    counts: dict[TaskStatus, int]
    oldest_pending: str | None


@dataclass(frozen=True, slots=True)
class DaemonState:
    """Everything a sysadmin wants to know first; ``problems`` are sentences, none when all is well.

    To poll because of a pooler is no problem: it was chosen with the pooler.
    """

    version: str
    instance: str
    leader: bool
    term: int | None
    database_up: bool
    pooling: Pooling
    listening: bool
    submissions_in_progress: int
    imports_in_progress: int
    queue: tuple[QueueState, ...]
    managers: tuple[ManagerReport, ...]
    problems: tuple[str, ...]
    shadow: ShadowState | None = None

    @property
    def role(self) -> str:
        """What this daemon is to the queue, in a few words."""
        if self.shadow is not None:
            return "shadow: writes and sends nothing"
        return "scheduling" if self.leader else "standing by"

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


def stale_words(stale: Collection[TaskPk], *, after: float) -> str:
    """A sentence about tasks that run for longer than ``after`` seconds (``reconcile.stale_after``)."""
    subject = "Tasks" if len(stale) > 1 else "Task"
    verb = "have" if len(stale) > 1 else "has"
    shown = ", ".join(str(pk) for pk in list(stale)[:_SHOWN])
    more = f" and {len(stale) - _SHOWN} more" if len(stale) > _SHOWN else ""
    return (
        f"{subject} {shown}{more} {verb} been running for more than {format_duration(after)}: "
        "see 'poddispatchd tasks show', and ask the runner manager."
    )


def state_of(
    parts: Parts,
    *,
    queue_stats: QueueStats | None,
    submissions: int,
    imports: int,
    stale: Collection[TaskPk] = (),
    stalled_types: Collection[TaskType] = (),
    shadow: ShadowState | None = None,
    blind: Collection[str] = (),
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
    """
    managers = tuple(parts.registry.reports())
    problems = []
    if not parts.session.is_up:
        problems.append(parts.session.problem or "The database does not answer.")
    elif not (parts.session.listening or parts.session.pooling is Pooling.TRANSACTION or parts.is_shadow):
        problems.append("Notifications of the database do not arrive; the queue is polled.")
    if not any(manager.is_active and not manager.paused for manager in managers):
        problems.append("There is no active runner manager: add one in Pod's administration.")
    problems += [
        f"Runner manager {manager.name} is {manager.state.value.replace('_', ' ')}: {manager.error}"
        for manager in managers
        if manager.error is not None and manager.is_active
    ]
    if parts.storage.problem is not None:
        problems.append(f"Results wait: {parts.storage.problem}")
    if stale:
        problems.append(stale_words(stale, after=parts.settings.reconcile.stale_after))
    if stalled_types:
        problems.append(stalled_words(stalled_types, after=parts.settings.reconcile.stale_after))
    problems += [
        f"Runner manager {name} does not tell which runners it has: nothing is expected of it."
        for name in blind
    ]
    scheduling = None if parts.is_shadow else parts.session.term
    return DaemonState(
        version=__version__,
        instance=parts.instance,
        leader=scheduling is not None,
        term=scheduling,
        database_up=parts.session.is_up,
        pooling=parts.session.pooling,
        listening=parts.session.listening,
        submissions_in_progress=submissions,
        imports_in_progress=imports,
        queue=tuple(_queue_state(kind, queue_stats) for kind in TaskType),
        managers=managers,
        problems=tuple(problems),
        shadow=shadow,
    )


def _queue_state(kind: TaskType, queue_stats: QueueStats | None) -> QueueState:
    counts = {status: 0 if queue_stats is None else queue_stats.count(kind, status) for status in TaskStatus}
    oldest = None if queue_stats is None else queue_stats.oldest_pending.get(kind)
    return QueueState(kind, counts, None if oldest is None else oldest.isoformat())

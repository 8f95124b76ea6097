"""Every task that ends is told, counted and kept, whoever ended it: a callback, Pod's CRON, a person.

Tasks end in many places: with a duplicate that ran for them, in Pod's administration, by hand in the
database. The rows themselves are compared from look to look: none is missed. Only the scheduler tells.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import structlog
from prometheus_client import Histogram

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.journal import ends, scheduling
from poddispatchd.journal.ends import Course
from poddispatchd.journal.history import HistoryEntry
from poddispatchd.maintenance.history import History
from poddispatchd.maintenance.known_rows import KnownRows
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import open_tasks
from poddispatchd.pod.open_tasks import SeenTask
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runtime.database_session import DatabaseSession

log = structlog.get_logger(__name__)

_RUNNING = frozenset({"running", "warning"})
_ENDED = frozenset({"completed", "failed", "timeout"})
_COMPARE_EVERY = 60.0
"""Seconds after which all open tasks are read again if the counts say that some were missed."""

_MOST_UNRECORDED = 10_000
"""Ends that wait to be kept: somebody may hold the history for days."""

_Begun: TypeAlias = datetime | None


class TaskEndWatch:
    """Remembers which tasks wait and run, and tells what became of them.

    Args:
        database: Pod's.
        session: whose term it is.
        registry: names the managers.
        history: keeps what tasks took.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        session: DatabaseSession,
        registry: ManagerRegistry,
        history: History,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._session = session
        self._registry = registry
        self._history = history
        self._metrics = metrics
        self._clock = clock
        self._known: KnownRows | None = None
        self._pending: set[TaskPk] = set()
        self._running: dict[TaskPk, _Begun] = {}
        self._compare_at = float("-inf")
        self._unrecorded: list[HistoryEntry] = []
        self._seen_at: datetime
        """When tasks were last seen to have moved, by the database's clock: ours may be years off."""

    async def look(self, stats: QueueStats) -> None:
        """See what has changed since the last look; the first one takes note, and tells what nobody told.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
            RowLockedError: another session holds what is to be written.
        """
        if self._session.term is None:
            # Whoever schedules tells; a term that begins anew takes note first.
            self._known = None
            return
        if (known := self._known) is None:
            await self._take_note()
            return
        moved = await open_tasks.moved_tasks(
            self._database,
            above=known.after,
            seen=known.seen,
            pending=self._pending,
            running=self._running,
        )
        courses = await self._courses(moved)
        # A look may be cut off: nothing is awaited between what is taken over of it.
        exact = self._exact_ends(moved, courses)
        for task in moved:
            self._follow(task, task.seen_at, exact.get(task.pk, task.seen_at))
        known.saw(*(task.pk for task in moved))
        # First: the history can be held for days, and a restarted task must not end unseen meanwhile.
        await self._compare(stats)
        await self._keep()

    async def _courses(self, moved: Sequence[SeenTask]) -> Mapping[TaskPk, Course]:
        """What the journal knows of the runs of those that have ended."""
        over = [task.pk for task in moved if task.status in _ENDED]
        if not over:
            return {}
        async with self._database.connection() as connection:
            return await ends.courses(connection, over)

    def _exact_ends(
        self, moved: Sequence[SeenTask], courses: Mapping[TaskPk, Course]
    ) -> Mapping[TaskPk, datetime]:
        """When tasks ended, and began, more exactly than by looks; as far as the journal knows.

        Looks are seconds apart. What Pod submitted itself is seen by looks only.
        """
        over = {task.pk: task for task in moved}
        found = {}
        for pk, course in courses.items():
            since = over[pk].date_added
            if course.begun is not None and course.begun >= since:
                if pk not in self._running:
                    waited = (course.begun - since).total_seconds()
                    self._observe(self._metrics.wait, over[pk], waited)
                self._running[pk] = course.begun
            # Whatever was before the task was restarted tells nothing.
            if course.ended is not None and course.ended >= (self._running.get(pk) or since):
                found[pk] = course.ended
        return found

    async def _keep(self) -> None:
        """Keep those that have ended; what cannot be written now is written with the next ones.

        Raises:
            DatabaseError: it cannot.
        """
        if self._unrecorded:
            del self._unrecorded[:-_MOST_UNRECORDED]
            await self._history.record(self._unrecorded, self._seen_at)
            self._unrecorded = []

    async def _take_note(self) -> None:
        database = self._database
        await self._history.fill()
        # Before the open ones are read: what is added in between is seen as new by the next look.
        newest = await open_tasks.newest_task(database)
        pending, running = await open_tasks.pending_and_running(database)
        async with database.connection() as connection:
            begun = await ends.begun(connection, running)
            # By the database, as the moments that are compared with it.
            since = (await scheduling.leader(connection)).since
        ours = {pk: at for pk, at in begun.items() if since is not None and at >= since}
        # They began between the first moment of this term and this look: nothing else sees their wait.
        unseen = await open_tasks.moved_tasks(database, above=newest, pending=list(ours), running=())
        async with database.connection() as connection:
            untold = await ends.untold(connection)
        missed = await self._missed(newest, untold)
        courses = await self._courses(missed)
        # Should anything before fail, or be cut off, note is taken anew: nothing is awaited from here on.
        self._known = KnownRows(newest, self._clock)
        self._pending, self._running = pending, {pk: begun.get(pk) for pk in running}
        for task in unseen:
            if task.pk in ours:
                self._observe(self._metrics.wait, task, (ours[task.pk] - task.date_added).total_seconds())
        exact = self._exact_ends(missed, courses)
        for task in missed:
            self._follow(task, untold[task.pk], exact.get(task.pk, untold[task.pk]))
        await self._keep()

    async def _missed(self, newest: TaskPk, untold: Mapping[TaskPk, datetime]) -> list[SeenTask]:
        """What ended while nobody scheduled, or before the last scheduler saw it: the journal knows."""
        if not untold:
            return []
        found = await open_tasks.moved_tasks(self._database, above=newest, pending=(), running=list(untold))
        return [task for task in found if task.pk in untold and task.status in _ENDED]

    def _follow(self, task: SeenTask, now: datetime, ended_at: datetime) -> None:
        self._seen_at = task.seen_at
        if task.status == TaskStatus.PENDING:
            self._running.pop(task.pk, None)
            self._pending.add(task.pk)
            return
        if task.pk not in self._running and task.status in _RUNNING | {TaskStatus.COMPLETED}:
            self._observe(self._metrics.wait, task, (now - task.date_added).total_seconds())
        self._pending.discard(task.pk)
        if task.status in _RUNNING:
            self._running.setdefault(task.pk, now)
            return
        self._tell(task, self._running.pop(task.pk, None), ended_at)

    def _tell(self, task: SeenTask, begun: _Begun, at: datetime) -> None:
        if task.status not in _ENDED:
            return
        metrics = self._metrics
        metrics.ended.labels(task.type, task.status).inc()
        ran = None if begun is None else (at - begun).total_seconds()
        if ran is not None:
            self._observe(metrics.run, task, ran)
        manager = self._registry.get(task.runner_manager_id) if task.runner_manager_id else None
        waited = None if begun is None else (begun - task.date_added).total_seconds()
        self._unrecorded.append(
            HistoryEntry(
                task.pk,
                task.type,
                task.status,
                task.runner_manager_id,
                waited=None if waited is None else max(0.0, waited),
                ran=None if ran is None else max(0.0, ran),
                at=at,
            )
        )
        log.info(
            Event.TASK_ENDED,
            task=task.pk,
            type=task.type,
            status=task.status,
            runner_manager=None if manager is None else manager.name,
            ran_seconds=None if ran is None else round(ran),
        )

    @staticmethod
    def _observe(histogram: Histogram, task: SeenTask, seconds: float) -> None:
        histogram.labels(task.type).observe(max(0.0, seconds))

    async def _compare(self, stats: QueueStats) -> None:
        """Read all open tasks again when the counts differ: a restarted task has an old id, others vanish."""
        known = (len(self._pending), len(self._running))
        counted = tuple(
            sum(count for (_, status), count in stats.counts.items() if status in wanted)
            for wanted in (frozenset({"pending"}), _RUNNING)
        )
        now = self._clock.monotonic()
        if known == counted or now < self._compare_at:
            return
        self._compare_at = now + _COMPARE_EVERY
        self._pending, running = await open_tasks.pending_and_running(self._database)
        self._running = {pk: self._running.get(pk) for pk in running}

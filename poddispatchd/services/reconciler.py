"""Running rows against what their runner manager says: nothing stays ``running`` for ever."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

import structlog

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.errors import DatabaseUnavailableError, RunnerManagerError, RunnerTaskUnknownError
from poddispatchd.events import Event
from poddispatchd.journal import submissions
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.runner.records import RunnerTask
from poddispatchd.services.parts import Parts
from poddispatchd.services.reports import Report, apply_report, fail_task, requeue_task, ring_for

log = structlog.get_logger(__name__)

_PAGE = 200
_FORGOTTEN_AFTER = 2
"""How often in a row a manager must deny knowing a task before it is taken for lost."""


@dataclass(slots=True)
class _Watch:
    """What is remembered of a running row. Times are of the monotonic clock."""

    task_id: str | None
    first_seen: float
    ask_at: float
    denials: int = 0
    is_stale: bool = False


class Reconciler:
    """Asks runner managers about running tasks: only the scheduler does, and first about all of them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watched: dict[TaskPk, _Watch] = {}
        self._term: int | None = None

    async def step(self) -> float:
        """Ask about the tasks whose turn it is; seconds until the next look."""
        parts = self._parts
        interval = parts.settings.reconcile.interval
        term = parts.session.term
        if term is None:
            self._term = None
            return interval
        is_first = term != self._term
        unsettled = await self._unsettled()
        due = self._due(unsettled, is_first=is_first)
        by_manager: dict[RunnerManager, list[UnsettledTask]] = defaultdict(list)
        for item in due:
            if item.manager is None or not item.task.task_id:
                await self._lost(item, "It runs nowhere: the row has no runner manager or no task id.")
            else:
                by_manager[item.manager].append(item)
        async with asyncio.TaskGroup() as group:
            for manager, items in by_manager.items():
                group.create_task(self._ask(manager, items))
        self._term = term
        self._report_stale(unsettled)
        return self._next_look(interval)

    def _next_look(self, interval: float) -> float:
        now = self._parts.clock.monotonic()
        soonest = min((watch.ask_at for watch in self._watched.values()), default=now + interval)
        return min(interval, max(soonest - now, 1.0))

    async def _unsettled(self) -> list[UnsettledTask]:
        found: list[UnsettledTask] = []
        async with self._parts.database.connection() as connection:
            while True:
                after = found[-1].task.pk if found else TaskPk(0)
                page = await tasks.unsettled_tasks(connection, after=after, limit=_PAGE)
                found.extend(page)
                if len(page) < _PAGE:
                    return found

    def _due(self, unsettled: list[UnsettledTask], *, is_first: bool) -> list[UnsettledTask]:
        """The tasks to ask about now. At the beginning of a term that is every one: callbacks may be lost."""
        now = self._parts.clock.monotonic()
        first_ask = now if is_first else now + self._parts.settings.reconcile.running_after
        watched: dict[TaskPk, _Watch] = {}
        for item in unsettled:
            watch = self._watched.get(item.task.pk)
            if watch is None or watch.task_id != item.task.task_id:
                watch = _Watch(item.task.task_id, now, first_ask)
            elif is_first:
                watch.ask_at = now
            watched[item.task.pk] = watch
        self._watched = watched
        return [item for item in unsettled if watched[item.task.pk].ask_at <= now]

    async def _ask(self, manager: RunnerManager, items: list[UnsettledTask]) -> None:
        """Ask one manager about its tasks, one by one; one that does not answer is left alone for now."""
        try:
            for item in items:
                await self._ask_about(manager, item)
        except DatabaseUnavailableError:
            self._parts.session.suspect()
        except RunnerManagerError as error:
            self._parts.fleet.learn(manager.id, error)

    async def _ask_about(self, manager: RunnerManager, item: UnsettledTask) -> None:
        parts, watch = self._parts, self._watched[item.task.pk]
        watch.ask_at = parts.clock.monotonic() + parts.settings.reconcile.interval
        assert item.task.task_id is not None  # noqa: S101 - the caller sorted those out
        try:
            record = await parts.client.status(manager, item.task.task_id)
        except RunnerTaskUnknownError as error:
            watch.denials += 1
            if watch.denials >= _FORGOTTEN_AFTER:
                await self._lost(item, str(error))
            return
        parts.fleet.learn(manager.id, None)
        watch.denials = 0
        await self._apply(item, record)

    async def _apply(self, item: UnsettledTask, record: RunnerTask) -> None:
        parts = self._parts
        if record.status is None:
            log.warning(
                Event.RECONCILE_ASKED, task=item.task.pk, status=record.raw_status, decision="unknown"
            )
            return
        async with parts.database.transaction() as connection:
            task = await tasks.get_task(connection, item.task.pk)
            if task is None or task.task_id != item.task.task_id:
                return
            is_final = record.status not in ("running", "pending")
            report = Report(
                record.status, record.error if is_final else None, record.script_output if is_final else None
            )
            decision = await apply_report(
                connection, task, report, max_attempts=parts.settings.reconcile.max_attempts
            )
        parts.metrics.reconciled.labels(decision.value).inc()
        if decision not in (Decision.WAIT, Decision.IGNORE):
            log.info(
                Event.RECONCILE_ASKED,
                task=item.task.pk,
                status=record.status.value,
                decision=decision.value,
            )
            if task.runner_manager_id is not None:
                parts.fleet.freed(task.runner_manager_id)
        ring_for(decision, parts.wakes)

    async def _lost(self, item: UnsettledTask, reason: str) -> None:
        """A task that nobody works on: back into the queue, or to its end (``reconcile.lost``)."""
        parts = self._parts
        async with parts.database.transaction() as connection:
            task = await tasks.get_task(connection, item.task.pk)
            if task is None or (task.status, task.task_id) != (item.task.status, item.task.task_id):
                return
            submitted = await submissions.attempts(connection, task.pk, task.date_added)
            may_requeue = max(submitted.since, 1) < parts.settings.reconcile.max_attempts
            if parts.settings.reconcile.lost == "requeue" and may_requeue:
                await requeue_task(connection, task, reason)
                outcome = "requeued"
            else:
                await fail_task(connection, task, reason)
                outcome = "failed"
        parts.metrics.reconciled.labels(outcome).inc()
        parts.wakes.dispatcher.ring()

    def _report_stale(self, unsettled: list[UnsettledTask]) -> None:
        """Tell once about each task that runs for too long."""
        now = self._parts.clock.monotonic()
        limit = self._parts.settings.reconcile.stale_after
        counts = dict.fromkeys(TaskType, 0)
        for item in unsettled:
            watch = self._watched[item.task.pk]
            if item.task.status != TaskStatus.RUNNING or now - watch.first_seen < limit:
                continue
            counts[item.task.type] += 1
            if not watch.is_stale:
                watch.is_stale = True
                log.error(
                    Event.TASK_STALE,
                    task=item.task.pk,
                    runner_manager=None if item.manager is None else item.manager.name,
                    task_id=item.task.task_id,
                )
        for kind, count in counts.items():
            self._parts.metrics.stale_tasks.labels(kind).set(count)

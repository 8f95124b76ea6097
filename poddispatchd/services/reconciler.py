"""Running rows against what their runner manager says: nothing stays ``running`` for ever."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace

import structlog

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.script_output import merge_output
from poddispatchd.domain.task import ManagerId, RunnerStatus, TaskPk, TaskType
from poddispatchd.errors import (
    DatabaseUnavailableError,
    RunnerManagerBusyError,
    RunnerManagerError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
)
from poddispatchd.events import Event
from poddispatchd.journal import imports, submissions
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.runner.records import RunnerTask
from poddispatchd.services.parts import Parts
from poddispatchd.services.reports import Report, apply_report, fail_task, requeue_task, ring_for
from poddispatchd.services.second_looks import SecondLooks
from poddispatchd.services.watching import Watches

log = structlog.get_logger(__name__)

SECOND_LOOK = 10.0
"""Seconds after which a task that was denied is asked about once more."""

_PAGE = 200
_PACE = 0.02
"""Seconds between two questions to one manager."""

_NONSENSE = 3
"""Unusable answers in a row after which a manager is left alone for now."""

_OF_THE_MANAGER = (RunnerManagerUnavailableError, RunnerManagerMisconfiguredError, RunnerManagerBusyError)
"""Trouble that questions about other tasks would meet as well."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """The runners that were online at a manager; None when it did not tell."""

    at: float
    online: frozenset[str] | None


class Reconciler:
    """Asks runner managers about running tasks: only the scheduler does, and first about all of them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watches = Watches()
        self._second_looks = SecondLooks(parts)
        self._term: int | None = None
        self._listings: dict[ManagerId, _Listing] = {}

    @property
    def in_doubt(self) -> bool:
        """Whether some task was denied once: only a second look tells whether it is lost."""
        return self._watches.in_doubt

    async def step(self) -> float:
        """Ask about the tasks whose turn it is; seconds until the next look."""
        parts = self._parts
        interval = parts.settings.reconcile.interval
        term = parts.session.term
        if term is None:
            self._term = None
            self._show_stale([], parts.clock.monotonic())
            return interval
        unsettled = await self._look(is_first=term != self._term)
        by_manager: dict[RunnerManager, list[UnsettledTask]] = defaultdict(list)
        for item in self._watches.due(unsettled, parts.clock.monotonic()):
            if item.manager is None or not item.task.task_id:
                await self._nowhere(item)
            else:
                by_manager[item.manager].append(item)
        async with asyncio.TaskGroup() as group:
            for manager, items in by_manager.items():
                group.create_task(self._ask(manager, items))
        await self._second_looks.look()
        self._term = term
        now = parts.clock.monotonic()
        self._show_stale(unsettled, now)
        turn = self._watches.next_turn()
        return interval if turn is None else min(interval, max(turn - now, 1.0))

    async def _look(self, *, is_first: bool) -> list[UnsettledTask]:
        """Every unsettled task, watched. Those whose result is being imported have answered already."""
        parts = self._parts
        found: list[UnsettledTask] = []
        async with parts.database.connection() as connection:
            while True:
                after = found[-1].task.pk if found else TaskPk(0)
                page = await tasks.unsettled_tasks(connection, after=after, limit=_PAGE)
                found.extend(page)
                if len(page) < _PAGE:
                    break
            importing = await imports.open_tasks(connection) if found else ()
            strangers = self._watches.strangers(found)
            ages = await submissions.ages(connection, strangers) if strangers else {}
        now, settings = parts.clock.monotonic(), parts.settings.reconcile
        self._watches.renew(found, ages, now=now, running_after=settings.running_after, ask_all=is_first)
        self._watches.postpone(importing, now + settings.interval)
        return found

    # --- questions ---------------------------------------------------------------------------------------

    async def _ask(self, manager: RunnerManager, items: list[UnsettledTask]) -> None:
        """Ask one manager about its tasks, one by one; one that does not answer is left alone for now."""
        parts, nonsense = self._parts, 0
        opening = parts.fleet.opening_of(manager.id)
        if opening > parts.clock.monotonic():
            self._watches.postpone((item.task.pk for item in items), opening)
            return
        for position, item in enumerate(items):
            if position:
                await parts.clock.sleep(_PACE)
            try:
                await self._ask_about(manager, item)
                nonsense = 0
            except DatabaseUnavailableError:
                parts.session.suspect()
                return
            except RunnerManagerError as error:
                nonsense += 1
                if isinstance(error, _OF_THE_MANAGER) or nonsense >= _NONSENSE:
                    parts.fleet.learn(manager.id, error)
                    until = parts.clock.monotonic() + parts.settings.reconcile.interval
                    self._watches.postpone((rest.task.pk for rest in items[position:]), until)
                    return
                log.warning(Event.RECONCILE_ASKED, task=item.task.pk, decision="unknown", reason=str(error))
            except Exception:  # one odd row must not keep the others from being asked about
                log.exception(Event.SERVICE_CRASHED, job="reconciler", task=item.task.pk)
        await self._look_for_runners(manager, items)

    async def _ask_about(self, manager: RunnerManager, item: UnsettledTask) -> None:
        parts, watch = self._parts, self._watches[item.task.pk]
        watch.ask_at = parts.clock.monotonic() + parts.settings.reconcile.interval
        assert item.task.task_id is not None  # noqa: S101 - the caller sorted those out
        try:
            record = await parts.client.status(manager, item.task.task_id)
        except RunnerTaskUnknownError as error:
            parts.fleet.learn(manager.id, None)
            await self._denied(item, str(error))
            return
        parts.fleet.learn(manager.id, None)
        watch.denials = 0
        watch.runner = record.runner_id if record.status is RunnerStatus.RUNNING else None
        if record.status is not None:
            await self._apply(item, record, record.status)
        elif watch.odd_status != record.raw_status:
            watch.odd_status = record.raw_status
            log.warning(
                Event.RECONCILE_ASKED, task=item.task.pk, status=record.raw_status, decision="unknown"
            )

    async def _apply(self, item: UnsettledTask, record: RunnerTask, status: RunnerStatus) -> None:
        parts, report = self._parts, Report(status)
        if status not in (RunnerStatus.RUNNING, RunnerStatus.PENDING):
            report = Report(status, record.error, record.script_output)
        async with parts.database.transaction() as connection:
            decision = await apply_report(
                connection, item.task, report, max_attempts=parts.settings.reconcile.max_attempts
            )
        parts.metrics.reconciled.labels(decision.value).inc()
        if decision not in (Decision.WAIT, Decision.IGNORE):
            log.info(Event.RECONCILE_ASKED, task=item.task.pk, status=status.value, decision=decision.value)
            if item.task.runner_manager_id is not None:
                parts.fleet.freed(item.task.runner_manager_id)
        ring_for(decision, parts.wakes)

    async def _look_for_runners(self, manager: RunnerManager, items: list[UnsettledTask]) -> None:
        """Find tasks that their manager calls running although their runner is gone."""
        parts, patience = self._parts, self._parts.settings.reconcile.running_after
        now = parts.clock.monotonic()
        suspects = [
            (item, watch)
            for item in items
            if (watch := self._watches[item.task.pk]).runner is not None and now - watch.since >= patience
        ]
        online = await self._online(manager, now - patience) if suspects else None
        if online is None:
            return
        for item, watch in suspects:
            if watch.is_gone(online, parts.clock.monotonic(), after=patience):
                await self._lost(
                    item,
                    f"Runner {watch.runner!r}, which worked on it, is not online at runner manager "
                    f"{manager.name!r} any more.",
                )

    async def _online(self, manager: RunnerManager, not_before: float) -> frozenset[str] | None:
        """The runners online at a manager, asked for rarely; None when it does not tell."""
        parts, listing = self._parts, self._listings.get(manager.id)
        if listing is None or listing.at <= not_before:
            listing = _Listing(parts.clock.monotonic(), None)
            try:
                listed = await parts.client.runners(manager)
            except RunnerManagerError as error:
                if isinstance(error, RunnerManagerUnavailableError):
                    parts.fleet.learn(manager.id, error)
            else:
                listing = replace(listing, online=frozenset(item.id for item in listed if item.online))
            self._listings[manager.id] = listing
        return listing.online

    # --- tasks that nobody works on ----------------------------------------------------------------------

    async def _nowhere(self, item: UnsettledTask) -> None:
        """The row names nobody to ask: a moment of Pod's, or for good."""
        self._watches[item.task.pk].ask_at = self._parts.clock.monotonic()
        await self._denied(item, "It runs nowhere: the row has no runner manager or no task id.")

    async def _denied(self, item: UnsettledTask, reason: str) -> None:
        watch = self._watches[item.task.pk]
        watch.ask_at = self._parts.clock.monotonic() + SECOND_LOOK
        if watch.denied():
            await self._lost(item, reason)

    async def _lost(self, item: UnsettledTask, reason: str) -> None:
        """A task that nobody works on: back into the queue, or to its end (``reconcile.lost``)."""
        parts = self._parts
        async with parts.database.transaction() as connection:
            task = await tasks.lock_task(connection, item.task.pk)
            if task is None or (task.status, task.task_id) != (item.task.status, item.task.task_id):
                return
            submitted = await submissions.attempts(connection, task.pk, task.date_added)
            may_requeue = max(submitted.since, 1) < parts.settings.reconcile.max_attempts
            if parts.settings.reconcile.lost == "requeue" and may_requeue:
                words = f"It was lost, so that it is submitted again: {reason}"
                await requeue_task(
                    connection, task, reason, output=merge_output(task.script_output, words, None)
                )
                outcome = "requeued"
            else:
                await fail_task(connection, task, reason)
                outcome = "failed"
        parts.metrics.reconciled.labels(outcome).inc()
        parts.wakes.dispatcher.ring()
        parts.wakes.janitor.ring()

    def _show_stale(self, unsettled: list[UnsettledTask], now: float) -> None:
        """Count the tasks that run for too long, and tell of each once."""
        parts = self._parts
        counts = dict.fromkeys(TaskType, 0)
        for item, is_news in self._watches.stale(unsettled, now, after=parts.settings.reconcile.stale_after):
            counts[item.task.type] += 1
            if is_news:
                log.error(
                    Event.TASK_STALE,
                    task=item.task.pk,
                    runner_manager=None if item.manager is None else item.manager.name,
                    task_id=item.task.task_id,
                )
        for kind, count in counts.items():
            parts.metrics.stale_tasks.labels(kind).set(count)

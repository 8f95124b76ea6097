"""Pending rows to runner managers, in Pod's order, the moment a runner can take one."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass

from poddispatchd.dispatch.acceptance import SubmissionResult
from poddispatchd.dispatch.candidates import Candidates, Waiting
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.domain.routing import assign, next_opening
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskStatus, TaskType
from poddispatchd.errors import DatabaseStateError, DatabaseUnavailableError, RowLockedError, SchemaError
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission
from poddispatchd.observability.metrics import SubmissionOutcome
from poddispatchd.parts import MANAGERS_FRESH_FOR, Parts
from poddispatchd.pod import tasks
from poddispatchd.pod.queue import PendingTask
from poddispatchd.runtime.supervision import cancel_surely

_SOON = 0.05
_QUIET_FRESH_FOR = 300.0
"""Seconds for which managers and own tasks are not read again while nothing happens: idling is cheap."""

_SUBMISSION = "submission"
"""What the failures of submissions are counted under."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A task, the site for which it is done and the manager that is asked."""

    item: PendingTask
    site: SiteId
    manager: ManagerId


class Dispatcher:
    """Keeps every runner manager busy. Only the scheduler (the daemon with a term) submits.

    ``budget`` limits the tasks of each type that are still submitted, as ``process_tasks --max-tasks`` does;
    None is no limit.
    """

    def __init__(self, parts: Parts, submitter: Submitter, *, budget: int | None = None) -> None:
        self._parts = parts
        self._submitter = submitter
        self._view = Candidates(parts)
        self._in_hand: dict[TaskPk, asyncio.Task[None]] = {}
        self._open: frozenset[TaskPk] = frozenset()
        self._failing: set[TaskPk] = set()
        """Tasks whose submission failed in a way nobody foresaw, and has not gone well since."""
        self._retry_at: dict[TaskPk, float] = {}
        """When a task whose submission failed may be tried again, by the monotonic clock."""
        self._unsettled = True
        self._was_busy = True
        self._rings = -1
        self._left = None if budget is None else dict.fromkeys(TaskType, budget)

    @property
    def in_hand(self) -> int:
        """Submissions in progress."""
        return len(self._in_hand)

    @property
    def budget(self) -> int | None:
        """How many tasks may still be submitted, all types together; None: any number."""
        return None if self._left is None else sum(self._left.values())

    async def step(self) -> float:
        """Settle what is open, then submit what can be submitted; seconds until the next look."""
        parts = self._parts
        if parts.session.term is None:
            self._unsettled = True
            # For the status page and the metrics, which name the managers.
            await parts.refresh_managers(within=_QUIET_FRESH_FOR)
            return parts.settings.dispatch.poll_interval
        is_quiet = self._is_quiet()
        await parts.refresh_managers(within=_QUIET_FRESH_FOR if is_quiet else MANAGERS_FRESH_FOR)
        if self._unsettled:
            await self._settle_open()
        waiting = await self._view.look(
            skip=frozenset(self._in_hand) | self._open | parts.locked_rows.tasks,
            types=[kind for kind in TaskType if self._left is None or self._left[kind] > 0],
            own_tasks_within=_QUIET_FRESH_FOR if is_quiet else 0.0,
        )
        if waiting:
            # A manager paused or deactivated while nothing happened gets no task.
            await parts.refresh_managers()
        # In the order of the queue; nothing is awaited between looking at the managers and taking them.
        self._place(waiting)
        self._was_busy = bool(waiting or self._in_hand)
        return self._next_look()

    def _is_quiet(self) -> bool:
        """Whether only the clock asks for this look, and the last one found nothing to do or to wait for."""
        parts = self._parts
        rings, self._rings = self._rings, parts.wakeups.dispatcher.rings
        is_full = next_opening(parts.registry.lanes(), parts.clock.monotonic()) is not None
        return rings == self._rings and not (self._was_busy or self._unsettled or is_full)

    async def drain(self) -> None:
        """Wait for the submissions in progress."""
        while self._in_hand:
            await asyncio.wait(self._in_hand.values())

    async def stop(self, seconds: float) -> None:
        """Give the submissions in progress some time; the intents of the others stay open (I3)."""
        if self._in_hand:
            _, late = await asyncio.wait(self._in_hand.values(), timeout=seconds)
            await cancel_surely(*late)

    def _next_look(self) -> float:
        now = self._parts.clock.monotonic()
        moments = [next_opening(self._parts.registry.lanes(), now), self._view.next_release(now)]
        moments += [moment for moment in self._retry_at.values() if moment > now]
        soonest = min((moment - now for moment in moments if moment is not None), default=float("inf"))
        return min(self._parts.settings.dispatch.poll_interval, max(soonest, _SOON))

    # --- intents whose answer is not known -------------------------------------------------------------

    async def _settle_open(self) -> None:
        """Post the bytes of open intents again; their tasks are offered to nobody else meanwhile.

        The manager answers the same bytes with the same id while the task is in flight (invariant I3).
        """
        parts = self._parts
        async with parts.database.connection() as connection:
            still_open = await submissions.open_submissions(connection)
            for pk in self._failing - {entry.task_pk for entry in still_open} - self._in_hand.keys():
                task = await tasks.get_task(connection, pk)
                if task is None or task.status != TaskStatus.PENDING:
                    # Its callback was quicker, or a person.
                    self._went_well(pk)
        unknown = {entry.task_pk: entry for entry in still_open if entry.task_pk not in self._in_hand}
        now, locked = parts.clock.monotonic(), parts.locked_rows.tasks
        self._retry_at = {pk: moment for pk, moment in self._retry_at.items() if moment > now}
        for pk, submission in list(unknown.items()):
            if pk in locked or pk in self._retry_at:
                continue
            manager = submission.runner_manager_id
            if parts.registry.get(manager) is None:
                await self._submitter.give_up(submission, "Its runner manager is gone from Pod.")
                del unknown[pk]
            elif parts.registry.is_free(manager):
                self._hand_out(pk, manager, self._repost(submission))
            elif parts.registry.is_down(manager) and self._submitter.is_hopeless(submission):
                await self._submitter.give_up(submission, "Its runner manager has been down for too long.")
                del unknown[pk]
        self._open = frozenset(unknown)
        self._unsettled = bool(unknown or self._failing)

    async def _repost(self, submission: Submission) -> None:
        await self._submitter.repost(submission)

    # --- pending tasks ----------------------------------------------------------------------------------

    def _place(self, waiting: list[Waiting]) -> None:
        now = self._parts.clock.monotonic()
        by_pk = {entry.item.task.pk: entry for entry in waiting}
        offers = [entry.offer for entry in waiting]
        for assignment in assign(offers, self._parts.registry.lanes(), now):
            entry = by_pk[assignment.task]
            kind = entry.item.task.type
            if self._left is not None:
                if self._left[kind] <= 0:
                    continue
                self._left[kind] -= 1
            place = _Place(entry.item, entry.site, assignment.manager)
            self._hand_out(assignment.task, assignment.manager, self._first_post(place))

    async def _first_post(self, place: _Place) -> None:
        task, parts = place.item.task, self._parts
        accepted = False
        try:
            result = await self._submitter.submit(task, parts.sites[place.site], place.manager)
            accepted = result.outcome is SubmissionOutcome.ACCEPTED
            await self._learn(place, result)
        finally:
            if self._left is not None and not accepted:
                self._left[task.type] += 1

    async def _learn(self, place: _Place, result: SubmissionResult) -> None:
        """Remember of a task what its submission has shown."""
        task, sight = place.item.task, self._view.sight(place.item)
        if result.outcome is SubmissionOutcome.LOST:
            self._unsettled = True
            self._open |= {task.pk}
        elif result.outcome is SubmissionOutcome.ACCEPTED:
            self._parts.metrics.dispatch_latency.observe(self._parts.clock.monotonic() - sight.since)
            self._view.forget(task.pk)
        elif result.is_final or result.outcome is SubmissionOutcome.ORPHANED:
            self._view.forget(task.pk)
        elif result.outcome is SubmissionOutcome.REFUSED:
            sight.refusals[place.manager] = result.reason
            # A payload that every manager refuses will never be accepted: the task fails, in words.
            able = {lane.manager for lane in self._parts.registry.lanes() if lane.site == place.site}
            if able <= sight.refusals.keys():
                self._view.forget(task.pk)
                await self._submitter.fail(task, " ".join(dict.fromkeys(sight.refusals.values())))
        elif result.hold > 0:
            self._unsettled = True
            self._view.hold(place.item, result.hold)

    def _hand_out(self, pk: TaskPk, manager: ManagerId, work: Coroutine[None, None, None]) -> None:
        """Let one submission run on its own; its manager gets no other one meanwhile."""
        parts = self._parts
        parts.registry.begin(manager)

        async def run() -> None:
            try:
                await work
                self._went_well(pk)
            except RowLockedError:
                self._unsettled = True
                parts.locked_rows.met(pk)
            except DatabaseUnavailableError as error:
                self._unsettled = True
                parts.session.suspect()
                if isinstance(error, DatabaseStateError):
                    self._leave_alone(pk, error)
            except Exception as error:  # noqa: BLE001 - one task's surprise must not stop the others, nor come back at once
                self._unsettled = True
                self._leave_alone(pk, error)
                if isinstance(error, SchemaError):
                    await parts.refresh_capabilities()
            finally:
                parts.registry.end(manager)
                self._in_hand.pop(pk, None)
                parts.wakeups.dispatcher.ring()

        self._in_hand[pk] = asyncio.create_task(run(), name=f"submission of task {pk}")

    def _leave_alone(self, pk: TaskPk, error: Exception) -> None:
        """Let a task whose submission failed wait, longer each time; its intent may be open."""
        self._failing.add(pk)
        delay = self._parts.incidents.met(_SUBMISSION, error, task=pk)
        self._retry_at[pk] = self._parts.clock.monotonic() + delay
        self._view.hold_pk(pk, delay)

    def _went_well(self, pk: TaskPk) -> None:
        self._failing.discard(pk)
        self._parts.incidents.over(_SUBMISSION, task=pk)

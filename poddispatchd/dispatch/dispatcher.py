"""Pending rows to runner managers, in Pod's order, the moment a runner can take one."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice

from poddispatchd.clock import Clock
from poddispatchd.config.model import DispatchSettings
from poddispatchd.dispatch.acceptance import SubmissionResult
from poddispatchd.dispatch.candidates import Candidates
from poddispatchd.dispatch.intents import IntentLog
from poddispatchd.dispatch.submission_backoff import SubmissionBackoff
from poddispatchd.dispatch.submission_turns import SubmissionTurn, SubmissionTurns
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.dispatch.unanswered import Unanswered, Work
from poddispatchd.dispatch.waiting_tasks import Waiting
from poddispatchd.domain.routing import Lane, Offer, assign, by_site, capacity, next_opening, next_window
from poddispatchd.domain.task import SUBMITTABLE, ManagerId, TaskPk, TaskType
from poddispatchd.managers.rows import ManagerRows
from poddispatchd.observability.metrics import Metrics, SubmissionOutcome
from poddispatchd.runtime.leadership import Leadership
from poddispatchd.runtime.supervisor import cancel_surely
from poddispatchd.runtime.wakeups import Wakeup
from poddispatchd.tasks.fair_order import FairShares

_SOON = 0.05
_QUIET_FRESH_FOR = 300.0
"""Seconds for which managers and own tasks are not read again while nothing happens: idling is cheap."""

_SPENT = frozenset({SubmissionOutcome.ACCEPTED, SubmissionOutcome.LOST})
"""What uses up the budget: a manager has the task, or may have it."""


class Dispatcher:
    """Keeps every runner manager busy. Only the scheduler (the daemon with a term) submits.

    Args:
        leadership: whose term it is.
        managers: who can take tasks.
        turns: whose turn it is at each of them.
        candidates: what waits.
        submitter: submits one task.
        intents: fails what can never be submitted.
        unanswered: what was posted and not answered.
        backoff: what follows from errors.
        settings: the current ones.
        wakeup: of this job.
        budget: how many tasks of each type are submitted, as ``process_tasks --max-tasks``; None: any number.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        managers: ManagerRows,
        turns: SubmissionTurns,
        candidates: Candidates,
        submitter: Submitter,
        intents: IntentLog,
        unanswered: Unanswered,
        backoff: SubmissionBackoff,
        fair_shares: FairShares,
        settings: Callable[[], DispatchSettings],
        wakeup: Wakeup,
        metrics: Metrics,
        clock: Clock,
        budget: int | None = None,
    ) -> None:
        self._leadership = leadership
        self._managers = managers
        self._registry = managers.registry
        self._turns = turns
        self._candidates = candidates
        self._memories = candidates.memories
        self._submitter = submitter
        self._intents = intents
        self._backoff = backoff
        self._task_backoff = backoff.of_tasks
        self._fair_shares = fair_shares
        self._settings = settings
        self._wakeup = wakeup
        self._metrics = metrics
        self._clock = clock
        self._in_hand: dict[TaskPk, asyncio.Task[None]] = {}
        self.unanswered = unanswered
        self._was_busy = True
        self._rings = -1
        self._is_fair = False
        self._left = None if budget is None else dict.fromkeys(SUBMITTABLE, budget)

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
        if (term := self._leadership.term) is None:
            self.unanswered.must_look = True
            # For the status page and the metrics, which name the managers.
            await self._managers.refresh(within=_QUIET_FRESH_FOR)
            return self._settings().poll_interval
        self._is_fair = self._settings().fair_share != "none"
        is_quiet = self._is_quiet()
        await (self._managers.refresh_in_quiet(_QUIET_FRESH_FOR) if is_quiet else self._managers.refresh())
        if self.unanswered.must_look:
            await self.unanswered.settle(self._in_hand.keys(), self._hand_out, term=term)
        lanes = self._registry.lanes()
        self._turns.give_up_late(lanes)
        waiting: list[Waiting] = []
        open_lanes = self._open(lanes)
        if capacity(open_lanes, self._clock.monotonic()):
            waiting = await self._candidates.look(
                open_lanes,
                skip=frozenset(self._in_hand) | self.unanswered.tasks | self._backoff.locked,
                types=[kind for kind in SUBMITTABLE if self._left is None or self._left[kind] > 0],
                own_tasks_within=_QUIET_FRESH_FOR if is_quiet else 0.0,
            )
            self._plan(waiting)
        if waiting:
            # A manager paused or deactivated while nothing happened gets no task.
            await self._managers.refresh()
            # In the order of the queue; nothing is awaited between looking at the managers and taking them.
            # A manager that has just been given a task may be given the one that follows, too.
            goes_on = True
            while goes_on:
                lanes = self._registry.lanes()
                goes_on = self._place(waiting, lanes)
                waiting = [entry for entry in waiting if entry.item.task.pk not in self._in_hand]
                self._plan(waiting)
            self._prepare_next(waiting)
        self._was_busy = bool(waiting or self._in_hand)
        return self._next_look(lanes)

    def _is_quiet(self) -> bool:
        """Whether only the clock asks for this look, and the last one found nothing to do or to wait for."""
        rings, self._rings = self._rings, self._wakeup.rings
        if rings != self._rings or self._was_busy or self.unanswered.must_look:
            return False
        return next_opening(self._registry.lanes(), self._clock.monotonic()) is None

    async def drain(self) -> None:
        """Wait for the submissions in progress."""
        while self._in_hand:
            await asyncio.wait(self._in_hand.values())

    async def stop(self, seconds: float) -> None:
        """Give the submissions in progress some time; the intents of the others stay open (I3)."""
        self._turns.stop()
        await self._candidates.stop()
        if self._in_hand:
            _, late = await asyncio.wait(self._in_hand.values(), timeout=seconds)
            await cancel_surely(*late)
        await self._submitter.stop()

    def _next_look(self, lanes: Collection[Lane]) -> float:
        now = self._clock.monotonic()
        moments = [next_opening(lanes, now), next_window(lanes, now), self._candidates.next_release(now)]
        moments += [self._task_backoff.next_due(self.unanswered.tasks), self.unanswered.next_post]
        soonest = min((moment - now for moment in moments if moment is not None), default=float("inf"))
        return min(self._settings().poll_interval, max(soonest, _SOON))

    # --- pending tasks ----------------------------------------------------------------------------------

    def _place(self, waiting: list[Waiting], lanes: list[Lane]) -> bool:
        """Hand tasks out to managers that are open; whether one was free, and may be given the next, too."""
        most, was_free = None, False
        if self._task_backoff.nothing_gets_through:
            # Whatever a manager would take could not be stored. One task at a time shows when it can again.
            if self._in_hand or not self._task_backoff.may_try:
                return False
            most = 1
        able = by_site(lanes)
        now, lanes = self._clock.monotonic(), self._open(lanes)
        by_pk: dict[TaskPk, Waiting] = {}

        def offers() -> Iterator[Offer]:
            for entry in waiting:
                if entry.memory.refusals:
                    entry.memory.reconsider(able[entry.site.id], now)
                by_pk[entry.item.task.pk] = entry
                yield entry.offer

        by_manager = {lane.manager: lane for lane in lanes}
        for assignment in islice(assign(offers(), lanes, now), most):
            entry = by_pk[assignment.task]
            kind = entry.item.task.type
            if self._left is not None:
                if self._left[kind] <= 0:
                    continue
                self._left[kind] -= 1
            room = by_manager[assignment.manager].types_with_room(now) if self._is_fair else ()
            turn = self._turns.take(assignment.manager, kind)
            was_free = was_free or turn.number is not None
            self._hand_out(assignment.task, turn, partial(self._first_post, entry, room))
        return was_free

    def _plan(self, waiting: list[Waiting]) -> None:
        """Decide whether busy managers are given their next tasks: nobody else is to wait for any of them.

        By fair share the next one is known only when the one before has been given a runner.
        """
        may_follow = (
            (self._candidates.has_more or len(waiting) > len(self._registry.all()))
            and self._left is None
            and not self._is_fair
            and not self._task_backoff.nothing_gets_through
        )
        self._turns.plan(may_follow=may_follow, besides=self.unanswered.managers)

    def _prepare_next(self, waiting: list[Waiting]) -> None:
        """Those that the managers which are busy now can have next, and as many more: many at a time."""
        soon = len(self._in_hand)
        if (nearest := waiting[:soon]) and not self._submitter.is_prepared(nearest[-1]):
            for entry in waiting[: 2 * soon]:
                self._submitter.prepare(entry)

    def _open(self, lanes: list[Lane]) -> list[Lane]:
        """Those of the managers that may get a task, now or after the one that they work on.

        One whose answers are lost, time and again, gets no other task before the one is settled that it may
        have: that one stays with it, and the others go elsewhere.
        """
        return [
            lane
            for lane in self._turns.with_next(lanes)
            if not (lane.is_doubtful and lane.manager in self.unanswered.managers)
        ]

    async def _first_post(
        self, entry: Waiting, room: Sequence[TaskType], turn: SubmissionTurn
    ) -> SubmissionResult:
        task = entry.item.task
        result: SubmissionResult | None = None
        try:
            result = await self._submitter.submit(task, entry.site, turn)
        finally:
            is_spent = turn.is_posted if result is None else result.outcome in _SPENT
            if self._left is not None and not is_spent:
                self._left[task.type] += 1
        await self._learn(entry, turn.manager, result)
        is_fair = bool(room) and result.outcome is SubmissionOutcome.ACCEPTED
        if is_fair and self._fair_shares.gives(task, entry.item.priority, room):
            self._candidates.forget_order()
        return result

    async def _learn(self, entry: Waiting, manager: ManagerId, result: SubmissionResult) -> None:
        """Remember of a task what its submission has shown."""
        task, memory = entry.item.task, self._memories.of(entry.item)
        # Something is in the way that the last look at the queue did not show.
        if result.outcome not in (SubmissionOutcome.ACCEPTED, SubmissionOutcome.FULL):
            self._candidates.expire()
        if result.outcome is SubmissionOutcome.LOST:
            self.unanswered.add(task.pk, manager)
        elif result.outcome is SubmissionOutcome.ACCEPTED:
            self._metrics.dispatch_latency.observe(self._clock.monotonic() - memory.since)
            self._memories.forget(task.pk)
        elif result.is_final or result.outcome is SubmissionOutcome.ORPHANED:
            self._memories.forget(task.pk)
        elif result.outcome is SubmissionOutcome.REFUSED:
            memory.refused(manager, result.reason, self._clock.monotonic())
            # A payload that every manager refuses will never be accepted: the task fails, in words.
            if memory.is_refused_by(by_site(self._registry.lanes())[entry.site.id]):
                self._memories.forget(task.pk)
                await self._intents.fail(task, " ".join(dict.fromkeys(memory.refusals.values())))
        elif result.hold > 0:
            self.unanswered.must_look = True
            self._memories.hold(entry.item, result.hold)

    def _hand_out(self, pk: TaskPk, turn: SubmissionTurn, work: Work) -> None:
        """Let one submission run on its own; its manager gets no other one before it has answered."""

        async def run() -> None:
            try:
                result = await work(turn)
                self._backoff.went_well(pk, is_stored=result.outcome is SubmissionOutcome.ACCEPTED)
                if result.outcome is SubmissionOutcome.ORPHANED:
                    self._managers.expire()  # its manager may be gone from Pod
            except Exception as error:  # noqa: BLE001 - one task's surprise must not stop the others, nor come back at once
                self.unanswered.must_look = True
                if (delay := self._backoff.met(pk, error)) is not None:
                    self.unanswered.add(pk)
                    self._memories.hold_pk(pk, delay)
                await self._backoff.look_closer(error)
            finally:
                self._in_hand.pop(pk, None)
                turn.end()
                self._wakeup.ring()

        self._in_hand[pk] = asyncio.create_task(run(), name=f"submission of task {pk}")

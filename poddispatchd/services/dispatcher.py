"""Pending rows to runner managers, in Pod's order, the moment a runner can take one."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

import structlog

from poddispatchd.domain.routing import Offer, assign, next_opening, site_of
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskType
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.events import Event
from poddispatchd.journal import scheduling, submissions
from poddispatchd.journal.submissions import Submission
from poddispatchd.metrics import SubmissionOutcome
from poddispatchd.pod import queue
from poddispatchd.pod.queue import PendingTask
from poddispatchd.services.parts import Parts
from poddispatchd.services.submission import Submitter

log = structlog.get_logger(__name__)

_WINDOW = 200
"""Pending tasks looked at in one pass: more than the managers can take before the next one."""

_SOON = 0.05


@dataclass(slots=True)
class _Sight:
    """What is remembered of a pending task while it waits."""

    since: float
    refusals: dict[ManagerId, str] = field(default_factory=dict)


class Dispatcher:
    """Keeps every runner manager busy. Only the scheduler (the daemon with a term) submits.

    ``budget`` limits the submissions still allowed; None is no limit.
    """

    def __init__(self, parts: Parts, submitter: Submitter, *, budget: int | None = None) -> None:
        self._parts = parts
        self._submitter = submitter
        self._in_hand: dict[TaskPk, asyncio.Task[None]] = {}
        self._seen: dict[TaskPk, _Sight] = {}
        self._unsettled = True
        self.budget = budget

    @property
    def in_hand(self) -> int:
        """Submissions in progress."""
        return len(self._in_hand)

    async def step(self) -> float:
        """Settle what is open, then submit what can be submitted; seconds until the next look."""
        parts = self._parts
        if parts.session.term is None:
            self._unsettled = True
            return parts.settings.dispatch.poll_interval
        if self._unsettled:
            await parts.refresh_managers()
            self._unsettled = await self._settle_open()
        pending = await self._pending()
        if pending:
            await parts.refresh_managers()
            self._submit(pending)
        return self._next_look(len(pending))

    async def drain(self) -> None:
        """Wait for the submissions in progress."""
        while self._in_hand:
            await asyncio.wait(self._in_hand.values())

    async def stop(self, seconds: float) -> None:
        """Give the submissions in progress some time; the intents of the others stay open (I3)."""
        if self._in_hand:
            _, late = await asyncio.wait(self._in_hand.values(), timeout=seconds)
            for work in late:
                work.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _next_look(self, pending: int) -> float:
        now = self._parts.clock.monotonic()
        delay = self._parts.settings.dispatch.poll_interval
        if pending or self._unsettled:
            opening = next_opening(self._parts.fleet.lanes(), now)
            delay = min(delay, delay if opening is None else max(opening - now, _SOON))
        return delay

    # --- intents whose answer is not known -------------------------------------------------------------

    async def _settle_open(self) -> bool:
        """Post the bytes of open intents again; whether some are still open afterwards.

        The manager answers the same bytes with the same id while the task is in flight (invariant I3).
        """
        parts = self._parts
        async with parts.database.connection() as connection:
            still_open = await submissions.open_submissions(connection)
        for submission in still_open:
            manager = submission.runner_manager_id
            if submission.task_pk in self._in_hand:
                continue
            if parts.fleet.get(manager) is None:
                await self._submitter.give_up(submission, "its runner manager is gone from Pod")
            elif parts.fleet.is_free(manager):
                self._hand_out(submission.task_pk, manager, self._repost(submission))
        return bool(still_open)

    async def _repost(self, submission: Submission) -> None:
        await self._submitter.repost(submission)

    # --- pending tasks ----------------------------------------------------------------------------------

    async def _pending(self) -> list[PendingTask]:
        """The tasks that may be submitted now, in order; Pod's own new ones are left to Pod for a while."""
        parts = self._parts
        served = parts.served_sites
        async with parts.database.connection() as connection:
            graceless = (
                await scheduling.own_tasks(connection) if parts.settings.dispatch.grace else frozenset()
            )
        found = await queue.pending_tasks(
            parts.database,
            parts.capabilities,
            limit=_WINDOW,
            types=self._types_with_room(),
            sites=None if parts.serves_all_sites else served,
            with_siteless=parts.current_site in served,
            skip=tuple(self._in_hand),
        )
        grace = parts.settings.dispatch.grace
        return [item for item in found if item.age >= grace or item.task.pk in graceless]

    def _types_with_room(self) -> tuple[TaskType, ...]:
        """Types for which some manager may be asked: the others must not fill the window.

        Before the managers are known, every type.
        """
        now = self._parts.clock.monotonic()
        lanes = self._parts.fleet.lanes()
        return tuple(
            kind
            for kind in TaskType
            if not lanes or any(lane.full_until.get(kind, 0.0) <= now for lane in lanes)
        )

    def _submit(self, pending: list[PendingTask]) -> None:
        now = self._parts.clock.monotonic()
        offers: list[Offer] = []
        by_pk: dict[TaskPk, tuple[PendingTask, SiteId]] = {}
        for item in pending:
            sight = self._seen.setdefault(item.task.pk, _Sight(now))
            site = self._site(item)
            if item.is_duplicate_of is None and item.running_twin is None and site is not None:
                by_pk[item.task.pk] = (item, site)
                offers.append(Offer(item.task.pk, item.task.type, site, frozenset(sight.refusals)))
        for assignment in assign(offers, self._parts.fleet.lanes(), now):
            if self.budget is not None:
                if self.budget <= 0:
                    break
                self.budget -= 1
            item, site = by_pk[assignment.task]
            self._hand_out(item.task.pk, assignment.manager, self._first_post(item, site, assignment.manager))
        if len(self._seen) > 10 * _WINDOW:
            self._seen = {pk: sight for pk, sight in self._seen.items() if pk in by_pk}

    def _site(self, item: PendingTask) -> SiteId | None:
        return site_of(
            item.site_ids,
            current=self._parts.current_site,
            served=self._parts.served_sites,
            with_managers=frozenset(lane.site for lane in self._parts.fleet.lanes()),
        )

    async def _first_post(self, item: PendingTask, site: SiteId, manager: ManagerId) -> None:
        task = item.task
        result = await self._submitter.submit(task, self._parts.sites[site], manager)
        if result.outcome is SubmissionOutcome.LOST:
            self._unsettled = True
        if result.outcome is not SubmissionOutcome.REFUSED:
            sight = self._seen.get(task.pk)
            if result.outcome is SubmissionOutcome.ACCEPTED and sight is not None:
                self._parts.metrics.dispatch_latency.observe(self._parts.clock.monotonic() - sight.since)
                del self._seen[task.pk]
            return
        # A payload that every manager refuses will never be accepted: the task fails, in words.
        sight = self._seen.setdefault(task.pk, _Sight(self._parts.clock.monotonic()))
        sight.refusals[manager] = result.reason
        able = {lane.manager for lane in self._parts.fleet.lanes() if lane.site == site}
        if able <= sight.refusals.keys():
            await self._submitter.fail(task, " ".join(dict.fromkeys(sight.refusals.values())))

    def _hand_out(self, pk: TaskPk, manager: ManagerId, work: Coroutine[None, None, None]) -> None:
        """Let one submission run on its own; its manager gets no other one meanwhile."""
        parts = self._parts
        parts.fleet.begin(manager)

        async def run() -> None:
            try:
                await work
            except DatabaseUnavailableError:
                self._unsettled = True
                parts.session.suspect()
            except Exception:  # one task's surprise must not stop the others
                self._unsettled = True
                log.exception(Event.SERVICE_CRASHED, job="submission", task=pk)
            finally:
                parts.fleet.end(manager)
                self._in_hand.pop(pk, None)
                parts.wakes.dispatcher.ring()

        self._in_hand[pk] = asyncio.create_task(run(), name=f"submission of task {pk}")

"""Handling recorded callbacks: each is applied to its task, once, in the order they came."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import repeat
from typing import assert_never

import structlog

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.adoption import Adoption, Found
from poddispatchd.callbacks.applied import apply_plain, completed_by_hand, log_all, log_applied
from poddispatchd.callbacks.inbox import CallbackEnd, CallbackState, RecordedCallback, Turn
from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.lifecycle import Decision, Retries, concerned
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, RowLockedError
from poddispatchd.observability.events import Event
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.lease_holder import SOONEST, LeaseHolder
from poddispatchd.runtime.lease_queue import Leased
from poddispatchd.runtime.queue_tables import CALLBACKS
from poddispatchd.runtime.supervisor import cancel_surely
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.task_ids import tasks_called
from poddispatchd.tasks.transitions import apply_report, ring_for

log = structlog.get_logger(__name__)

_BATCH = 200
_MOST_BYTES = 4 * 2**20
"""Bytes of the texts of callbacks that are applied together; one more callback may go beyond them."""

_TOGETHER = "application of callbacks together"
_QUESTIONS = "question about a callback with an unknown id"
_IDLE = 120.0
_BETWEEN = 0.02
"""Seconds between the beginnings of two looks: what has come meanwhile is applied together."""

_HELD = 2.0
"""Seconds after which a callback is tried again whose task's row another session holds."""

_LONGEST_ITEM = 60.0
"""Seconds that one callback may take: a few statements, or one question to its manager."""

_AT_ONE_MANAGER = 4
"""Questions about unknown tasks that one manager is asked at once."""

_UNKNOWN_AT_ONCE = 200
_UNKNOWN_OF_A_MANAGER = 20
"""Callbacks with unknown ids that are held at once, of all managers and of one."""

_MOST_IN_VAIN = 50
"""Looks, ``SOONEST`` apart, after which a pass leaves what is due and cannot be had: a row may be held."""

_ANSWERED_WITHIN = 0.5
"""Seconds that a step waits for managers: they answer within milliseconds, a silent one is not waited for."""


class CallbackWorker:
    """Applies callbacks; any number of daemons may do it side by side.

    A callback whose id no row carries needs a question to its manager. Those questions are asked beside the
    steps, a few at a time for each manager: one that is silent holds up nobody but itself (invariant I12).
    """

    def __init__(
        self,
        *,
        database: Database,
        owner: str,
        clock: Clock,
        wakeups: Wakeups,
        retries: Callable[[], Retries],
        language: Callable[[], str],
        adoption: Adoption,
        locked: Callable[[], Collection[TaskPk]],
        incidents: Incidents,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wakeups = wakeups
        self._retries = retries
        self._language = language
        self._adoption = adoption
        self._locked = locked
        self._incidents = incidents
        self._leases = LeaseHolder(CALLBACKS, database, owner, clock)
        self._asking: dict[asyncio.Task[None], tuple[ManagerId, ...]] = {}
        self._turns: dict[tuple[ManagerId, ...], asyncio.Semaphore] = {}

    async def step(self) -> float:
        """Handle what is due; seconds until the next look."""
        begun = self._clock.monotonic()
        due = sorted(
            await self._leases.claim(_BATCH, most_bytes=_MOST_BYTES, held=self._held()),
            # An UPDATE gives the rows that it has changed in no order.
            key=lambda item: int(str(item.lease.key)),
        )
        is_more = len(due) == _BATCH or sum(map(inbox.text_bytes, due)) >= _MOST_BYTES
        unknown: deque[RecordedCallback] = deque()
        try:
            await self._leases.each(
                await self._apply_plain(due),
                lambda leased: self._apply_unless_held(leased, unknown),
                within=_LONGEST_ITEM,
                task="task_id",
            )
            while unknown:
                await self._begin_to_ask(unknown[0])
                unknown.popleft()
        finally:
            # When the database is lost on the way: nobody is at them, nor waits until their leases end.
            for recorded in unknown:
                self._leases.abandon(recorded.lease)
        if self._asking:
            await asyncio.wait(self._asking, timeout=_ANSWERED_WITHIN)
        if is_more:
            return 0.0
        if due:
            await self._clock.sleep(max(0.0, begun + _BETWEEN - self._clock.monotonic()))
        return await self._leases.next_look(idle=_IDLE)

    async def drain(self) -> None:
        """Handle everything that is due, and what becomes due by that; managers are waited for."""
        in_vain = 0
        while in_vain < _MOST_IN_VAIN:
            seconds = await self.step()
            if self._asking:
                await asyncio.wait(self._asking, return_when=asyncio.FIRST_COMPLETED)
            elif seconds > SOONEST:
                return
            elif seconds > 0:
                in_vain += 1
                await self._clock.sleep(seconds)

    async def stop(self) -> None:
        """Ask nobody any more; what is not applied is due for any daemon."""
        await cancel_surely(*self._asking)
        with suppress(DatabaseError):  # then the leases run out by themselves
            await self._leases.stop()

    # --- callbacks of known runs -------------------------------------------------------------------------

    async def _apply_plain(self, due: Sequence[Leased]) -> Sequence[Leased]:
        """Apply together what can be; what is left is applied one by one, each with its own troubles (I12).

        Raises:
            DatabaseUnavailableError: the database is lost; the leases are given back later.
        """
        if not due:
            return due
        try:
            async with asyncio.timeout(_LONGEST_ITEM), self._database.transaction() as connection:
                recorded = [RecordedCallback.of(leased) for leased in due]
                applied = await apply_plain(connection, recorded, held=self._locked())
        except (DatabaseUnavailableError, asyncio.CancelledError):
            self._abandon(due)
            raise
        except Exception as error:  # noqa: BLE001 - whose fault it is comes out, and is told, when each is alone
            if not isinstance(error, (DatabaseError, TimeoutError)):
                self._incidents.failed(_TOGETHER, error)
            return due
        self._incidents.recovered(_TOGETHER)
        for each in applied:
            self._leases.let_go(each.recorded.lease)
            ring_for(each.decision, self._wakeups)
        done = {each.recorded.lease.key for each in applied}
        left = [leased for leased in due if leased.lease.key not in done]
        try:
            await log_all(applied)
        except asyncio.CancelledError:
            self._abandon(left)
            raise
        return left

    def _abandon(self, due: Iterable[Leased]) -> None:
        for leased in due:
            self._leases.abandon(leased.lease)

    async def _apply_unless_held(self, leased: Leased, unknown: deque[RecordedCallback]) -> None:
        """Apply one callback, or put it off while another session holds a row of its task."""
        try:
            await self._apply(leased, unknown)
        except RowLockedError:
            async with self._database.connection() as connection:
                await CALLBACKS.postpone(connection, leased.lease, _HELD)

    async def _apply(self, leased: Leased, unknown: deque[RecordedCallback]) -> None:
        """Apply one callback to the tasks that carry its id; it is unknown when none does."""
        recorded = RecordedCallback.of(leased)
        callback = recorded.callback
        report = RunReport.of_callback(callback)
        locked = self._locked()
        async with self._database.transaction(hurried=bool(locked)) as connection:
            turn = await inbox.lock(connection, recorded)
            if turn is Turn.LATER:
                await CALLBACKS.postpone(connection, leased.lease, SOONEST)
            if turn is not Turn.NOW:
                return
            known = await tasks_called(connection, recorded.managers, callback.task_id)
            if not known:
                unknown.append(recorded)
                return
            if any(task.pk in locked for task in known):
                await CALLBACKS.postpone(connection, leased.lease, _HELD)
                return
            rows, retries = concerned(known), self._retries()
            decisions = [
                await apply_report(connection, task, report, retries=retries, language=self._language())
                for task in rows
            ]
            by_hand = await completed_by_hand(connection, zip(repeat(recorded), rows, decisions))
            changed = any(decision is not Decision.IGNORE for decision in decisions)
            state = CallbackState.APPLIED if changed else CallbackState.IGNORED
            await inbox.close_callbacks(connection, [CallbackEnd(recorded, state, ", ".join(decisions))])
        for decision in decisions:
            ring_for(decision, self._wakeups)
        log_applied(recorded, known[0].pk, decisions, by_hand=bool(by_hand))

    # --- callbacks of unknown runs -----------------------------------------------------------------------

    def _held(self) -> dict[str, int]:
        """How many callbacks of each manager wait for its answers, by partition of the queue."""
        counts = Counter(self._asking.values())
        return {"{" + ",".join(map(str, managers)) + "}": count for managers, count in counts.items()}

    async def _begin_to_ask(self, recorded: RecordedCallback) -> None:
        """Ask beside the steps, unless this manager has not answered enough questions yet."""
        managers = recorded.managers
        of_it = sum(1 for each in self._asking.values() if each == managers)
        if len(self._asking) >= _UNKNOWN_AT_ONCE or of_it >= _UNKNOWN_OF_A_MANAGER:
            async with self._database.connection() as connection:
                delay = recorded.delay(self._clock.random())
                await CALLBACKS.postpone(connection, recorded.lease, delay)
            return
        self._leases.hold(recorded.lease)
        asking = asyncio.create_task(self._ask(recorded), name=f"adoption of {recorded.callback.task_id}")
        self._asking[asking] = managers
        asking.add_done_callback(self._asked)
        self._incidents.watch(asking, _QUESTIONS)

    def _asked(self, asking: "asyncio.Task[None]") -> None:
        managers = self._asking.pop(asking)
        if managers not in self._asking.values():
            self._turns.pop(managers, None)

    async def _ask(self, recorded: RecordedCallback) -> None:
        turn = self._turns.setdefault(recorded.managers, asyncio.Semaphore(_AT_ONE_MANAGER))
        try:
            async with turn:
                await self._leases.attempt(
                    recorded.lease,
                    lambda: self._adopt(recorded),
                    within=_LONGEST_ITEM,
                    task=recorded.callback.task_id,
                )
        except DatabaseUnavailableError:
            # The next step meets it too, and tells.
            self._leases.abandon(recorded.lease)
            self._wakeups.inbox.ring()

    async def _adopt(self, recorded: RecordedCallback) -> None:
        """Find the submission that a callback with an unknown id speaks of."""
        try:
            found, reason = await self._adoption.adopt(recorded)
        except RowLockedError:
            found, reason = Found.LATER, ""
        delay = 0.0
        match found:
            case Found.FORMER_RUN | Found.NOTHING:
                if await self._forget(recorded, reason, is_ours=found is Found.FORMER_RUN):
                    return
            case Found.TASK:
                # The row carries the id now: the callback is applied at the next look.
                pass
            case Found.LATER:
                delay = recorded.delay(self._clock.random())
            case _:
                assert_never(found)
        async with self._database.connection() as connection:
            await CALLBACKS.postpone(connection, recorded.lease, delay)
        # Whoever looked last may not know of it.
        self._wakeups.inbox.ring()

    async def _forget(self, recorded: RecordedCallback, reason: str, *, is_ours: bool) -> bool:
        """Close a callback whose id no row carries; False when one has got the id meanwhile."""
        state = CallbackState.IGNORED if is_ours else CallbackState.ORPHANED
        async with self._database.transaction() as connection:
            if await tasks_called(connection, recorded.managers, recorded.callback.task_id):
                return False
            await inbox.close_callbacks(connection, [CallbackEnd(recorded, state, reason)])
        tell = log.info if is_ours else log.warning
        tell(Event.CALLBACK_IGNORED, task_id=recorded.callback.task_id, reason=reason)
        return True

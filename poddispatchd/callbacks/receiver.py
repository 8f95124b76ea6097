"""Taking in a callback: who signed it, whom it concerns, and its way into the inbox."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.answer_deadline import ANSWER_WITHIN, within
from poddispatchd.callbacks.inbox import Entry
from poddispatchd.callbacks.rate_limits import Quota
from poddispatchd.callbacks.recorder import Recorder
from poddispatchd.callbacks.tokens import TokenBook
from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.callback import Callback, CallbackBody
from poddispatchd.domain.task import ManagerId, RunnerStatus, RunnerTaskId
from poddispatchd.errors import CallbackRefusedError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.logs import without_secrets
from poddispatchd.pod import tasks
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.task_ids import known_tasks_called

log = structlog.get_logger(__name__)

_FINAL = (RunnerStatus.COMPLETED, RunnerStatus.WARNING, RunnerStatus.FAILED, RunnerStatus.TIMEOUT)

_GATHERED = 0.1
"""Seconds within which callbacks that only tell of progress are applied, all of them together."""

_MOST_SEARCHES = 50
"""Searches that may wait for their turn: one is made at a time, for each looks through all of Pod's tasks."""

_MOST_SEARCHES_OF_ONE = 10
"""Of these, for one runner manager: another one does not wait behind many, nor is it sent away (I12)."""

_SHORT = 2**16
"""Bytes of a body that is read at once, in a few milliseconds: it waits behind no long one."""


class CallbackReceiver:
    """Commits callbacks to the inbox; whoever is answered 2xx can forget the matter (invariant I3)."""

    def __init__(
        self,
        database: Database,
        registry: ManagerRegistry,
        wakeups: Wakeups,
        clock: Clock,
        *,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        self._database = database
        self._registry = registry
        self._wakeups = wakeups
        self._clock = clock
        self._answer_within = answer_within
        self.tokens = TokenBook(database, clock, answer_within=answer_within)
        """Whose token it is; asked before anything of a body is read (invariant I13)."""
        self._recorder = Recorder(database, answer_within=answer_within)
        self._quota = Quota()
        self._limited: set[tuple[ManagerId, ...]] = set()
        self._parsing = asyncio.Lock()
        self._searching = asyncio.Lock()
        self._searches: Counter[tuple[ManagerId, ...]] = Counter()

    async def take(self, signers: tuple[ManagerId, ...], body: bytes) -> None:
        """Check a callback of these managers and commit it; the order of the checks is Pod's.

        Raises:
            CallbackRefusedError: with the answer to give.
            DatabaseUnavailableError: it cannot be recorded now; the manager must call again.
            TimeoutError: the same, since the database or others before it took too long.
        """
        until = asyncio.get_running_loop().time() + self._answer_within
        parsed = CallbackBody.read(body) if len(body) <= _SHORT else await self._read_long(body, until)
        try:
            callback = parsed.callback(without_secrets)
        except CallbackRefusedError:
            # Pod looks for the task before it looks at the rest.
            if parsed.task_id is not None:
                async with asyncio.timeout_at(until):
                    await self._find_task(signers, parsed.task_id)
            raise
        self._spend(signers, callback)
        # Tried first: of nearly all callbacks one statement finds out that they are ours, and records them.
        if not await self._recorder.record(Entry(signers, callback)):
            async with asyncio.timeout_at(until):
                await self._find_task(signers, callback.task_id)
                await self._recorder.record(Entry(signers, callback, is_known=True))
        # The answer goes first: nothing more is awaited for it.
        asyncio.get_running_loop().call_soon(_tell_received, callback)
        if callback.status not in _FINAL:
            self._wakeups.inbox.ring_within(_GATHERED)
        else:
            self._wakeups.inbox.ring()
            # Esup-Runner calls before it lets the runner go, and waits for our answer: with that it is free.
            for manager in signers:
                self._registry.freed(manager)
            self._wakeups.dispatcher.ring()

    async def _read_long(self, body: bytes, until: float) -> CallbackBody:
        """Read a body a step at a time, and one after the other: others want to be served, too.

        A pause as long as each step leaves them half of the time.
        """
        now = self._clock.monotonic
        steps = CallbackBody.steps(body)
        async with asyncio.timeout_at(until), self._parsing:
            while True:
                begun = now()
                try:
                    next(steps)
                except StopIteration as finished:
                    parsed: CallbackBody = finished.value
                    return parsed
                await asyncio.sleep(now() - begun)

    def _spend(self, signers: tuple[ManagerId, ...], callback: Callback) -> None:
        """Take a callback from its managers' quota.

        Raises:
            CallbackRefusedError: 429: there is nothing left.
        """
        seconds = self._quota.record(signers, callback, self._clock.monotonic())
        if seconds:
            self._tell_limit(signers)
            raise CallbackRefusedError(
                429, "More callbacks than one runner manager may make; call again later.", retry_after=seconds
            )
        self._limited.discard(signers)

    def _tell_limit(self, signers: tuple[ManagerId, ...]) -> None:
        if signers not in self._limited:
            self._limited.add(signers)
            managers = [manager.name for manager in map(self._registry.get, signers) if manager is not None]
            log.warning(Event.CALLBACKS_LIMITED, managers=managers)

    async def _find_task(self, signers: tuple[ManagerId, ...], task_id: RunnerTaskId) -> None:
        """See to it that a task of the signers can be meant.

        Raises:
            CallbackRefusedError: it is unknown, or not theirs; or 429: too many unknown ones were asked for.
            DatabaseUnavailableError: it cannot be told now.
        """
        seconds = self._quota.search(signers, self._clock.monotonic())
        is_crowded = (
            self._searches[signers] >= _MOST_SEARCHES_OF_ONE or self._searches.total() >= _MOST_SEARCHES
        )
        if seconds or is_crowded:
            raise CallbackRefusedError(
                429, "Too many callbacks about unknown tasks; call again later.", retry_after=seconds or 5.0
            )
        self._searches[signers] += 1
        try:
            async with self._searching:
                owners = await within(self._answer_within, self._owners(signers, task_id))
        finally:
            self._searches[signers] -= 1
            if not self._searches[signers]:
                del self._searches[signers]
        # In the order of Pod's view: is there such a task, has its manager a token, is it this one.
        if not owners:
            raise CallbackRefusedError(404, "Task not found.")
        if None in owners and len(owners) == 1:
            raise CallbackRefusedError(500, "Runner manager token is not configured.")
        if not set(signers) & set(owners):
            raise CallbackRefusedError(403, "Invalid Bearer token.")
        self._quota.found(signers)

    async def _owners(
        self, signers: tuple[ManagerId, ...], task_id: RunnerTaskId
    ) -> Sequence[ManagerId | None]:
        """The managers under which some task can have this id; the signers, if one of theirs can."""
        async with self._database.connection() as connection:
            if await inbox.is_expected(connection, signers, task_id):
                return signers
            if await known_tasks_called(connection, signers, task_id):
                return signers
            return tuple(await tasks.managers_of_task_id(connection, task_id))


def _tell_received(callback: Callback) -> None:
    log.info(Event.CALLBACK_RECEIVED, task_id=callback.task_id, status=callback.status.value)

"""Taking in a callback: who signed it, whom it concerns, and its way into the inbox."""

from collections.abc import Sequence

import structlog

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.tokens import managers_of_token
from poddispatchd.clock import Clock
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.callback import Notice
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, RunnerStatus, RunnerTaskId
from poddispatchd.errors import CallbackRefusedError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import tasks
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.task_ids import known_tasks_called

log = structlog.get_logger(__name__)

_FRESH_FOR = 5.0
"""Seconds for which the managers read last are good enough to tell whose a token is."""

_FRESH_FOR_STRANGERS = 1.0
"""Seconds for which they are good enough to turn an unknown token away: its manager may be new."""

_FINAL = (RunnerStatus.COMPLETED, RunnerStatus.WARNING, RunnerStatus.FAILED, RunnerStatus.TIMEOUT)


class CallbackReceiver:
    """Commits callbacks to the inbox; whoever is answered 2xx can forget the matter (invariant I3)."""

    def __init__(self, database: Database, registry: ManagerRegistry, wakeups: Wakeups, clock: Clock) -> None:
        self._database = database
        self._fleet = registry
        self._wakes = wakeups
        self._clock = clock
        self._managers: Sequence[RunnerManager] = ()
        self._read_at = float("-inf")

    async def take(self, token: bytes, body: bytes) -> None:
        """Check a callback and commit it.

        The order of the checks is Pod's, with one exception: a token of nobody is refused before any look at
        the task, lest strangers find out which ids exist.

        Raises:
            CallbackRefusedError: with the answer to give.
            DatabaseUnavailableError: it cannot be recorded now; the manager must call again.
        """
        notice = Notice.read(body)
        signers = await self.signers(token)
        async with self._database.connection() as connection:
            if notice.task_id is not None:
                await self._check_task(connection, signers, notice.task_id)
            callback = notice.callback()
            await inbox.record(connection, signers, callback)
        log.info(Event.CALLBACK_RECEIVED, task_id=callback.task_id, status=callback.status.value)
        self._wakes.inbox.ring()
        if callback.status in _FINAL:
            for manager in signers:
                self._fleet.freed(manager)
            self._wakes.dispatcher.ring()

    async def signers(self, token: bytes) -> tuple[ManagerId, ...]:
        """Whose token this is.

        Raises:
            CallbackRefusedError: 403: it is nobody's.
            DatabaseUnavailableError: it cannot be told now.
        """
        for fresh_for in (_FRESH_FOR, _FRESH_FOR_STRANGERS):
            now = self._clock.monotonic()
            if now - self._read_at >= fresh_for:
                self._managers = await pod_managers.runner_managers(self._database)
                self._read_at = now
            if signers := managers_of_token(token, self._managers):
                return signers
        raise CallbackRefusedError(403, "Invalid Bearer token.")

    async def _check_task(
        self, connection: Connection, signers: tuple[ManagerId, ...], task_id: RunnerTaskId
    ) -> None:
        """See to it that a task of the signers can be meant.

        Raises:
            CallbackRefusedError: it is unknown, or not theirs.
        """
        if await inbox.is_expected(connection, signers, task_id):
            return
        if await known_tasks_called(connection, signers, task_id):
            return
        owners = await tasks.managers_of_task_id(connection, task_id)
        if not owners:
            raise CallbackRefusedError(404, "Task not found.")
        if owners == {None}:
            raise CallbackRefusedError(500, "Runner manager token is not configured.")
        if owners.isdisjoint(signers):
            raise CallbackRefusedError(403, "Invalid Bearer token.")

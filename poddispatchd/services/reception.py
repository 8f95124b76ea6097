"""Taking in a callback: who signed it, whom it concerns, and its way into the inbox."""

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database import Connection, Database
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import ManagerId, RunnerStatus
from poddispatchd.errors import CallbackRefusedError
from poddispatchd.events import Event
from poddispatchd.journal import callbacks
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import tasks
from poddispatchd.services.fleet import Fleet
from poddispatchd.services.signals import Wakes
from poddispatchd.services.tokens import managers_of_token

log = structlog.get_logger(__name__)

_FORBIDDEN = CallbackRefusedError(403, "Invalid Bearer token.")
_FRESH_FOR = 5.0
"""Seconds for which the managers read last are good enough to turn an unknown token away."""

_FINAL = (RunnerStatus.COMPLETED, RunnerStatus.WARNING, RunnerStatus.FAILED, RunnerStatus.TIMEOUT)


class Reception:
    """Commits callbacks to the inbox; whoever is answered 2xx can forget the matter (invariant I3)."""

    def __init__(self, database: Database, fleet: Fleet, wakes: Wakes, clock: Clock) -> None:
        self._database = database
        self._fleet = fleet
        self._wakes = wakes
        self._clock = clock
        self._looked_at = float("-inf")

    async def take(self, token: bytes, body: bytes) -> None:
        """Check a callback and commit it.

        Raises:
            CallbackRefusedError: with the answer to give.
            DatabaseUnavailableError: it cannot be recorded now; the manager must call again.
        """
        callback = Callback.parse(body)
        signers = await self._signers(token)
        if not signers:
            raise _FORBIDDEN
        async with self._database.connection() as connection:
            known = await tasks.find_tasks(connection, signers, callback.task_id)
            if not known and not await callbacks.is_expected(connection, signers):
                raise await self._unknown(connection, callback)
            await callbacks.record(connection, signers, callback)
        log.info(Event.CALLBACK_RECEIVED, task_id=callback.task_id, status=callback.status.value)
        self._wakes.inbox.ring()
        if callback.status in _FINAL:
            for manager in signers:
                self._fleet.freed(manager)
            self._wakes.dispatcher.ring()

    async def _unknown(self, connection: Connection, callback: Callback) -> CallbackRefusedError:
        """The answer about a task that is not the signer's."""
        everyone = [manager.id for manager in self._fleet.all()]
        if await tasks.find_tasks(connection, everyone, callback.task_id):
            return _FORBIDDEN
        return CallbackRefusedError(404, "Task not found.")

    async def _signers(self, token: bytes) -> tuple[ManagerId, ...]:
        """Whose token this is; Pod's rows are read again before an unknown token is turned away."""
        signers = managers_of_token(token, self._fleet.all())
        now = self._clock.monotonic()
        if signers or now - self._looked_at < _FRESH_FOR:
            return signers
        managers = await pod_managers.runner_managers(self._database)
        self._looked_at = now
        return managers_of_token(token, managers)

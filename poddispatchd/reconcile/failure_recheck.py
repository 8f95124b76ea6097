"""Failures that a manager has mended by itself: a restarted runner works on them again, under the same id.

It calls when it is done; should that call be lost, nobody would ever hear of it: Pod's row has ended.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import suppress

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import ReconcileSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.lifecycle import Decision, Retries
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.errors import RowLockedError, RunnerTaskUnknownError
from poddispatchd.journal import failures
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.reconcile.polling import ManagerPolling
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.transitions import apply_report, ring_for

log = structlog.get_logger(__name__)

_RARELY = 10
"""How many times rarer than a running task one that has failed is asked about."""

_FOR_HOURS = 24
"""Hours after its failure for which a task is asked about."""

_MOST = 200
"""Tasks that one manager is asked about in one go: those that it was not for the longest time."""


class FailureRecheck:
    """Asks again, now and then, about tasks that failed lately; only their success matters."""

    def __init__(
        self,
        *,
        database: Database,
        client: RunnerClient,
        settings: Callable[[], ReconcileSettings],
        retries: Callable[[], Retries],
        language: Callable[[], str],
        wakeups: Wakeups,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._retries = retries
        self._language = language
        self._wakeups = wakeups
        self._metrics = metrics
        self._clock = clock
        self._looked_at = float("-inf")
        self._to_ask: dict[RunnerManager, list[UnsettledTask]] = {}
        """What was read last, of the managers that have not been asked yet."""

    async def due(
        self, *, exclude: Collection[TaskPk], is_busy: Callable[[ManagerId], bool]
    ) -> dict[RunnerManager, list[UnsettledTask]]:
        """The failures to ask about now, but for some; those of a manager that is busy when it is not."""
        now = self._clock.monotonic()
        if now - self._looked_at >= _RARELY * self._settings().interval:
            self._to_ask = await self._read(exclude)
            # Only now: a look that the database refused is made again with the next step.
            self._looked_at = now
        free = {manager: items for manager, items in self._to_ask.items() if not is_busy(manager.id)}
        for manager in free:
            del self._to_ask[manager]
        return free

    async def _read(self, exclude: Collection[TaskPk]) -> dict[RunnerManager, list[UnsettledTask]]:
        async with self._database.connection() as connection:
            lately = await failures.recent_failures(
                connection, hours=_FOR_HOURS, limit=_MOST, excluding=exclude, ours=self._clock.now()
            )
            failed = await tasks.failed_tasks(connection, list(lately)) if lately else []
        rows = {item.task.pk: item for item in failed}
        by_manager: dict[RunnerManager, list[UnsettledTask]] = defaultdict(list)
        for pk, run in lately.items():
            item = rows.get(pk)
            # One that was restarted meanwhile, or whose run is another one, is somebody else's matter.
            if item is not None and item.manager is not None and item.task.run == run:
                by_manager[item.manager].append(item)
        return by_manager

    async def ask(self, polling: ManagerPolling, manager: RunnerManager, items: list[UnsettledTask]) -> None:
        """Ask one manager about its failures; the rest next time, if it is slow or silent.

        Raises:
            DatabaseUnavailableError: what it says cannot be stored.
        """

        async def ask(item: UnsettledTask) -> None:
            # A run that its manager has forgotten is mended by nobody: an answer like any other.
            with suppress(RowLockedError, RunnerTaskUnknownError):
                await self._ask(manager, item)

        # Whoever asks about a running task finds out what is wrong with a manager; nobody waits for these.
        done = await polling.in_turn(manager, items, ask, "question about a failed task", teaches=False)
        if done.asked:
            async with self._database.connection() as connection:
                await failures.note_asked(connection, [item.task.pk for item in done.asked])

    async def _ask(self, manager: RunnerManager, item: UnsettledTask) -> None:
        """Ask about one.

        Raises:
            RunnerManagerError: it cannot be told.
            DatabaseUnavailableError: what it says cannot be stored.
        """
        task_id = item.task.task_id
        assert task_id is not None  # noqa: S101 - it is that of its failure
        record = await self._client.status(manager, task_id)
        if record.status is None:
            return
        report = RunReport(record.status, record.error, record.script_output)
        # The row says that it failed; another failure, or a run that goes on, changes nothing of that yet.
        if not report.is_success:
            return
        async with self._database.transaction() as connection:
            decision = await apply_report(
                connection, item.task, report, retries=self._retries(), language=self._language()
            )
        if decision is not Decision.IGNORE:
            self._metrics.reconciled.labels(decision).inc()
            log.info(
                Event.RECONCILE_ASKED,
                task=item.task.pk,
                status=record.status.value,
                was=item.task.status,
                decision=decision.value,
            )
        ring_for(decision, self._wakeups)

"""Failures that a manager has mended by itself: a restarted runner works on them again, under the same id.

It calls when it is done; should that call be lost, nobody would ever hear of it: Pod's row has ended.
"""

from collections.abc import Collection

import structlog

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, RunnerTaskId, TaskPk
from poddispatchd.errors import OF_THE_MANAGER, RunnerManagerError
from poddispatchd.events import Event
from poddispatchd.journal import failures
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.services.parts import Parts
from poddispatchd.services.reports import Report, apply_report, ring_for

log = structlog.get_logger(__name__)

_RARELY = 10
"""How many times rarer than a running task one that has failed is asked about."""

_FOR_HOURS = 24
"""Hours after its failure for which a task is asked about."""

_MOST = 200
"""Tasks asked about in one go: those that were not for the longest time."""

_PACE = 0.02


class SecondLooks:
    """Asks again, now and then, about tasks that failed lately; only their success matters."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looked_at = float("-inf")

    async def look(self, *, but: Collection[TaskPk] = ()) -> None:
        """Ask about all of them but some, unless that was done lately."""
        parts, now = self._parts, self._parts.clock.monotonic()
        if now - self._looked_at < _RARELY * parts.settings.reconcile.interval:
            return
        self._looked_at = now
        async with parts.database.connection() as connection:
            lately = await failures.failures_to_ask_about(connection, hours=_FOR_HOURS, limit=_MOST, but=but)
            failed = await tasks.failed_tasks(connection, list(lately)) if lately else []
        silent: set[ManagerId] = set()
        for item in failed:
            # One that was restarted meanwhile, or whose run is another one, is somebody else's matter.
            if item.manager is None or item.task.run != lately[item.task.pk]:
                continue
            if item.manager.id in silent or parts.fleet.opening_of(item.manager.id) > now:
                continue
            try:
                await self._ask(item, item.manager, lately[item.task.pk].task_id)
            except OF_THE_MANAGER:
                silent.add(item.manager.id)
            except RunnerManagerError:
                # Whoever asks about a running task finds out what is wrong; nobody waits for this one.
                pass
            await parts.clock.sleep(_PACE)

    async def _ask(self, item: UnsettledTask, manager: RunnerManager, task_id: RunnerTaskId) -> None:
        parts = self._parts
        record = await parts.client.status(manager, task_id)
        if record.status is None:
            return
        report = Report(record.status, record.error, record.script_output)
        if not report.is_success:
            return
        async with parts.database.transaction() as connection:
            decision = await apply_report(connection, item.task, report, retries=parts.retries)
        if decision is not Decision.IGNORE:
            parts.metrics.reconciled.labels(decision).inc()
            log.info(
                Event.RECONCILE_ASKED,
                task=item.task.pk,
                status=record.status.value,
                was=item.task.status,
                decision=decision.value,
            )
        ring_for(decision, parts.wakes)

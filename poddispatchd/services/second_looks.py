"""Failures that a manager has mended by itself: a restarted runner works on them again, under the same id.

It calls when it is done; should that call be lost, nobody would ever hear of it: Pod's row has ended.
"""

import structlog

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.errors import RunnerManagerError
from poddispatchd.events import Event
from poddispatchd.journal import submissions
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.services.parts import Parts
from poddispatchd.services.reports import Report, apply_report, ring_for

log = structlog.get_logger(__name__)

_RARELY = 10
"""How many times rarer than a running task one that has failed is asked about."""

_FOR_HOURS = 24
"""Hours after its submission for which a failed task is asked about."""

_MOST = 200
"""Tasks asked about in one go: the ones submitted last."""

_PACE = 0.02


class SecondLooks:
    """Asks again, now and then, about tasks that failed lately; only their success matters."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looked_at = float("-inf")

    async def look(self) -> None:
        """Ask about all of them, unless that was done lately."""
        parts, now = self._parts, self._parts.clock.monotonic()
        if now - self._looked_at < _RARELY * parts.settings.reconcile.interval:
            return
        self._looked_at = now
        async with parts.database.connection() as connection:
            lately = await submissions.without_result(connection, hours=_FOR_HOURS, limit=_MOST)
            failed = await tasks.failed_tasks(connection, lately) if lately else []
        for item in failed:
            await self._ask(item)
            await parts.clock.sleep(_PACE)

    async def _ask(self, item: UnsettledTask) -> None:
        parts, manager, task_id = self._parts, item.manager, item.task.task_id
        if manager is None or not task_id or parts.fleet.opening_of(manager.id) > parts.clock.monotonic():
            return
        try:
            record = await parts.client.status(manager, task_id)
        except RunnerManagerError:
            # Whoever asks about a running task finds out what is wrong.
            return
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

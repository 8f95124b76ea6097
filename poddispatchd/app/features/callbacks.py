"""The job that applies callbacks."""

from poddispatchd.app.parts import Parts
from poddispatchd.callbacks.adoption import Adoption
from poddispatchd.callbacks.worker import CallbackWorker


def callback_worker(parts: Parts) -> CallbackWorker:
    """The job that applies callbacks."""
    adoption = Adoption(
        database=parts.database,
        catalogue=parts.catalogue,
        client=parts.client,
        managers=parts.managers,
        pod=parts.settings.pod,
        clock=parts.clock,
        task_adopted=parts.wakeups.maintenance,
    )
    return CallbackWorker(
        database=parts.database,
        owner=parts.instance,
        clock=parts.clock,
        wakeups=parts.wakeups,
        retries=lambda: parts.retries,
        language=lambda: parts.output_language,
        adoption=adoption,
        locked=lambda: parts.locked_rows.tasks,
        incidents=parts.incidents,
    )

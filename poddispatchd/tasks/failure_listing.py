"""Tasks that have failed, with when and why, for people who review them."""

from datetime import datetime

from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.domain.failure_groups import FailedTask, FailureGroup, grouped
from poddispatchd.domain.task import TaskStatus
from poddispatchd.journal import dismissals
from poddispatchd.pod import task_list
from poddispatchd.pod.task_list import ListedTask, TaskFilter

_FAILED = (TaskStatus.FAILED.value, TaskStatus.TIMEOUT.value)

MOST = 10_000
"""Failed tasks that are looked at, the newest ones: sixty megabytes, whatever their scripts have said."""


class Failures(Struct, frozen=True):
    """Failures by reason. ``is_cut``: there are older ones, which were not looked at."""

    groups: list[FailureGroup]
    is_cut: bool


async def failures_since(database: Database, since: datetime, *, with_dismissed: bool = False) -> Failures:
    """The tasks that failed since a moment and have not been restarted, by reason.

    One whose end was not seen (it failed before poddispatchd looked) failed when it was added, as far as can
    be told.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    rows = await task_list.listed_tasks(database, TaskFilter(statuses=_FAILED), limit=MOST)
    async with database.connection() as connection:
        seen = await dismissals.failed_at(connection, [row.pk for row in rows])
        known = {row.pk: row.date_added for row in rows}
        gone = set() if with_dismissed else await dismissals.dismissed(connection, known)
    groups = grouped(
        failed
        for row in rows
        if row.pk not in gone and (failed := failed_task(row, seen.get(row.pk, row.date_added))).at >= since
    )
    return Failures(groups, is_cut=len(rows) == MOST and rows[-1].date_added >= since)


def failed_task(row: ListedTask, at: datetime) -> FailedTask:
    """A task that failed at a moment."""
    return FailedTask(row.pk, row.type, at, row.failure, row.date_added, row.title, row.owner)

"""Tasks one by one, as far as a page shows them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskPk
from poddispatchd.journal import dismissals, ends, scheduling
from poddispatchd.journal.ends import HourOfTasks, TaskEnd
from poddispatchd.journal.scheduling import OwnTask
from poddispatchd.pod import task_list
from poddispatchd.pod.task_list import ListedTask, PendingRow, TaskFilter
from poddispatchd.tasks.campaign_progress import CampaignProgress, progress_of

_WAITING, _RUNNING, _ENDED, _FAILED = 20, 50, 20, 500
_DAY = 24


class Overview(Struct, frozen=True):
    """The tasks that a page lists; ``as_of`` is when they were read, ``titles`` those of the waiting ones."""

    as_of: datetime
    waiting: tuple[PendingRow, ...] = ()
    own_tasks: Mapping[TaskPk, OwnTask] = field(default_factory=dict)
    running: tuple[ListedTask, ...] = ()
    begun: Mapping[TaskPk, datetime] = field(default_factory=dict)
    titles: Mapping[TaskPk, str | None] = field(default_factory=dict)
    ended: tuple[tuple[ListedTask, TaskEnd], ...] = ()
    failed: tuple[tuple[ListedTask, TaskEnd], ...] = ()
    hours: tuple[HourOfTasks, ...] = ()
    campaigns: tuple[CampaignProgress, ...] = ()


class Overviews:
    """Reads what a page lists.

    Args:
        database: Pod's.
        zone: in which the hours of campaigns are.
        has_journal: whether there is a journal of this release for certain; a shadow looks.
    """

    def __init__(self, database: Database, zone: Callable[[], ZoneInfo], *, has_journal: bool) -> None:
        self._database = database
        self._zone = zone
        self._has_journal = has_journal

    async def read(self, as_of: datetime) -> Overview:
        """Read the tasks.

        Raises:
            DatabaseError: they cannot be read.
        """
        database = self._database
        waiting = await task_list.pending_rows(database, limit=_WAITING)
        running = await task_list.listed_tasks(
            database, TaskFilter(statuses=("running", "warning")), limit=_RUNNING
        )
        async with database.connection() as connection:
            if not self._has_journal and await migration.current_version(connection) < migration.LATEST:
                return Overview(as_of, tuple(waiting), running=tuple(running))
            own_tasks = await scheduling.own_tasks(connection, [row.pk for row in waiting])
            begun = await ends.begun(connection, [task.pk for task in running])
            ended = await ends.recent(connection, limit=_ENDED)
            failed = await ends.failed(connection, hours=_DAY, limit=_FAILED)
            hours = await ends.by_hour(connection)
            campaigns = await progress_of(connection, self._zone(), as_of, ended_within=_DAY * 3600)
        wanted = {item.pk for item in (*ended, *failed)} | {item.pk for item in waiting}
        rows = {
            row.pk: row
            for row in await task_list.listed_tasks(database, TaskFilter(tasks=wanted), limit=len(wanted) + 1)
        }
        unseen = {item.pk for item in failed} - await self._dismissed(rows)
        return Overview(
            as_of=as_of,
            waiting=tuple(waiting),
            own_tasks=own_tasks,
            running=tuple(sorted(running, key=lambda row: begun.get(row.pk, row.date_added))),
            begun=begun,
            titles={item.pk: rows[item.pk].title for item in waiting if item.pk in rows},
            # A task that was restarted since has not ended.
            ended=tuple((rows[item.pk], item) for item in ended if item.pk in rows),
            failed=tuple(
                (rows[item.pk], item)
                for item in failed
                if item.pk in unseen and item.pk in rows and rows[item.pk].status in ("failed", "timeout")
            ),
            hours=tuple(hours),
            campaigns=tuple(campaigns),
        )

    async def _dismissed(self, rows: Mapping[TaskPk, ListedTask]) -> set[TaskPk]:
        """Which of these tasks a person has seen to."""
        if not rows or not self._has_journal:
            return set()
        async with self._database.connection() as connection:
            return await dismissals.dismissed(connection, {pk: row.date_added for pk, row in rows.items()})

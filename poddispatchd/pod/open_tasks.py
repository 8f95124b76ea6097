"""The tasks that wait or run, and those that do so no more, whoever did it: seen by comparing two looks."""

from collections.abc import Collection
from datetime import datetime

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk
from poddispatchd.pod.queue_order import SITE_IDS

_QUERIES = {
    name: query.fill(site_ids=SITE_IDS)
    for name, query in load_queries("poddispatchd.pod", "open_tasks.sql").items()
}


class OpenTask(Struct, frozen=True):
    """A task that waits or runs, the id of its run and the sites of its video or recorder."""

    pk: TaskPk
    status: str
    task_id: str | None
    site_ids: tuple[SiteId, ...]


class SeenTask(Struct, frozen=True):
    """A task as it was at a look; ``type`` and ``status`` as Pod has them, known here or not.

    ``seen_at`` is when that was, by the database's clock.
    """

    pk: TaskPk
    type: str
    status: str
    date_added: datetime
    runner_manager_id: ManagerId | None
    seen_at: datetime


async def open_tasks_on_sites(database: Database) -> list[OpenTask]:
    """Every task that waits or runs.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    records = await database.fetch(*_QUERIES["open_on_sites"]())
    return [
        OpenTask(record["id"], record["status"], record["task_id"], tuple(record["site_ids"]))
        for record in records
    ]


async def statuses_of(database: Database, tasks: Collection[TaskPk]) -> dict[TaskPk, tuple[str, str | None]]:
    """The status and the id of the run of each task, without tasks that were deleted.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    records = await database.fetch(*_QUERIES["statuses"](tasks=list(tasks)))
    return {TaskPk(record["id"]): (record["status"], record["task_id"]) for record in records}


async def pending_and_running(database: Database) -> tuple[set[TaskPk], list[TaskPk]]:
    """The tasks that wait, and those that run.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    record = await database.fetchrow(*_QUERIES["open"]())
    assert record is not None  # noqa: S101 - an aggregate has one row
    return {*record["pending"]}, record["running"]


async def newest_task(database: Database) -> TaskPk:
    """The highest id of a task; 0 without any.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    record = await database.fetchrow(*_QUERIES["newest"]())
    return TaskPk(0 if record is None else record[0] or 0)


async def moved_tasks(
    database: Database,
    *,
    above: int,
    seen: Collection[int] = (),
    pending: Collection[TaskPk],
    running: Collection[TaskPk],
) -> list[SeenTask]:
    """The tasks that are new or are not any more what they were.

    Args:
        database: Pod's.
        above: tasks with a higher id are new,
        seen: unless they are among these.
        pending: tasks that waited.
        running: tasks that ran.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    records = await database.fetch(
        *_QUERIES["moved"](above=above, seen=list(seen), pending=list(pending), running=list(running))
    )
    return [_seen(record) for record in records]


def _seen(record: asyncpg.Record) -> SeenTask:
    return SeenTask(
        pk=TaskPk(record["id"]),
        type=record["type"],
        status=record["status"],
        date_added=record["date_added"],
        runner_manager_id=record["runner_manager_id"],
        seen_at=record["seen_at"],
    )

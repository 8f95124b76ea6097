"""What tasks work on, for whoever reckons how long that takes: source, class, owner, and where it is done."""

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.domain.fair_share import FairOrder, FairShare
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskType
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.queue_order import by_fair_share, filled, share_of

_QUERIES = load_queries("poddispatchd.pod", "workload.sql")


class SourceOf(Struct, frozen=True):
    """A task and its source.

    Attributes:
        pk: the task.
        seconds: the duration of the video, None while Pod does not know it.
        path: of its file, relative to MEDIA_ROOT; None for a recording, or when it is gone.
        priority: the class of the task in Pod's order.
        owner: the user whose it is.
    """

    pk: TaskPk
    seconds: int | None
    path: str | None
    priority: int = 1
    owner: int | None = None


class OpenWork(Struct, frozen=True):
    """A task that waits or runs. ``same`` is its type and source: several of one source run once."""

    source: SourceOf
    type: str
    date_added: datetime
    same: tuple[str, int] | None
    site_ids: tuple[SiteId, ...] = ()
    manager: ManagerId | None = None


@lru_cache(maxsize=8)
def _statement(name: str, priority_user_table: str | None, share: FairShare = FairShare.NONE) -> Query:
    return filled(_QUERIES[name], priority_user_table, share)


async def waiting_work(
    database: Database, capabilities: Capabilities, *, limit: int, order: FairOrder | None = None
) -> list[OpenWork]:
    """The first pending tasks, in the order in which they are handed out: by fair share, or None: Pod's.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    text = _statement("waiting_work", capabilities.priority_user_table, share_of(order))
    return [
        OpenWork(
            SourceOf(TaskPk(row["id"]), row["seconds"], row["path"] or None, row["class"]),
            row["type"],
            row["date_added"],
            _same(row),
            tuple(row["site_ids"]),
        )
        for row in await database.fetch(*text(limit=limit, **by_fair_share(order)))
    ]


async def running_work(database: Database, *, limit: int) -> list[OpenWork]:
    """The tasks that run.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    return [
        OpenWork(
            SourceOf(TaskPk(row["id"]), row["seconds"], row["path"] or None),
            row["type"],
            row["date_added"],
            _same(row),
            manager=row["runner_manager_id"],
        )
        for row in await database.fetch(*_QUERIES["running_work"](limit=limit))
    ]


async def work_of(
    database: Database, capabilities: Capabilities, tasks: Collection[TaskPk]
) -> dict[TaskPk, SourceOf]:
    """What tasks worked on, without those that are gone.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    text = _statement("work_of", capabilities.priority_user_table)
    return {
        TaskPk(row["id"]): SourceOf(
            TaskPk(row["id"]), row["seconds"], row["path"] or None, row["class"], row["owner_id"]
        )
        for row in await database.fetch(*text(tasks=list(tasks)))
    }


def _same(row: asyncpg.Record) -> tuple[str, int] | None:
    pk = row["recording_id"] if row["type"] == TaskType.STUDIO else row["video_id"]
    return None if pk is None else (row["type"], pk)

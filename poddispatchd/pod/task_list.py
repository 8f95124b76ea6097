"""Tasks as people look at them: with title and owner, and with what stands in their way."""

import re
from collections.abc import Collection
from datetime import datetime

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.database.session_parameters import APPLICATION_NAME
from poddispatchd.domain.task import ManagerId, SiteId, TaskPk
from poddispatchd.pod.duplicates import OTHERS
from poddispatchd.pod.queue_order import SITE_IDS

_QUERIES = {
    name: query.fill(others=OTHERS, site_ids=SITE_IDS)
    for name, query in load_queries("poddispatchd.pod", "task_list.sql").items()
}

# Each as a whole, and not as one of a set: to a database in SQL_ASCII each byte is a character.
_APOSTROPHES, _SPACES = re.compile("\u2019|\u2018|\u02bc"), re.compile("\u00a0|\u202f")
"""As word processors set them."""

_LONGEST_FAILURE = 300
_HELD_FOR = 5.0
"""Seconds after which a transaction that holds a row is worth telling of."""


class ListedTask(Struct, frozen=True):
    """A task for people. ``type`` and ``status`` are as they stand in Pod, known here or not.

    ``failure``: the words of its last failure on one line, None when it has not failed.
    """

    pk: TaskPk
    type: str
    status: str
    rank: int | None
    title: str | None
    owner: str | None
    runner_manager_id: ManagerId | None
    task_id: str | None
    date_added: datetime
    failure: str | None
    video_id: int | None = None
    recording_id: int | None = None


class TaskFilter(Struct, frozen=True):
    """Which tasks are wanted; None: all of them."""

    statuses: Collection[str] | None = None
    types: Collection[str] | None = None
    search: str | None = None
    managers: Collection[ManagerId] | None = None
    sites: Collection[SiteId] | None = None
    since: datetime | None = None
    tasks: Collection[TaskPk] | None = None


class PendingRow(Struct, frozen=True):
    """A pending task with what may keep it: ``runs`` and ``first`` are other tasks of its type and source.

    ``locked_by`` says who holds its row.
    """

    pk: TaskPk
    type: str
    date_added: datetime
    rank: int | None
    site_ids: tuple[SiteId, ...]
    runs: TaskPk | None
    first: TaskPk | None
    locked_by: str | None


async def listed_tasks(database: Database, wanted: TaskFilter, *, limit: int) -> list[ListedTask]:
    """Tasks with title and owner, the newest first.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    records = await database.fetch(
        *_QUERIES["rows"](
            statuses=_listed(wanted.statuses),
            types=_listed(wanted.types),
            search=wanted.search and _SPACES.sub(" ", _APOSTROPHES.sub("'", wanted.search)),
            # A database in another encoding than UTF-8 has no such characters, and may refuse them.
            apostrophes=_APOSTROPHES.pattern if wanted.search else "",
            spaces=_SPACES.pattern if wanted.search else "",
            managers=_listed(wanted.managers),
            sites=_listed(wanted.sites),
            since=wanted.since,
            limit=limit,
            tasks=_listed(wanted.tasks),
        ),
    )
    return [_row(record) for record in records]


async def pending_rows(
    database: Database, *, task: TaskPk | None = None, limit: int = 20
) -> list[PendingRow]:
    """The first pending tasks of the queue, or one of them.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    return [
        PendingRow(
            pk=TaskPk(record["id"]),
            type=record["type"],
            date_added=record["date_added"],
            rank=record["rank"],
            site_ids=tuple(record["site_ids"]),
            runs=record["runs"],
            first=record["first"],
            locked_by=_holder(record),
        )
        for record in await database.fetch(
            *_QUERIES["waiting"](task=task, limit=limit, seconds=_HELD_FOR, ours=APPLICATION_NAME)
        )
    ]


def _listed(values: Collection[object] | None) -> list[object] | None:
    return None if values is None else list(values)


def _row(record: asyncpg.Record) -> ListedTask:
    return ListedTask(
        pk=TaskPk(record["id"]),
        type=record["type"],
        status=record["status"],
        rank=record["rank"],
        title=record["title"],
        owner=record["owner"],
        runner_manager_id=record["runner_manager_id"],
        task_id=record["task_id"],
        date_added=record["date_added"],
        failure=_last_line(record["failure"]),
        video_id=record["video_id"],
        recording_id=record["recording_id"],
    )


def _last_line(text: str | None) -> str | None:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip(" -")]
    return lines[-1][:_LONGEST_FAILURE] if lines else None


def _holder(record: asyncpg.Record) -> str | None:
    if record["pid"] is None:
        return None
    name = record["application_name"] or "a session"
    user = f" of {record['usename']}" if record["usename"] else ""
    since = f", since {record['xact_start'].astimezone():%H:%M:%S %Z}" if record["xact_start"] else ""
    return f"{name}{user} (process {record['pid']} of the database server{since})"

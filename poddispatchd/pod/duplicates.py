"""The other tasks of a task's type and source, as Pod's rows have them."""

from collections.abc import Collection, Mapping
from datetime import datetime

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.duplicates import EndedDuplicate
from poddispatchd.domain.task import (
    Run,
    RunnerTaskId,
    Task,
    TaskPk,
    TaskStatus,
    VideoId,
    source_of,
)
from poddispatchd.pod.lock_holders import taking
from poddispatchd.pod.progress import show_ended

_TEXTS = load_queries("poddispatchd.pod", "duplicates.sql")

SAME_SOURCE = _TEXTS["same_source"]
"""The condition that makes ``other`` a duplicate of ``wanted``, for all statements that look for some."""

OTHERS = _TEXTS["others"]
"""The tasks of the type and source of ``task``, for all statements that join them."""

UNIMPORTED = _TEXTS["unimported"].fill(others=OTHERS)
"""The condition that ``past``, a completed task of the source of ``task``, is so without a result."""

DONE_LATER = _TEXTS["done_later"].fill(others=OTHERS, unimported=UNIMPORTED)
"""The task of the source of ``task`` that was asked for later, and whose own result is in Pod, or NULL.

A result of ``task`` would put what was asked for before in its place."""

_QUERIES = {
    name: query.fill(
        done_later=DONE_LATER, unimported=UNIMPORTED, wanted=_TEXTS["wanted"], others=OTHERS
    ).fill(same_source=SAME_SOURCE)
    for name, query in _TEXTS.items()
}


class Blocker(Struct, frozen=True):
    """The task of the same source that another one waits for; ``runner_manager`` is a name."""

    task: TaskPk
    status: str
    date_added: datetime
    task_id: RunnerTaskId | None = None
    runner_manager: str | None = None

    @property
    def words(self) -> str:
        """Which task it is and how it is, to end a sentence."""
        if self.status == TaskStatus.PENDING:
            return f"task {self.task} for the same source, which is pending"
        where = (
            "no runner manager" if self.runner_manager is None else f"runner manager {self.runner_manager}"
        )
        return (
            f"task {self.task} for the same source, which is {self.status} on {where} "
            f"(task id {self.task_id or 'unknown'})"
        )


async def blockers(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, Blocker]:
    """For each of these tasks that waits for another one of its source: for which."""
    return {
        TaskPk(record["id"]): Blocker(
            task=TaskPk(record["blocker"]),
            status=record["status"],
            date_added=record["date_added"],
            task_id=record["task_id"],
            runner_manager=record["runner_manager"],
        )
        for record in await connection.fetch(*_QUERIES["blockers"](tasks=list(tasks)))
    }


async def described(connection: Connection, others: Mapping[TaskPk, TaskPk]) -> dict[TaskPk, Blocker]:
    """How the tasks are that stand in the way of some, by the latter."""
    records = await connection.fetch(*_QUERIES["described"](tasks=list(set(others.values()))))
    found = {record["id"]: record for record in records}
    return {
        pk: Blocker(
            task=other,
            status=found[other]["status"],
            date_added=found[other]["date_added"],
            task_id=found[other]["task_id"],
            runner_manager=found[other]["runner_manager"],
        )
        for pk, other in others.items()
        if other in found
    }


async def unfinished_duplicates(connection: Connection, tasks: Collection[TaskPk]) -> list[TaskPk]:
    """The other tasks of the sources of these that wait or run."""
    return [
        TaskPk(record["id"]) for record in await connection.fetch(*_QUERIES["unfinished"](tasks=list(tasks)))
    ]


async def waiting_behind(connection: Connection, running: Collection[TaskPk], *, limit: int) -> list[TaskPk]:
    """The first tasks that wait until one of these running ones has ended."""
    records = await connection.fetch(*_QUERIES["waiting_behind"](tasks=list(running), limit=limit))
    return [TaskPk(record["id"]) for record in records]


async def waiting_duplicates(connection: Connection, task: Task) -> dict[TaskPk, datetime]:
    """The duplicates that wait, each with its ``date_added``."""
    records = await connection.fetch(*_QUERIES["waiting"](**source_of(task)))
    return {TaskPk(record["id"]): record["date_added"] for record in records}


async def ended_duplicates(connection: Connection, task: Task) -> list[EndedDuplicate]:
    """The duplicates that are over: one for each run, however many shared it."""
    records = await connection.fetch(*_QUERIES["ended"](**source_of(task)))
    return [
        EndedDuplicate(
            TaskPk(record["id"]),
            TaskStatus(record["status"]),
            record["date_added"],
            _run_of(record),
        )
        for record in records
    ]


async def follow(
    connection: Connection,
    waiting: Mapping[TaskPk, datetime],
    duplicate: EndedDuplicate,
    script_output: str,
    *,
    video: VideoId | None,
    grace: float,
) -> int:
    """End waiting tasks, each with its ``date_added``, as their duplicate; return how many still waited.

    Those younger than ``grace`` seconds are left to Pod's own submission. ``video`` is theirs: it is in
    progress no longer where its last tasks end here. Part of the caller's transaction.
    """
    changed = await connection.execute(
        *_QUERIES["follow"](
            tasks=list(waiting),
            dates_added=list(waiting.values()),
            status=duplicate.status,
            runner_manager=None if duplicate.run is None else duplicate.run.runner_manager_id,
            task_id=None if duplicate.run is None else duplicate.run.task_id,
            output=script_output,
            grace=grace,
        ),
    )
    count = int(changed.rpartition(" ")[2])
    if count:
        is_done = duplicate.status is TaskStatus.COMPLETED
        await show_ended(connection, video, None if is_done else script_output)
    return count


async def leader(connection: Connection, task: Task) -> TaskPk | None:
    """The oldest one of those before this task that share its run: the result is imported for that one."""
    found: TaskPk | None = await connection.fetchval(*_QUERIES["leader"](**source_of(task), **_run(task)))
    return found


async def done_later(connection: Connection, task: TaskPk) -> TaskPk | None:
    """The task of the source of this one that was asked for later and is completed; None without one."""
    found: TaskPk | None = await connection.fetchval(*_QUERIES["of_later"](task=task))
    return found


async def completed_by_hand(connection: Connection, tasks: Collection[TaskPk]) -> set[TaskPk]:
    """Those of these tasks that are completed though we submitted them, and have imported no result."""
    records = await connection.fetch(*_QUERIES["by_hand"](tasks=list(tasks)))
    return {TaskPk(record["id"]) for record in records}


async def complete(connection: Connection, task: Task) -> bool:
    """Complete a task whose result is in Pod, and with it those that share its run (invariant I4).

    Returns:
        False when the task's row is not as it was read any more: then the caller undoes everything.
    """
    query = _QUERIES["complete"](**source_of(task), **_run(task), status=task.status)
    with taking(task.pk):
        is_done: bool = await connection.fetchval(*query)
    return is_done


async def fail_waiting(connection: Connection, task: Task, script_output: str, *, grace: float) -> None:
    """Fail the duplicates that wait; those younger than ``grace`` seconds are left to Pod itself."""
    await connection.execute(*_QUERIES["fail_waiting"](**source_of(task), grace=grace, output=script_output))


def _run(task: Task) -> Mapping[str, object]:
    return {"runner_manager": task.runner_manager_id, "task_id": task.task_id}


def _run_of(record: asyncpg.Record) -> Run | None:
    manager, task_id = record["runner_manager_id"], record["task_id"]
    return None if manager is None or task_id is None else Run(manager, task_id)

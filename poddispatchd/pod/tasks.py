"""Pod's task rows: reading them, and changing them by compare-and-set (invariant I4).

A function that changes a row takes the task as it was read and returns whether the row was still so; False
means that someone else was faster, which is a normal outcome. Callers own the transaction.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import asyncpg
from msgspec import Struct, field

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import Query, load_queries
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskPk, TaskStatus, TaskType
from poddispatchd.pod.duplicates import SAME_SOURCE
from poddispatchd.pod.lock_holders import taking
from poddispatchd.pod.managers import manager_of

_TEXTS = load_queries("poddispatchd.pod", "tasks.sql")

OUTPUT = _TEXTS["output"]
"""The part of a statement that reads what a task has said, as a column of the same name."""

_QUERIES = {name: query.fill(same_source=SAME_SOURCE, output=OUTPUT) for name, query in _TEXTS.items()}

LAST_ROW = 2**63 - 1
"""No row has a higher primary key."""

NEWEST = 1000
"""Tasks that are looked at one by one: what Pod submitted lately is among them."""


class UnsettledTask(Struct, frozen=True):
    """A task that a manager may be working on; ``manager`` is None when Pod has none for it.

    ``task.script_output`` is not loaded: read the task again before writing it.
    """

    task: Task
    manager: RunnerManager | None


class Restarted(Struct, frozen=True):
    """Which tasks were restarted, and why the others were not, in words.

    ``blocked_by`` are tasks of the same source that wait or run, for those that were refused because of one.
    """

    tasks: tuple[TaskPk, ...]
    refused: Mapping[TaskPk, str]
    blocked_by: Mapping[TaskPk, TaskPk] = field(default_factory=dict)


async def get_task(connection: Connection, task: TaskPk) -> Task | None:
    """A task by its primary key; None when there is none."""
    record = await connection.fetchrow(*_QUERIES["get"](task=task))
    return None if record is None else task_of(record)


async def lock_task(connection: Connection, task: TaskPk) -> Task | None:
    """A task as it is now, which nobody else changes until the end of the caller's transaction.

    Raises:
        RowLockedError: another session holds the row; the error names the task.
    """
    with taking(task):
        record = await connection.fetchrow(*_QUERIES["lock"](task=task))
    return None if record is None else task_of(record)


async def managers_of_task_id(connection: Connection, task_id: RunnerTaskId) -> frozenset[ManagerId | None]:
    """The managers under which some task has this id; None among them for a task without a manager."""
    records = await connection.fetch(*_QUERIES["owners"](task_id=task_id))
    return frozenset(record["runner_manager_id"] for record in records)


async def find_tasks(
    connection: Connection, managers: Collection[ManagerId], task_id: RunnerTaskId
) -> list[Task]:
    """The tasks that one of these managers knows by this id, unfinished ones first.

    There is normally one; ids of two managers can be equal, and nothing keeps Pod from storing one twice.
    """
    records = await connection.fetch(*_QUERIES["find"](managers=list(managers), task_id=task_id))
    return [task_of(record) for record in records]


async def find_tasks_near(
    connection: Connection, managers: Collection[ManagerId], task_id: RunnerTaskId, near: Collection[TaskPk]
) -> list[Task]:
    """The same among these tasks, the newest ones, and those that share a source with one of them.

    It costs little however many tasks there are, where ``find_tasks`` searches all of a manager's.
    """
    records = await connection.fetch(
        *_QUERIES["find_near"](managers=list(managers), task_id=task_id, near=list(near), newest=NEWEST)
    )
    return [task_of(record) for record in records]


async def run_on(connection: Connection, task: Task) -> bool:
    """This task, which may have been over already, is worked on, or its result is there; it keeps its id."""
    return await _change(connection, _QUERIES["run_on"], task)


async def finish(
    connection: Connection, task: Task, status: TaskStatus, script_output: str | None = None
) -> bool:
    """This task ended as ``status``; without a ``script_output`` the column keeps its text.

    A task that is completed already stays untouched (invariant I8).
    """
    return await _change(connection, _QUERIES["finish"], task, ending=status.value, output=script_output)


async def write_output(connection: Connection, task: Task, script_output: str) -> bool:
    """Replace the output of a task that is not completed, and nothing else."""
    return await _change(connection, _QUERIES["write_output"], task, output=script_output)


async def write_outputs(connection: Connection, outputs: Collection[tuple[Task, str]]) -> None:
    """The same for several tasks, each as it was read, whose rows the caller has locked."""
    await connection.execute(
        *_QUERIES["write_outputs"](
            tasks=[task.pk for task, _ in outputs],
            statuses=[task.status for task, _ in outputs],
            task_ids=[task.task_id for task, _ in outputs],
            outputs=[output for _, output in outputs],
        )
    )


async def requeue(connection: Connection, task: Task) -> bool:
    """This task waits again, in its old place in the queue, without a manager and its id."""
    return await _change(connection, _QUERIES["requeue"], task)


async def unsettled_tasks(
    connection: Connection,
    *,
    after: TaskPk = TaskPk(0),  # noqa: B008 # a NewType call is the identity
    limit: int = 200,
) -> list[UnsettledTask]:
    """A page of the tasks to ask managers about, by primary key; go on with the last one's as ``after``.

    They are running, of any type and under any manager, or carry an id though they are pending (Pod stores
    such rows after some odd answers), or have Pod's status ``warning``.
    """
    return _with_managers(await connection.fetch(*_QUERIES["unsettled"](after=after, limit=limit)))


async def failed_tasks(connection: Connection, pks: Collection[TaskPk]) -> list[UnsettledTask]:
    """Those of these tasks that have ended without a result and still carry an id."""
    return _with_managers(await connection.fetch(*_QUERIES["failed"](tasks=list(pks))))


def _with_managers(records: Iterable[asyncpg.Record]) -> list[UnsettledTask]:
    return [
        UnsettledTask(
            task_of(record), None if record["manager_id"] is None else manager_of(record, "manager_")
        )
        for record in records
    ]


async def list_tasks(
    connection: Connection,
    *,
    statuses: Collection[str] | None = None,
    limit: int = 50,
) -> list[Task]:
    """The newest tasks, of these statuses if any are named, the latest first; without their output."""
    named = None if statuses is None else [str(status) for status in statuses]
    records = await connection.fetch(*_QUERIES["list"](statuses=named, limit=limit))
    return [task_of(record) for record in records]


async def watched_tasks(
    connection: Connection, *, newest: int, known: Collection[TaskPk], most_open: int
) -> list[Task]:
    """The newest tasks, some that are known, and the first that wait or run; by id, without their output.

    With ``most_open`` 0 nothing is searched, which reads the whole table.
    """
    query = _QUERIES["watched"](newest=newest, known=list(known), most_open=most_open)
    return [task_of(record) for record in await connection.fetch(*query)]


async def restart(connection: Connection, tasks: Collection[TaskPk]) -> Restarted:
    """Begin these tasks again, as Pod's administration does: pending, last in the queue, output cleared.

    One job per source: of several tasks of one type and source the newest is restarted, and none when
    another one waits or runs already. A task that runs on a manager is to be stopped there by the caller,
    with the id it had. The caller has opened a transaction.
    """
    found = {
        record["id"]: record for record in await connection.fetch(*_QUERIES["restartable"](tasks=list(tasks)))
    }
    chosen: dict[tuple[str, int], TaskPk] = {}
    blocked_by: dict[TaskPk, TaskPk] = {}
    refused: dict[TaskPk, str] = {pk: "There is no such task." for pk in tasks if pk not in found}
    for pk, record in sorted(found.items(), reverse=True):
        source = record["recording_id"] if record["type"] == TaskType.STUDIO else record["video_id"]
        if TaskType.of(record["type"]) is TaskType.OTHER:
            refused[pk] = f"Its type {record['type']!r} is none that poddispatchd can submit."
        elif source is None:
            refused[pk] = "It has no video or recording to work on any more."
        elif record["other_id"] is not None:
            blocked_by[pk] = TaskPk(record["other_id"])
            refused[pk] = f"Task {record['other_id']} for the same source waits or runs already."
        elif (other := chosen.setdefault((record["type"], source), pk)) != pk:
            refused[pk] = f"Task {other} for the same source is restarted."
    restarted = sorted(chosen.values())
    if restarted:
        await connection.execute(*_QUERIES["restart"](tasks=restarted))
    return Restarted(tuple(restarted), refused, blocked_by)


async def next_window(connection: Connection, after: int, *, limit: int) -> int | None:
    """The last one of the ``limit`` rows behind row ``after``; None when there is none behind it."""
    up_to: int | None = await connection.fetchval(*_QUERIES["next_window"](after=after, limit=limit))
    return up_to


async def purge_completed(
    connection: Connection, *, added_before: datetime, after: int = 0, up_to: int = LAST_ROW
) -> int:
    """Delete completed tasks of these rows that were added before a moment; return how many."""
    return _count(
        await connection.execute(*_QUERIES["purge"](added_before=added_before, after=after, up_to=up_to))
    )


def task_of(record: asyncpg.Record) -> Task:
    """The task that a row holds."""
    kind = TaskType.of(record["type"])
    return Task(
        pk=TaskPk(record["id"]),
        type=kind,
        status=record["status"],
        task_id=record["task_id"],
        runner_manager_id=record["runner_manager_id"],
        video_id=record["video_id"],
        recording_id=record["recording_id"],
        date_added=record["date_added"],
        rank=record["rank"],
        script_output=record["script_output"],
        raw_type=record["type"] if kind is TaskType.OTHER else None,
    )


async def _change(connection: Connection, query: Query, task: Task, **values: object) -> bool:
    with taking(task.pk):
        status = await connection.execute(
            *query(task=task.pk, status=task.status, task_id=task.task_id, **values)
        )
    return _count(status) == 1


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])

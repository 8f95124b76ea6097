"""How tasks ended lately, as the journal knows it."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import TaskPk, TaskType

_QUERIES = load_queries(__package__, "ends.sql")

_TYPES = [kind.value for kind in TaskType]


class TaskEnd(Struct, frozen=True):
    """A task that has ended, and when."""

    pk: TaskPk
    at: datetime
    is_completed: bool


class Course(Struct, frozen=True):
    """When the last run of a task was accepted, and when it ended; None for what is not known."""

    begun: datetime | None
    ended: datetime | None


class HourOfTasks(Struct, frozen=True):
    """What happened within one hour, which begins at ``hour``."""

    hour: datetime
    submitted: int
    completed: int
    failed: int


async def recent(connection: Connection, *, limit: int) -> list[TaskEnd]:
    """The last tasks that ended, the latest first."""
    rows = await connection.fetch(*_QUERIES["recent"](limit=limit))
    return [TaskEnd(TaskPk(row["task_pk"]), row["at"], row["is_completed"]) for row in rows]


async def failed(connection: Connection, *, hours: int, limit: int) -> list[TaskEnd]:
    """The tasks that failed within the last hours, the latest first."""
    rows = await connection.fetch(*_QUERIES["failed"](hours=hours, limit=limit, types=_TYPES))
    return [TaskEnd(TaskPk(row["task_pk"]), row["at"], is_completed=False) for row in rows]


async def untold(connection: Connection) -> dict[TaskPk, datetime]:
    """The tasks that ended within a day and are not in the history, and when they did."""
    return {TaskPk(row["task_pk"]): row["at"] for row in await connection.fetch(*_QUERIES["untold"]())}


async def begun(connection: Connection, tasks: Sequence[TaskPk]) -> dict[TaskPk, datetime]:
    """When the present run of each task began; tasks that Pod submitted itself are absent."""
    rows = await connection.fetch(*_QUERIES["begun"](tasks=list(tasks)))
    return {TaskPk(row["task_pk"]): row["at"] for row in rows}


async def courses(connection: Connection, tasks: Sequence[TaskPk]) -> dict[TaskPk, Course]:
    """When these tasks began and ended."""
    rows = await connection.fetch(*_QUERIES["courses"](tasks=list(tasks)))
    return {TaskPk(row["task_pk"]): Course(row["begun"], row["ended"]) for row in rows}


async def by_hour(connection: Connection) -> list[HourOfTasks]:
    """The last 24 hours, the oldest first."""
    rows = await connection.fetch(*_QUERIES["by_hour"](types=_TYPES))
    return [HourOfTasks(row["hour"], row["submitted"], row["completed"], row["failed"]) for row in rows]

"""Pod's rows as a shadow sees them: what became of tasks, and what their runner managers have to do."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.shadow import Row
from poddispatchd.domain.task import ManagerId, TaskPk, TaskType

_QUERIES = load_queries("poddispatchd.pod", "shadow_rows.sql")


async def rows(database: Database, tasks: Collection[TaskPk]) -> dict[TaskPk, Row]:
    """What became of some tasks; those that are gone are absent."""
    if not tasks:
        return {}
    return {
        TaskPk(record["id"]): Row(
            record["status"], record["task_id"], record["runner_manager_id"], record["date_added"]
        )
        for record in await database.fetch(*_QUERIES["rows"](tasks=list(tasks)))
    }


async def running_tasks(database: Database, *, besides: Collection[TaskPk]) -> dict[ManagerId, int]:
    """How many tasks run on each runner manager, some left out; managers without one are absent."""
    records = await database.fetch(*_QUERIES["running"](besides=list(besides)))
    return {ManagerId(record["runner_manager_id"]): record["tasks"] for record in records}


async def types_taken(database: Database) -> Mapping[ManagerId, frozenset[TaskType]]:
    """The types of task that each runner manager has ever taken; managers that took none are absent.

    It reads the whole table: for now and then.
    """
    found: dict[ManagerId, set[TaskType]] = defaultdict(set)
    for record in await database.fetch(*_QUERIES["types_taken"]()):
        found[ManagerId(record["runner_manager_id"])].add(TaskType.of(record["type"]))
    return {manager: frozenset(types) for manager, types in found.items()}


async def purgeable_tasks(database: Database, *, added_before: datetime) -> int:
    """How many completed tasks were added before a moment."""
    record = await database.fetchrow(*_QUERIES["purgeable"](added_before=added_before))
    return 0 if record is None else int(record["count"])

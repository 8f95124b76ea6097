"""The tasks that wait or run, with the sites that they are on."""

from collections.abc import Collection

from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.domain.task import (
    SiteId,
    TaskPk,
)
from poddispatchd.pod.queue_order import statement


class OpenTask(Struct, frozen=True):
    """A task that waits or runs, the id of its run and the sites of its video or recorder."""

    pk: TaskPk
    status: str
    task_id: str | None
    site_ids: tuple[SiteId, ...]


async def open_tasks_on_sites(database: Database) -> list[OpenTask]:
    """Every task that waits or runs.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    records = await database.fetch(*statement("open_on_sites", None)())
    return [
        OpenTask(record["id"], record["status"], record["task_id"], tuple(record["site_ids"]))
        for record in records
    ]


async def statuses_of(database: Database, tasks: Collection[TaskPk]) -> dict[TaskPk, tuple[str, str | None]]:
    """The status and the id of the run of each task, without tasks that were deleted.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    records = await database.fetch(*statement("statuses", None)(tasks=list(tasks)))
    return {TaskPk(record["id"]): (record["status"], record["task_id"]) for record in records}

"""Finding the tasks that a runner manager speaks of.

Pod's table has no index on their ids, and years of tasks of one manager take long to search; the journal has
one. A run has one source: whoever shares its id, and is not known by it, is found by that.
"""

from collections.abc import Collection, Sequence

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskPk
from poddispatchd.pod import tasks

_QUERIES = {
    name: query.fill(newest=str(tasks.NEWEST))
    for name, query in load_queries(__package__, "task_ids.sql").items()
}

Name = tuple[tuple[ManagerId, ...], RunnerTaskId]
"""What a task is called, and by which managers."""


async def tasks_called(
    connection: Connection, managers: Collection[ManagerId], task_id: RunnerTaskId
) -> list[Task]:
    """The tasks that one of these managers knows by this id, unfinished ones first.

    Only an id that is not known here costs a search of Pod's whole table: that of a run which Pod submitted
    itself and which ended long ago, or of nobody.
    """
    return await known_tasks_called(connection, managers, task_id) or await tasks.find_tasks(
        connection, managers, task_id
    )


async def known_tasks_called(
    connection: Connection, managers: Collection[ManagerId], task_id: RunnerTaskId
) -> list[Task]:
    """The same as far as nothing needs to be searched.

    Looked at are the tasks that the journal knows by this id, the newest ones, and all of the same sources.
    Only the end of a run that Pod submitted itself, long ago, can be overlooked.
    """
    rows = await connection.fetch(*_QUERIES["known"](managers=list(managers), task_id=task_id))
    known = {TaskPk(row["task_pk"]) for row in rows}
    return await tasks.find_tasks_near(connection, managers, task_id, known)


async def lock_called(connection: Connection, names: Sequence[Name], *, most_output: int) -> dict[Name, Task]:
    """The tasks that alone are called so, as they are now; nobody else changes them in this transaction.

    Left out is whatever asks for more: an id that is not known without a search, or of several tasks, a row
    that somebody holds, an output of more than ``most_output`` bytes.
    """
    records = await connection.fetch(
        *_QUERIES["lock_called"](
            task_ids=[task_id for _, task_id in names],
            managers=["{" + ",".join(map(str, managers)) + "}" for managers, _ in names],
            most_output=most_output,
        )
    )
    return {names[record["place"] - 1]: tasks.task_of(record) for record in records}

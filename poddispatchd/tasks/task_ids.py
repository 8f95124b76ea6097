"""Finding the tasks that a runner manager speaks of.

Pod's table has no index on their ids, and years of tasks of one manager take long to search; the journal has
one. A run has one source: whoever shares its id, and is not known by it, is found by that.
"""

from collections.abc import Collection

from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskPk
from poddispatchd.journal import known_runs
from poddispatchd.pod import tasks


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
    connection: Connection,
    managers: Collection[ManagerId],
    task_id: RunnerTaskId,
    *,
    like: Collection[TaskPk] = (),
) -> list[Task]:
    """The same as far as nothing needs to be searched.

    Looked at are the tasks that the journal knows by this id, the newest ones, those of ``like``, and all of
    the same sources. Only the end of a run that Pod submitted itself, long ago, can be overlooked.
    """
    known = await known_runs.tasks_known_as(connection, managers, task_id)
    return await tasks.find_tasks_near(connection, managers, task_id, {*known, *like})

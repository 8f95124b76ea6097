"""When results of tasks were imported, as Pod's lock files tell: they are in no backup of the database."""

from collections.abc import Collection
from datetime import UTC, datetime

from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

_LOCKS = ".runner_task_locks"


async def first_imports(tree: MediaTree, tasks: Collection[TaskPk]) -> dict[TaskPk, datetime]:
    """When the result of each of these tasks was first imported, or begun to be; others are absent.

    A lock file is made at that moment and never written to or deleted, by Pod's own code neither.

    Raises:
        OSError: the media tree cannot be read.
        MediaSlowError: it does not answer.
    """
    return await tree.look(Look.LOCKS, _first_imports, tree, tasks)


def _first_imports(tree: MediaTree, tasks: Collection[TaskPk]) -> dict[TaskPk, datetime]:
    try:
        directory = (tree.top / _LOCKS).opened()
    except FileNotFoundError:
        return {}
    with directory:
        found = {task: directory.status(f"{task}.lock") for task in tasks}
    return {
        task: datetime.fromtimestamp(status.changed_at, UTC)
        for task, status in found.items()
        if status is not None
    }

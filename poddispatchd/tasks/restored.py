"""A database that was put back from a backup: tasks wait in it whose results were imported since.

Pod's rows and the journal are both of that moment, so that neither can tell; the media tree can.
"""

from collections.abc import Sequence

from poddispatchd.database.pool import Database
from poddispatchd.domain.task import TaskPk, TaskStatus
from poddispatchd.errors import MediaSlowError
from poddispatchd.journal import imports
from poddispatchd.pod import tasks
from poddispatchd.pod.media.lock import first_imports
from poddispatchd.pod.media.tree import MediaTree

_MOST = 1000
_SHOWN = 10


async def done_before(database: Database, tree: MediaTree) -> list[TaskPk]:
    """The pending tasks whose result was imported after they were added, although the journal knows of none.

    They run again. None where the media tree does not tell.

    Raises:
        DatabaseError: the database does not answer.
    """
    async with database.connection() as connection:
        pending = await tasks.list_tasks(connection, statuses=[TaskStatus.PENDING], limit=_MOST)
        waiting = {item.pk: item.date_added for item in pending}
        known = await imports.known_tasks(connection, waiting.keys())
    unknown = waiting.keys() - known.keys()
    if not unknown:
        return []
    try:
        imported = await first_imports(tree, unknown)
    except (OSError, MediaSlowError):
        # A hint and no more: nobody's start waits for a media tree that is in trouble.
        return []
    return sorted(pk for pk, moment in imported.items() if moment > waiting[pk].timestamp())


def restored_words(done: Sequence[TaskPk]) -> str:
    """What it means, and what to do, in words."""
    shown = ", ".join(str(pk) for pk in done[:_SHOWN])
    more = f" and {len(done) - _SHOWN} more" if len(done) > _SHOWN else ""
    return (
        "The database seems to have been put back from a backup: these tasks wait although their results "
        f"were imported since: {shown}{more}. They run again, and nothing that can be watched is lost; "
        "cancel those that nobody needs (docs/restore.md)."
    )

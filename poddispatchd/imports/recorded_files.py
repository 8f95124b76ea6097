"""The files of an import: what it is about to put under MEDIA_ROOT is recorded before its first rename."""

from collections.abc import Collection
from enum import Enum

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import Task, TaskPk, source_of
from poddispatchd.errors import ImportBusyError, RaceLostError
from poddispatchd.imports.queue import NOT_WANTED, ImportJob
from poddispatchd.pod.duplicates import DONE_LATER

_QUERIES = {
    name: query.fill(done_later=DONE_LATER)
    for name, query in load_queries(__package__, "recorded_files.sql").items()
}


class Known(Struct, frozen=True):
    """What the journal knows of an import before it is prepared.

    ``ours``: files that it has put in place so far, or was about to, also those that it withdrew and that
    cannot be deleted: else each attempt leaves another one. ``taken``: those of other open imports: no new
    name may be one of them. ``source_size``: how large its source was when it was submitted; None where
    nobody looked.
    """

    ours: frozenset[str]
    taken: frozenset[str]
    source_size: int | None


async def known(connection: Connection, job: ImportJob) -> Known:
    """What the journal knows of an import."""
    row = await connection.fetchrow(
        *_QUERIES["known"](
            import_id=job.id, task=job.task_pk, runner_manager=job.runner_manager_id, task_id=job.task_id
        )
    )
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY always has a row
    return Known(frozenset(row["ours"] or ()), frozenset(row["taken"] or ()), row["source_size"])


async def forget_recorded(connection: Connection, job: ImportJob, paths: Collection[str]) -> None:
    """What is at these paths is not this import's after all: it must not be deleted with what is."""
    await connection.execute(*_QUERIES["forget_recorded"](import_id=job.id, paths=list(paths)))


class Recorded(Enum):
    """What became of the wish to put files in place."""

    DONE = "done"
    WAITS = "waits"
    """Another import is putting one of them in place just now."""
    LOST = "lost"
    """The lease is lost."""


async def record_files(
    connection: Connection,
    job: ImportJob,
    task: Task,
    brought: Collection[str],
    *,
    there: Collection[str],
    stored: Collection[str] = (),
) -> Recorded:
    """Remember what an import is about to put in place: part of a transaction.

    From its commit on, nobody begins to delete one of these files, nor to put another one there. What is
    there already is not new, unless it is obsolete.

    Args:
        connection: in the transaction.
        job: the import.
        task: as it was read before the result was fetched.
        brought: the files.
        there: those of them at whose paths there is something.
        stored: those of them whose names were chosen because they are free: no other import may have them.

    Raises:
        ImportBusyError: another open import has chosen one of the names meanwhile.
        RaceLostError: its row does not wait for it any more, or a later task has done the same source.
    """
    hold = _QUERIES["hold"](import_id=job.id, owner=job.owner)
    if not await connection.fetch(*hold):
        return Recorded.LOST
    source = source_of(task)
    other = await connection.fetchrow(
        *_QUERIES["record_files"](
            import_id=job.id,
            type=source["type"],
            video=source["video"],
            recording=source["recording"],
            brought=list(brought),
            there=list(there),
            stored=list(stored),
        )
    )
    assert other is not None  # noqa: S101 - an aggregate without GROUP BY always has a row
    if not other["is_wanted"]:
        raise RaceLostError(NOT_WANTED)
    if other["later"] is not None:
        raise later_error(other["later"])
    if other["is_chosen"]:
        raise ImportBusyError("Another import has chosen the name of one of these files meanwhile.")
    return Recorded.WAITS if other["is_at_work"] else Recorded.DONE


def later_error(task: TaskPk) -> RaceLostError:
    """Why a result that comes too late is not wanted: its task follows that one when it is asked about."""
    return RaceLostError(f"Task {task}, which was added later, did the same source meanwhile.")


async def keep_appeared(connection: Connection, job: ImportJob, paths: Collection[str]) -> None:
    """These recorded files were put there by somebody else: they stay when this import does not end well."""
    await connection.execute(*_QUERIES["keep_appeared"](import_id=job.id, paths=list(paths)))


async def reclaim_files(connection: Connection, brought: Collection[str]) -> bool:
    """These files, which have been recorded, are not obsolete any more.

    Returns:
        False while one of them is being deleted: ask again before putting it in place.
    """
    return not await connection.fetchval(*_QUERIES["reclaim_files"](brought=list(brought)))

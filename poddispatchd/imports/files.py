"""Files under MEDIA_ROOT that imports put in place, and those that nobody needs any more.

What an import is about to put in place is recorded before its first rename. What is obsolete is claimed,
deleted outside of any transaction, and forgotten: a crash at any moment leaves it to be deleted once more.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_numbered
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import ImportBusyError
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal.imports import ImportId
from poddispatchd.runtime.queues import IMPORTS

_QUERIES = load_numbered(__package__, "files.sql")


@dataclass(frozen=True, slots=True)
class BroughtFile:
    """A file that an import put in place; ``is_new``: nothing that anybody needs was there before."""

    path: str
    is_new: bool


async def recorded_files(connection: Connection, job: ImportJob) -> list[str]:
    """What earlier attempts of an import put in place, or were about to."""
    return [row["path"] for row in await connection.fetch(_QUERIES["recorded_files"], job.id)]


async def forget_recorded(connection: Connection, job: ImportJob, paths: Collection[str]) -> None:
    """What is at these paths is not this import's after all: it must not be deleted with what is."""
    await connection.execute(_QUERIES["forget_recorded"], job.id, list(paths))


async def chosen_names(connection: Connection, job: ImportJob) -> frozenset[str]:
    """The paths that other open imports are putting in place: no new name may be one of them."""
    return frozenset(row["path"] for row in await connection.fetch(_QUERIES["chosen_names"], job.id))


async def record_files(
    connection: Connection,
    job: ImportJob,
    brought: Collection[str],
    *,
    there: Collection[str],
    stored: Collection[str] = (),
) -> bool:
    """Remember what an import is about to put in place: part of a transaction.

    From its commit on, nobody begins to delete one of these files. What is there already is not new, unless
    it is obsolete.

    Args:
        connection: in the transaction.
        job: the import.
        brought: the files.
        there: those of them at whose paths there is something.
        stored: those of them whose names were chosen because they are free: no other import may have them.

    Returns:
        False when the lease is lost.

    Raises:
        ImportBusyError: another open import has chosen one of the names meanwhile.
    """
    if not await IMPORTS.holds(connection, job.lease):
        return False
    if stored:
        await connection.execute(_QUERIES["one_choice_at_a_time"])
        if not (await chosen_names(connection, job)).isdisjoint(stored):
            raise ImportBusyError("Another import has chosen the name of one of these files meanwhile.")
    await connection.execute(_QUERIES["record_files"], job.id, list(brought), list(there))
    return True


async def reclaim_files(connection: Connection, brought: Collection[str]) -> bool:
    """These files, which have been recorded, are not obsolete any more.

    Returns:
        False while one of them is being deleted: ask again before putting it in place.
    """
    return not await connection.fetchval(_QUERIES["reclaim_files"], list(brought))


async def settle_files(connection: Connection, job: ImportJob, brought: Collection[str]) -> list[BroughtFile]:
    """The import is being committed: what it brought is Pod's.

    Returns:
        What earlier attempts put in place, or were about to, and this one did not.
    """
    superseded = await connection.fetch(_QUERIES["superseded_files"], job.id, list(brought))
    await connection.execute(_QUERIES["settle_files"], job.id, list(brought))
    await connection.execute(_QUERIES["reclaim_files"], list(brought))
    return [BroughtFile(row["path"], row["is_new"]) for row in superseded]


async def closed_with_files(connection: Connection, limit: int) -> list[tuple[ImportId, TaskPk]]:
    """Imports that ended without a commit after they had put files in place, with their tasks."""
    rows = await connection.fetch(_QUERIES["closed_with_files"], limit)
    return [(ImportId(row["id"]), TaskPk(row["task_pk"])) for row in rows]


async def take_files(connection: Connection, import_id: ImportId, owner: str) -> list[BroughtFile]:
    """Forget what an import put in place, and tell it; nothing of one that another instance holds."""
    rows = await connection.fetch(_QUERIES["take_files"], import_id, owner)
    return [BroughtFile(row["path"], row["is_new"]) for row in rows]


# --- files that nobody needs ------------------------------------------------------------------------------


async def add_obsolete_files(connection: Connection, task_pk: TaskPk, paths: Sequence[str]) -> None:
    """These files, relative to MEDIA_ROOT, are to be deleted."""
    if not paths:
        return
    await connection.execute(_QUERIES["add_obsolete_files"], list(paths), task_pk)


async def forget_obsolete_files(connection: Connection, owner: str, paths: Iterable[str]) -> None:
    """These claimed files are gone, or needed after all."""
    await connection.execute(_QUERIES["forget_obsolete_files"], owner, list(paths))

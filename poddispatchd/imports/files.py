"""Files under MEDIA_ROOT that imports put in place, and those that nobody needs any more.

What an import is about to put in place is recorded before its first rename. What is obsolete is claimed,
deleted outside of any transaction, and forgotten: a crash at any moment leaves it to be deleted once more.
"""

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import ImportBusyError, RaceLostError
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal.imports import ImportId

_QUERIES = load_queries(__package__, "files.sql")


class BroughtFile(Struct, frozen=True):
    """A file that an import put in place; ``is_new``: nothing that anybody needs was there before."""

    path: str
    is_new: bool


async def known_names(connection: Connection, job: ImportJob) -> tuple[frozenset[str], frozenset[str]]:
    """Files that open imports put in place, or were about to: this one so far, and others.

    No new name may be one of the others'.
    """
    rows = await connection.fetch(*_QUERIES["known_names"](import_id=job.id))
    ours = frozenset(row["path"] for row in rows if row["is_ours"])
    return ours, frozenset(row["path"] for row in rows if not row["is_ours"])


async def forget_recorded(connection: Connection, job: ImportJob, paths: Collection[str]) -> None:
    """What is at these paths is not this import's after all: it must not be deleted with what is."""
    await connection.execute(*_QUERIES["forget_recorded"](import_id=job.id, paths=list(paths)))


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
    hold = _QUERIES["hold"](import_id=job.id, owner=job.owner, chooses=bool(stored))
    if not await connection.fetch(*hold):
        return False
    is_free = await connection.fetchval(
        *_QUERIES["record_files"](
            import_id=job.id, brought=list(brought), there=list(there), stored=list(stored)
        )
    )
    if not is_free:
        raise ImportBusyError("Another import has chosen the name of one of these files meanwhile.")
    return True


async def reclaim_files(connection: Connection, brought: Collection[str]) -> bool:
    """These files, which have been recorded, are not obsolete any more.

    Returns:
        False while one of them is being deleted: ask again before putting it in place.
    """
    return not await connection.fetchval(*_QUERIES["reclaim_files"](brought=list(brought)))


async def settle(
    connection: Connection,
    job: ImportJob,
    *,
    brought: Collection[str],
    obsolete: Collection[str],
    own_tasks: Collection[TaskPk] = (),
) -> bool:
    """Close an import that is being committed: what it brought is Pod's.

    Args:
        connection: in the transaction that writes its rows.
        job: the import.
        brought: the files that it put in place.
        obsolete: files that it replaced; what only earlier attempts brought is deleted as well.
        own_tasks: tasks that were added with it.

    Returns:
        Whether there are files to be deleted.

    Raises:
        RaceLostError: the lease is lost.
    """
    has_obsolete: bool | None = await connection.fetchval(
        *_QUERIES["settle"](
            import_id=job.id,
            owner=job.owner,
            brought=list(brought),
            replaced=sorted(obsolete),
            own_tasks=list(own_tasks),
        )
    )
    if has_obsolete is None:
        raise RaceLostError("The lease of this import was lost.")
    return has_obsolete


async def closed_with_files(connection: Connection, limit: int) -> list[tuple[ImportId, TaskPk]]:
    """Imports that ended without a commit after they had put files in place, with their tasks."""
    rows = await connection.fetch(*_QUERIES["closed_with_files"](limit=limit))
    return [(ImportId(row["id"]), TaskPk(row["task_pk"])) for row in rows]


async def take_files(connection: Connection, import_id: ImportId, owner: str) -> list[BroughtFile]:
    """Forget what an import put in place, and tell it; nothing of one that another instance holds."""
    rows = await connection.fetch(*_QUERIES["take_files"](import_id=import_id, owner=owner))
    return [BroughtFile(row["path"], row["is_new"]) for row in rows]


# --- files that nobody needs ------------------------------------------------------------------------------


async def add_obsolete_files(connection: Connection, task_pk: TaskPk, paths: Sequence[str]) -> None:
    """These files, relative to MEDIA_ROOT, are to be deleted."""
    if not paths:
        return
    await connection.execute(*_QUERIES["add_obsolete_files"](paths=list(paths), task=task_pk))


async def forget_obsolete_files(connection: Connection, owner: str, paths: Iterable[str]) -> None:
    """These claimed files are gone, or needed after all."""
    await connection.execute(*_QUERIES["forget_obsolete_files"](owner=owner, paths=list(paths)))

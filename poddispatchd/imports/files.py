"""Files under MEDIA_ROOT that imports put in place, and those that nobody needs any more.

What an import is about to put in place is recorded before its first rename. What is obsolete is claimed,
deleted outside of any transaction, and forgotten: a crash at any moment leaves it to be deleted once more.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import TaskPk
from poddispatchd.journal.imports import ImportId, ImportJob

_QUERIES = load_queries(__package__, "files.sql")

CLAIM_SECONDS = 120.0
"""How long a claim lives without being renewed: what a crash on another machine delays an import by that
brings the very file back."""


@dataclass(frozen=True, slots=True)
class BroughtFile:
    """A file that an import put in place; ``is_new``: nothing that anybody needs was there before."""

    path: str
    is_new: bool


async def record_files(
    connection: Connection, job: ImportJob, brought: Collection[str], *, there: Collection[str]
) -> bool:
    """Remember what an import is about to put in place: part of a transaction.

    From its commit on, nobody begins to delete one of these files. What is there already is not new, unless
    it is obsolete.

    Returns:
        False when the lease is lost.
    """
    if await connection.fetchval(_QUERIES["hold_lease"], job.id, job.owner) is None:
        return False
    await connection.execute(_QUERIES["record_files"], job.id, list(brought), list(there))
    return True


async def reclaim_files(connection: Connection, brought: Collection[str]) -> bool:
    """These files, which have been recorded, are not obsolete any more.

    Returns:
        False while one of them is being deleted: ask again before putting it in place.
    """
    await connection.execute(_QUERIES["reclaim_files"], list(brought))
    return not await connection.fetchval(_QUERIES["is_any_obsolete"], list(brought))


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
    await connection.execute(_QUERIES["add_obsolete_files"], list(paths), task_pk)


async def claim_obsolete_files(
    connection: Connection, owner: str, limit: int, *, task_pk: TaskPk | None = None
) -> frozenset[str]:
    """Claim files in order to delete them, of one task or of all.

    What an open import is putting in place is left out. The claim lasts for ``CLAIM_SECONDS``, and so does
    whoever wants to put one of these files in place again; then each is to be renewed, forgotten or released.
    """
    rows = await connection.fetch(_QUERIES["claim_obsolete_files"], owner, CLAIM_SECONDS, limit, task_pk)
    return frozenset(row["path"] for row in rows)


async def renew_claims(connection: Connection, owner: str, paths: Iterable[str]) -> None:
    """These files are still being deleted."""
    await connection.execute(_QUERIES["renew_claims"], owner, CLAIM_SECONDS, list(paths))


async def forget_obsolete_files(connection: Connection, owner: str, paths: Iterable[str]) -> None:
    """These claimed files are gone, or needed after all."""
    await connection.execute(_QUERIES["forget_obsolete_files"], owner, list(paths))


async def release_claims(connection: Connection, owner: str, paths: Iterable[str]) -> None:
    """These claimed files could not be deleted: another time, after all others."""
    await connection.execute(_QUERIES["release_claims"], owner, list(paths))


async def claimants(connection: Connection) -> list[str]:
    """The instances that are deleting files."""
    return [row["claimed_by"] for row in await connection.fetch(_QUERIES["claimants"])]


async def release_claimant(connection: Connection, owner: str) -> None:
    """An instance that was deleting files is gone."""
    await connection.execute(_QUERIES["release_claimant"], owner)

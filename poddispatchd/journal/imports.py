"""Results to bring into Pod: one row a result, leased to one importer at a time (invariant I7)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, TaskPk, VideoId

_QUERIES = load_queries(__package__, "imports.sql")

ImportId = NewType("ImportId", int)

LEASE_SECONDS = 20.0
"""How long a lease lives without being renewed: what a crash on another machine delays an import by."""


class ImportState(StrEnum):
    """What became of an import."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"
    """Not needed any more: the row was completed, restarted or deleted by someone else."""


@dataclass(frozen=True, slots=True)
class ImportJob:
    """A leased import.

    ``attempts`` counts this one; ``video_id`` is reserved for a studio task; ``obstructed_for`` is for how
    many seconds something outside the result has kept it from being imported.
    """

    id: ImportId
    task_pk: TaskPk
    runner_manager_id: ManagerId
    task_id: RunnerTaskId
    attempts: int
    video_id: VideoId | None
    created_at: datetime
    owner: str
    obstructed_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """How many imports are open, and the seconds until the next is due; None when there is none."""

    open: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """An import as it is told to people."""

    state: ImportState
    task_id: RunnerTaskId
    attempts: int
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


async def of_task(connection: Connection, task_pk: TaskPk) -> list[ImportRecord]:
    """The imports of one task, oldest first."""
    return [
        ImportRecord(
            state=ImportState(row["state"]),
            task_id=RunnerTaskId(row["task_id"]),
            attempts=row["attempts"],
            last_error=row["last_error"],
            created_at=row["created_at"],
            finished_at=row["finished_at"],
        )
        for row in await connection.fetch(_QUERIES["of_task"], task_pk)
    ]


async def open_import(connection: Connection, task_pk: TaskPk, run: Run) -> bool:
    """Ask for a result to be imported; False when that is asked for, or done, already."""
    return (
        await connection.fetchval(_QUERIES["open"], task_pk, run.runner_manager_id, run.task_id) is not None
    )


async def is_open(connection: Connection, task_pk: TaskPk, run: Run) -> bool:
    """Whether a result is about to be imported."""
    return bool(await connection.fetchval(_QUERIES["is_open"], task_pk, run.runner_manager_id, run.task_id))


async def claim_due(connection: Connection, owner: str, limit: int) -> list[ImportJob]:
    """Lease the next imports."""
    rows = await connection.fetch(_QUERIES["claim_due"], limit, owner, LEASE_SECONDS)
    return [
        ImportJob(
            id=ImportId(row["id"]),
            task_pk=TaskPk(row["task_pk"]),
            runner_manager_id=ManagerId(row["runner_manager_id"]),
            task_id=RunnerTaskId(row["task_id"]),
            attempts=row["attempts"],
            video_id=None if row["video_id"] is None else VideoId(row["video_id"]),
            created_at=row["created_at"],
            owner=owner,
            obstructed_for=row["obstructed_for"] or 0.0,
        )
        for row in rows
    ]


async def renew(connection: Connection, owner: str, imports: Collection[ImportId]) -> None:
    """Keep an instance's leases of these imports for another ``LEASE_SECONDS``."""
    await connection.execute(_QUERIES["renew"], owner, LEASE_SECONDS, list(imports))


async def release(connection: Connection, owner: str, imports: Collection[ImportId]) -> None:
    """Give back an instance's leases of these imports; the attempts do not count."""
    await connection.execute(_QUERIES["release"], owner, list(imports))


async def lease_owners(connection: Connection) -> list[str]:
    """The instances that hold leases."""
    return [row["lease_owner"] for row in await connection.fetch(_QUERIES["leases"])]


async def release_owner(connection: Connection, owner: str) -> None:
    """Give back every lease of an instance; the attempts it was at do not count."""
    await connection.execute(_QUERIES["release_owner"], owner)


async def reserve_video(connection: Connection, job: ImportJob, video_id: VideoId) -> VideoId | None:
    """Store the id for the video of a studio import; the one that holds, or None when the lease is lost."""
    kept = await connection.fetchval(_QUERIES["reserve_video"], job.id, job.owner, video_id)
    return None if kept is None else VideoId(kept)


async def finish(
    connection: Connection, job: ImportJob, state: ImportState, error: str | None = None
) -> bool:
    """Close an import; False when the lease is lost, and then nothing else may be committed."""
    status = await connection.execute(_QUERIES["finish"], job.id, job.owner, state.value, error)
    return status == "UPDATE 1"


async def drop_open(connection: Connection, task_pk: TaskPk, reason: str) -> None:
    """The result of a task is not wanted any more; whoever is importing it loses its lease."""
    await connection.execute(_QUERIES["drop_open"], task_pk, reason)


async def retry(
    connection: Connection,
    job: ImportJob,
    *,
    seconds: float,
    error: str,
    counts: bool,
    obstructed: bool = False,
) -> None:
    """Give an import back, to be tried again later.

    Args:
        connection: any.
        job: the import.
        seconds: until the next attempt.
        error: why, in words.
        counts: whether this attempt counts.
        obstructed: whether the obstacle lies outside the result; how long it does is remembered.
    """
    await connection.execute(_QUERIES["retry"], job.id, job.owner, seconds, error, counts, obstructed)


async def next_due(connection: Connection) -> Due:
    """When the next import is due."""
    row = await connection.fetchrow(_QUERIES["next_due"])
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY always has a row
    return Due(row["open"], row["due_in"])


async def open_tasks(connection: Connection) -> frozenset[TaskPk]:
    """The tasks whose result is being imported, or waits for it."""
    return frozenset(TaskPk(row["task_pk"]) for row in await connection.fetch(_QUERIES["open_tasks"]))


async def known_tasks(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, bool]:
    """Those of these tasks that ever had an import, and whether one of them is open."""
    rows = await connection.fetch(_QUERIES["known_tasks"], list(tasks))
    return {TaskPk(row["task_pk"]): row["is_open"] for row in rows}

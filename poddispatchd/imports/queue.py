"""The queue of results to import, as an importer sees it: leased jobs, and how they end (I7)."""

from collections.abc import Collection
from datetime import datetime

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.database.sqlstates import taken_id_words
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskPk, TaskStatus, VideoId
from poddispatchd.errors import RaceLostError, SchemaChangedError
from poddispatchd.journal.ages import with_ages
from poddispatchd.journal.imports import ImportId, ImportState
from poddispatchd.runtime.lease_queue import Lease, Leased
from poddispatchd.runtime.queue_tables import IMPORTS

NOT_WANTED = "The row was completed, restarted or deleted by someone else."

_TEXTS = load_queries(__package__, "queue.sql")
_QUERIES = {name: query.fill(recent=_TEXTS["recent"]) for name, query in _TEXTS.items()}
_OBSTRUCTED_FOR = with_ages(_QUERIES["obstructed_for"], obstructed_for="obstructed_since")


class ImportJob(Struct, frozen=True):
    """A leased import.

    ``attempts`` counts this one; ``video_id`` is reserved for a studio task; ``of_campaign``: its task was
    added by a campaign.
    """

    lease: Lease
    task_pk: TaskPk
    runner_manager_id: ManagerId
    task_id: RunnerTaskId
    video_id: VideoId | None
    created_at: datetime
    of_campaign: bool = False

    @classmethod
    def of(cls, leased: Leased) -> "ImportJob":
        """What a row of the queue holds."""
        row = leased.row
        return cls(
            lease=leased.lease,
            task_pk=TaskPk(row["task_pk"]),
            runner_manager_id=ManagerId(row["runner_manager_id"]),
            task_id=RunnerTaskId(row["task_id"]),
            video_id=None if row["video_id"] is None else VideoId(row["video_id"]),
            created_at=row["created_at"],
            of_campaign=row["of_campaign"],
        )

    @property
    def id(self) -> ImportId:
        """The import's primary key."""
        return ImportId(int(str(self.lease.key)))

    @property
    def owner(self) -> str:
        """The instance that holds the lease."""
        return self.lease.owner

    @property
    def attempts(self) -> int:
        """Attempts that count, this one included."""
        return self.lease.attempts

    def is_wanted_by(self, task: Task) -> bool:
        """Whether a row still waits for this result."""
        is_same = (task.task_id, task.runner_manager_id) == (self.task_id, self.runner_manager_id)
        return is_same and task.status != TaskStatus.COMPLETED


async def obstructed_for(connection: Connection, job: ImportJob, *, ours: datetime) -> float:
    """For how many seconds something outside the result has kept it from being imported.

    ``ours``: now, by our clock; of this and the database's the one counts that says less.
    """
    query = _OBSTRUCTED_FOR(import_id=job.id, ours=ours)
    seconds: float | None = await connection.fetchval(*query)
    return max(seconds or 0.0, 0.0)


async def are_refused_alike(connection: Connection, job: ImportJob, words: str) -> bool:
    """Whether the database refuses the results of other tasks of this type in the same words, and takes none.

    One that failed over it counts as well: where all are refused and few come, the first fails alone.
    """
    query = _QUERIES["refused_alike"](task=job.task_pk, words=words)
    return bool(await connection.fetchval(*query))


async def reserve_video(connection: Connection, job: ImportJob) -> VideoId:
    """The id of the video that a studio import makes: the same at every attempt.

    Raises:
        RaceLostError: the lease is lost.
        SchemaChangedError: the ids of videos come from no sequence, or from one that gives ids of others.
    """
    record = await connection.fetchrow(*_QUERIES["reserve_video"](import_id=job.id, owner=job.owner))
    if record is None:
        raise RaceLostError("The lease of this import was lost.")
    if record["video_id"] is None:
        raise SchemaChangedError("The ids of video_video come from no sequence: no video can be made.")
    if record["is_taken"]:
        raise SchemaChangedError(f"{taken_id_words('video_video')}.")
    return VideoId(record["video_id"])


async def finish(
    connection: Connection, job: ImportJob, state: ImportState, error: str | None = None
) -> bool:
    """Close an import; False when the lease is lost, and then nothing else may be committed."""
    status = await connection.execute(
        *_QUERIES["finish"](import_id=job.id, owner=job.owner, state=state.value, words=error)
    )
    return status == "UPDATE 1"


async def retry(
    connection: Connection,
    job: ImportJob,
    seconds: float,
    words: str,
    *,
    counts: bool,
    obstructed: bool = False,
) -> None:
    """Give an import back, to be tried again later.

    Args:
        connection: in a transaction.
        job: the import.
        seconds: until the next attempt.
        words: why.
        counts: whether this attempt counts.
        obstructed: whether the obstacle lies outside the result; how long it does is remembered.
    """
    await connection.execute(
        *_QUERIES["note_obstacle"](import_id=job.id, owner=job.owner, is_obstructed=obstructed, counts=counts)
    )
    # Behind the note: with the lease goes the right to write to the row.
    await IMPORTS.postpone(connection, job.lease, seconds, words=words, counts=counts)


async def bring_forward(connection: Connection, imports: Collection[ImportId]) -> None:
    """What kept these imports waiting is over: they are due soon, unless somebody is at them."""
    await connection.execute(*_QUERIES["bring_forward"](import_ids=list(imports)))


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

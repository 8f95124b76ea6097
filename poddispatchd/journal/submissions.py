"""Intents to submit a task, committed before the POST and settled by its answer (invariant I3)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NewType

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.duplicates import Taken
from poddispatchd.domain.task import ManagerId, Run, RunnerTaskId, Task, TaskPk, TaskType
from poddispatchd.journal.ages import with_ages

_QUERIES = load_queries(__package__, "submissions.sql")
_OPEN_ONES = with_ages(_QUERIES["open_ones"], age="created_at")

SubmissionId = NewType("SubmissionId", int)


class SubmissionState(StrEnum):
    """What became of a submission."""

    OPEN = "open"
    """Posted or about to be; the answer is not known."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ORPHANED = "orphaned"
    """Accepted, but the row had been taken by someone else meanwhile."""
    LOST = "lost"
    """Accepted or unknown, and the runner manager has forgotten it or never answered."""


class Submission(Struct, frozen=True):
    """One intent."""

    id: SubmissionId
    task_pk: TaskPk
    task_type: TaskType
    runner_manager_id: ManagerId
    attempt: int
    body: bytes
    state: SubmissionState
    posts: int
    task_id: RunnerTaskId | None
    created_at: datetime
    reason: str | None = None
    """Why it was settled as it was, in words; known where the submissions of a task are listed."""
    age: float = 0.0
    """Seconds since it was committed, by the clock that says less; known where open ones are listed."""
    date_added: datetime | None = None
    """That of the task's row then; known where open and unidentified ones are listed."""


def _submission(row: asyncpg.Record) -> Submission:
    return Submission(
        id=SubmissionId(row["id"]),
        task_pk=TaskPk(row["task_pk"]),
        task_type=TaskType(row["task_type"]),
        runner_manager_id=ManagerId(row["runner_manager_id"]),
        attempt=row["attempt"],
        body=row["body"],
        state=SubmissionState(row["state"]),
        posts=row["posts"],
        task_id=None if row["task_id"] is None else RunnerTaskId(row["task_id"]),
        created_at=row["created_at"],
        reason=row.get("reason"),
        age=row.get("age", 0.0),
        date_added=row.get("date_added"),
    )


async def repost(connection: Connection, submission: Submission, *, term: int) -> bool:
    """Record that the same bytes are about to be posted again; False when the intent or the term is over."""
    return await connection.execute(*_QUERIES["repost"](submission=submission.id, term=term)) == "UPDATE 1"


async def discard(connection: Connection, submission: Submission, reason: str) -> None:
    """Close an intent that was surely not carried out; nothing of a first post is kept."""
    await connection.execute(*_QUERIES["discard"](submission=submission.id, reason=reason))


async def withdraw(connection: Connection, submission: Submission, *, term: int) -> bool:
    """Forget an intent of this term that was never posted; False when it is not ours to settle any more."""
    return await connection.execute(*_QUERIES["withdraw"](submission=submission.id, term=term)) == "DELETE 1"


async def close_intent(
    connection: Connection,
    submission: Submission,
    state: SubmissionState,
    *,
    task_id: RunnerTaskId | None = None,
    reason: str | None = None,
) -> bool:
    """Close an open intent; False when it is closed already."""
    status = await connection.execute(
        *_QUERIES["settle"](submission=submission.id, state=state.value, task_id=task_id, reason=reason)
    )
    return status == "UPDATE 1"


async def abandon(connection: Connection, task_pk: TaskPk, reason: str) -> None:
    """Whatever an open intent of this task led to is not wanted any more: a person restarts or ends it.

    A run that a manager made of it belongs to nobody, and its callback is ignored.
    """
    await connection.execute(*_QUERIES["abandon"](task=task_pk, reason=reason))


async def abandon_restarted(connection: Connection) -> None:
    """The same for all tasks that are other requests by now: Pod's own restart tells nobody of it."""
    await connection.execute(*_QUERIES["abandon_restarted"]())


async def forget_waiting(connection: Connection, task_pk: TaskPk) -> None:
    """Let those that waited for the same source run themselves: a person ends this task, not them."""
    await connection.execute(*_QUERIES["forget_waiting"](task=task_pk))


async def lose(connection: Connection, task: Task, run: Run, reason: str) -> None:
    """Record that the accepted submission of a task is lost: the next one must differ in its bytes.

    One that Pod made is not known here yet. It is recorded as the first attempt, for its bytes were those
    that ours would have had.
    """
    lost = {
        "task": task.pk,
        "runner_manager": run.runner_manager_id,
        "task_id": run.task_id,
        "reason": reason,
    }
    if await connection.execute(*_QUERIES["lose"](**lost)) == "UPDATE 0":
        await connection.execute(
            *_QUERIES["add_lost"](**lost, task_type=task.type.value, date_added=task.date_added)
        )


async def open_submissions(connection: Connection, *, ours: datetime | None = None) -> list[Submission]:
    """Every open intent, oldest first; ``ours``: now, by our clock, where their age is to be known."""
    return [_submission(row) for row in await connection.fetch(*_OPEN_ONES(ours=ours))]


async def unidentified(connection: Connection, managers: tuple[ManagerId, ...]) -> list[Submission]:
    """Submissions to these managers whose task id never became known, newest first."""
    return [
        _submission(row) for row in await connection.fetch(*_QUERIES["unidentified"](managers=list(managers)))
    ]


async def with_id(
    connection: Connection, managers: tuple[ManagerId, ...], task_id: RunnerTaskId
) -> Submission | None:
    """The newest submission that one of these managers gave this id."""
    row = await connection.fetchrow(*_QUERIES["with_id"](managers=list(managers), task_id=task_id))
    return None if row is None else _submission(row)


async def attempts(connection: Connection, task: Task) -> int:
    """How often a task was submitted since it was last added to the queue."""
    query = _QUERIES["attempts"](task=task.pk, date_added=task.date_added)
    count: int = await connection.fetchval(*query)
    return count


async def of_task(connection: Connection, task_pk: TaskPk) -> list[Submission]:
    """The submissions of one task, oldest first."""
    return [_submission(row) for row in await connection.fetch(*_QUERIES["of_task"](task=task_pk))]


async def runs_of(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, set[Run]]:
    """What each of these tasks itself was submitted as, as far as the ids are known."""
    runs: dict[TaskPk, set[Run]] = {pk: set() for pk in tasks}
    for row in await connection.fetch(*_QUERIES["runs_of"](tasks=list(tasks))):
        runs[row["task_pk"]].add(Run(row["runner_manager_id"], row["task_id"]))
    return runs


async def taken_for(connection: Connection, waiting: Mapping[TaskPk, datetime]) -> dict[TaskPk, list[Taken]]:
    """What managers took of other tasks while each of these waited for the same source; the latest first.

    Args:
        connection: any.
        waiting: tasks, each with its ``date_added``: a restarted one is another request.
    """
    rows = await connection.fetch(
        *_QUERIES["taken_for"](tasks=list(waiting), dates_added=list(waiting.values()))
    )
    taken: dict[TaskPk, list[Taken]] = {pk: [] for pk in waiting}
    for row in rows:
        run = None if row["task_id"] is None else Run(row["runner_manager_id"], row["task_id"])
        taken[row["waiting"]].append(Taken(TaskPk(row["task_pk"]), run))
    return taken

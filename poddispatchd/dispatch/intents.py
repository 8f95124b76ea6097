"""Whether a task may be submitted now: decided by the statement that commits the intent.

Whatever was read of a task before may be old: somebody may have restarted it, submitted it, locked its row,
or begun to work on its source. One statement looks at all of that and commits the intent, or says what is in
the way; nothing is read again between the decision and the commit.
"""

from collections.abc import Sequence
from enum import StrEnum

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.task import ManagerId, Task, TaskPk, source_of
from poddispatchd.journal.submissions import Submission, SubmissionId, SubmissionState
from poddispatchd.pod.duplicates import SAME_SOURCE

_OPEN = load_queries(__package__, "intents.sql")["open"].fill(same_source=SAME_SOURCE)


class Obstacle(StrEnum):
    """Why no intent was committed."""

    TERM_IS_OVER = "term is over"
    """Another daemon schedules."""
    CHANGED = "changed"
    """The row is not pending as it was read."""
    LOCKED = "locked"
    """Someone else's transaction holds the row."""
    MAY_FOLLOW = "may follow"
    """Its source was worked on for another task while it waited: see ``dispatch/coalescing.py``."""
    AHEAD = "ahead"
    """Another task of its source runs or stands before it."""
    WAIT = "wait"
    """It was put back, to wait."""
    OTHER_ATTEMPT = "other attempt"
    """It was submitted before: the body must say so."""
    UNSETTLED = "unsettled"
    """Its last submission is not settled yet."""


class IntentRequest(Struct, frozen=True):
    """What is to be posted to whom. ``follows_nobody``: the duplicates that ended have been looked at."""

    task: Task
    manager: ManagerId
    payload: Payload
    term: int
    attempt: int = 1
    follows_nobody: bool = False


class Refused(Struct, frozen=True):
    """No intent was committed.

    ``ahead``: the task of the same source that goes first. ``wait``: seconds. ``next_attempt``: the number
    that the body must carry.
    """

    obstacle: Obstacle
    ahead: TaskPk | None = None
    wait: float = 0.0
    next_attempt: int = 1


async def open_intents(
    connection: Connection, requests: Sequence[IntentRequest]
) -> list[Submission | Refused]:
    """Commit an intent for each request, or say why not; in one statement, the answers in their order.

    Args:
        connection: any; the statement is its own transaction unless the caller has opened one.
        requests: of one term, for different tasks.
    """
    bodies = [request.payload.with_attempt(request.attempt).to_bytes() for request in requests]
    sources = [source_of(request.task) for request in requests]
    rows = await connection.fetch(
        *_OPEN(
            tasks=[request.task.pk for request in requests],
            types=[request.task.type.value for request in requests],
            dates_added=[request.task.date_added for request in requests],
            videos=[source["video"] for source in sources],
            recordings=[source["recording"] for source in sources],
            runner_managers=[request.manager for request in requests],
            attempts=[request.attempt for request in requests],
            bodies=bodies,
            follow_nobody=[request.follows_nobody for request in requests],
            term=requests[0].term,
        )
    )
    by_pk = {row["id"]: row for row in rows}
    return [
        _outcome(request, body, by_pk[request.task.pk])
        for request, body in zip(requests, bodies, strict=True)
    ]


def _outcome(request: IntentRequest, body: bytes, row: asyncpg.Record) -> Submission | Refused:
    if row["submission_id"] is None:
        return Refused(
            _obstacle(request, row),
            ahead=None if row["ahead"] is None else TaskPk(row["ahead"]),
            wait=row["wait"] or 0.0,
            next_attempt=row["next_attempt"],
        )
    return Submission(
        id=SubmissionId(row["submission_id"]),
        task_pk=request.task.pk,
        task_type=request.task.type,
        runner_manager_id=request.manager,
        attempt=request.attempt,
        body=body,
        state=SubmissionState.OPEN,
        posts=1,
        task_id=None,
        created_at=row["created_at"],
        date_added=request.task.date_added,
    )


def _obstacle(request: IntentRequest, row: asyncpg.Record) -> Obstacle:
    """The obstacle to be dealt with first."""
    if not row["is_scheduled"]:
        return Obstacle.TERM_IS_OVER
    if not row["is_untouched"]:
        return Obstacle.CHANGED
    if not row["is_free"]:
        return Obstacle.LOCKED
    if row["may_follow"]:
        return Obstacle.MAY_FOLLOW
    if row["ahead"] is not None:
        return Obstacle.AHEAD
    if row["wait"] is not None:
        return Obstacle.WAIT
    if row["next_attempt"] != request.attempt:
        return Obstacle.OTHER_ATTEMPT
    return Obstacle.UNSETTLED

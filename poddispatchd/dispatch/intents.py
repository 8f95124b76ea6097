"""Submissions are written down before they are posted, and until it is known what became of them (I3).

Whatever was read of a task before may be old: somebody may have restarted it, submitted it, locked its row,
or begun to work on its source. One statement looks at all of that and commits the intent, or says what is in
the way; nothing is read again between the decision and the commit.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.config.model import DispatchSettings
from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import load_queries
from poddispatchd.dispatch import waiting_duplicates
from poddispatchd.dispatch.acceptance import SubmissionResult
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.task import ManagerId, Task, TaskPk, TaskStatus, TaskType, source_of
from poddispatchd.errors import RowLockedError
from poddispatchd.journal import scheduling, submissions, unwanted_runs
from poddispatchd.journal.submissions import Submission, SubmissionId, SubmissionState
from poddispatchd.observability.metrics import SubmissionOutcome
from poddispatchd.pod import tasks
from poddispatchd.pod.duplicates import SAME_SOURCE
from poddispatchd.runtime.batching import Batcher
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.transitions import fail_task, ring_for

_OPEN = load_queries(__package__, "intents.sql")["open"].fill(
    same_source=SAME_SOURCE, unnoted=unwanted_runs.UNNOTED
)
_HOLD = 5.0
_MOST_TRIES = 4
"""Statements about one task: the first, as another attempt, after a look at its duplicates, and once more."""

_NOT_NOW = (
    "Its runner manager has no room after the task before it, or did not answer about that one in time."
)

NOT_SCHEDULING = SubmissionResult(
    SubmissionOutcome.UNAVAILABLE, "This daemon does not schedule any more.", hold=1.0
)


class Obstacle(StrEnum):
    """Why no intent was committed."""

    TERM_IS_OVER = "term is over"
    """Another daemon schedules."""
    CHANGED = "changed"
    """The row is not pending as it was read."""
    LOCKED = "locked"
    """Someone else's transaction holds the row."""
    MAY_FOLLOW = "may follow"
    """Its source was worked on for another task while it waited: see ``dispatch/waiting_duplicates.py``."""
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
            # The source of a recording is told apart by its name; audio is made anew with each encoding.
            source_sizes=[
                request.payload.source_size if request.task.type is TaskType.ENCODING else None
                for request in requests
            ],
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
        # Counted before it is made, as each repetition is: after a kill nobody knows whether it was (I3).
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
    # Changed rows are not among the free ones either: one that is as it was read and not free is locked.
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


class IntentLog:
    """The intents of submissions, from before their first post until their answer is known.

    Args:
        database: Pod's.
        settings: the current ones; new tasks are left to Pod for ``grace`` seconds.
        wakeups: of those who tell that a task failed.
        language: of the words that people read in Pod.
    """

    def __init__(
        self,
        database: Database,
        settings: Callable[[], DispatchSettings],
        wakeups: Wakeups,
        language: Callable[[], str],
    ) -> None:
        self._database = database
        self._settings = settings
        self._wakeups = wakeups
        self._language = language
        # Two at once: while one is brought to the disk, the next is carried out.
        self._requests: Batcher[IntentRequest, Submission | Refused] = Batcher(self._open, at_once=2)

    async def open(self, request: IntentRequest) -> Submission | SubmissionResult:
        """Commit an intent, or say why it is not the task's turn.

        Raises:
            RowLockedError: another database session holds the task's row.
        """
        task = request.task
        for _ in range(_MOST_TRIES):
            answer = await self._requests.put(request)
            match answer:
                case Submission():
                    return answer
                # A manager answers the bytes of a run that it still calls running with the id of that run,
                # though its runner may be dead: the bytes of each attempt differ.
                case Refused(obstacle=Obstacle.OTHER_ATTEMPT):
                    refused = await self._refused_parameters(request.manager)
                    payload = request.payload.without(refused)
                    request = replace(request, payload=payload, attempt=answer.next_attempt)
                case Refused(obstacle=Obstacle.MAY_FOLLOW):
                    grace = self._settings().grace
                    if await waiting_duplicates.follow(
                        self._database, task, grace=grace, language=self._language()
                    ):
                        return SubmissionResult(
                            SubmissionOutcome.REFUSED, "Its source was done meanwhile.", is_final=True
                        )
                    # Those that ended do not concern it: the statement must not stop at them again.
                    request = replace(request, follows_nobody=True)
                case Refused():
                    return _not_its_turn(task.pk, answer)
        return SubmissionResult(SubmissionOutcome.UNAVAILABLE, "It changes all the time.", hold=_HOLD)

    async def repost(self, intent: Submission, term: int) -> Task | SubmissionResult:
        """Write down that an intent is posted once more, or say why it is not.

        Returns:
            The task, as its row is now; otherwise why nothing is posted.
        """
        async with self._database.connection() as connection:
            task = await tasks.get_task(connection, intent.task_pk)
            if task is None or task.status != TaskStatus.PENDING:
                # Whatever the manager made of it is found by its callback.
                await submissions.close_intent(
                    connection, intent, SubmissionState.LOST, reason="The row is not pending any more."
                )
                return SubmissionResult(SubmissionOutcome.LOST, is_final=True)
            if not await submissions.repost(connection, intent, term=term):
                return NOT_SCHEDULING
        return task

    async def discard(self, intent: Submission, reason: str) -> None:
        """What was posted was not taken."""
        async with self._database.connection() as connection:
            await submissions.discard(connection, intent, reason)

    async def withdraw(self, intent: Submission, term: int) -> SubmissionResult:
        """Do not post an intent: its manager has no room, or does not answer; its task waits for anybody."""
        async with self._database.connection() as connection:
            if await submissions.withdraw(connection, intent, term=term):
                return SubmissionResult(SubmissionOutcome.FULL, _NOT_NOW)
        return NOT_SCHEDULING

    async def fail(self, task: Task, reason: str) -> None:
        """A pending task can never be submitted: say why wherever Pod's people look."""
        grace, language = self._settings().grace, self._language()
        async with self._database.transaction() as connection:
            if await fail_task(connection, task, reason, language=language):
                await waiting_duplicates.fail_alike(connection, task, reason, grace=grace, language=language)
        ring_for(Decision.FAIL, self._wakeups)

    async def _open(self, requests: Sequence[IntentRequest]) -> Sequence[Submission | Refused]:
        async with self._database.connection() as connection:
            return await open_intents(connection, requests)

    async def _refused_parameters(self, manager: ManagerId) -> frozenset[str]:
        """As of now: what is remembered of managers is read now and then only, and its last run may tell."""
        async with self._database.connection() as connection:
            return await scheduling.refused_parameters(connection, manager)


def _not_its_turn(pk: TaskPk, refused: Refused) -> SubmissionResult:
    """What keeps a task from being submitted now, in words, and for how long it is left alone."""
    match refused.obstacle:
        case Obstacle.TERM_IS_OVER:
            return NOT_SCHEDULING
        case Obstacle.CHANGED:
            words, hold, is_final = "It was changed meanwhile.", 0.0, True
        case Obstacle.AHEAD:
            words, hold, is_final = f"Task {refused.ahead} for the same source goes before it.", 0.0, False
        case Obstacle.WAIT:
            words, hold, is_final = "It is to wait before it is submitted again.", refused.wait, False
        case Obstacle.LOCKED:
            raise RowLockedError("Another database session holds its row: it cannot be submitted.", task=pk)
        case _:
            words, hold, is_final = "Its last submission is not settled yet.", _HOLD, False
    return SubmissionResult(SubmissionOutcome.UNAVAILABLE, words, is_final=is_final, hold=hold)

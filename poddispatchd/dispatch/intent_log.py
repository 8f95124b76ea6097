"""Submissions are written down before they are posted, and until it is known what became of them (I3)."""

from collections.abc import Callable, Collection, Sequence

import structlog
from msgspec.structs import replace

from poddispatchd.config.model import DispatchSettings
from poddispatchd.database.pool import Database
from poddispatchd.dispatch import coalescing
from poddispatchd.dispatch.acceptance import SubmissionResult
from poddispatchd.dispatch.intents import IntentRequest, Obstacle, Refused, open_intents
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import ManagerId, Task, TaskPk, TaskStatus
from poddispatchd.errors import RowLockedError
from poddispatchd.journal import scheduling, submissions
from poddispatchd.journal.submissions import Submission, SubmissionState
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import SubmissionOutcome
from poddispatchd.pod import tasks
from poddispatchd.runtime.batching import Batcher
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.tasks.transitions import fail_task, ring_for

log = structlog.get_logger(__name__)

_GIVE_UP_AFTER = 600.0
"""Seconds for which a submission whose answer was lost is asked for at a manager that cannot be reached."""

_HOLD = 5.0
_MOST_TRIES = 4
"""Statements about one task: the first, as another attempt, after a look at its duplicates, and once more."""

_NOT_NOW = (
    "Its runner manager has no room after the task before it, or did not answer about that one in time."
)

NOT_SCHEDULING = SubmissionResult(
    SubmissionOutcome.UNAVAILABLE, "This daemon does not schedule any more.", hold=1.0
)


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
                case Refused(obstacle=Obstacle.OTHER_ATTEMPT):
                    refused = await self._refused_parameters(request.manager)
                    payload = request.payload.without(refused)
                    request = replace(request, payload=payload, attempt=answer.next_attempt)
                case Refused(obstacle=Obstacle.MAY_FOLLOW):
                    async with self._database.connection() as connection:
                        grace = self._settings().grace
                        if await coalescing.follow(connection, task, grace=grace, language=self._language()):
                            return SubmissionResult(
                                SubmissionOutcome.REFUSED, "Its source was done meanwhile.", is_final=True
                            )
                    request = replace(request, follows_nobody=True)
                case Refused():
                    return _not_its_turn(task.pk, answer)
        return SubmissionResult(SubmissionOutcome.UNAVAILABLE, "It changes all the time.", hold=_HOLD)

    async def unanswered(self, doubtful: Collection[TaskPk]) -> tuple[list[Submission], frozenset[TaskPk]]:
        """The open intents; and which of some tasks without one do not wait any more.

        Args:
            doubtful: tasks of which a submission failed: a callback may have been quicker, or a person.
        """
        async with self._database.connection() as connection:
            found = await submissions.open_submissions(connection)
            gone = set()
            for pk in {*doubtful} - {entry.task_pk for entry in found}:
                task = await tasks.get_task(connection, pk)
                if task is None or task.status != TaskStatus.PENDING:
                    gone.add(pk)
        return found, frozenset(gone)

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

    async def task_of(self, intent: Submission) -> Task | None:
        """The row that an intent is for; None when it is gone."""
        async with self._database.connection() as connection:
            return await tasks.get_task(connection, intent.task_pk)

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

    async def give_up(self, intent: Submission, reason: str) -> None:
        """Close an intent whose answer can never be had."""
        async with self._database.connection() as connection:
            await submissions.close_intent(connection, intent, SubmissionState.LOST, reason=reason)
        log.warning(Event.SUBMISSION_LOST, task=intent.task_pk, reason=reason)

    async def fail(self, task: Task, reason: str) -> None:
        """A pending task can never be submitted: say why wherever Pod's people look."""
        grace, language = self._settings().grace, self._language()
        async with self._database.transaction() as connection:
            if await fail_task(connection, task, reason, language=language):
                await coalescing.fail_alike(connection, task, reason, grace=grace, language=language)
        ring_for(Decision.FAIL, self._wakeups)

    async def _open(self, requests: Sequence[IntentRequest]) -> Sequence[Submission | Refused]:
        async with self._database.connection() as connection:
            return await open_intents(connection, requests)

    async def _refused_parameters(self, manager: ManagerId) -> frozenset[str]:
        """As of now: what is remembered of managers is read now and then only, and its last run may tell."""
        async with self._database.connection() as connection:
            return await scheduling.refused_parameters(connection, manager)


def is_hopeless(intent: Submission) -> bool:
    """Whether an intent is open for so long that its task had better be given to another manager.

    Should the first one have taken it all the same, its callback finds the row taken and is ignored.
    """
    # One from the future: the database's clock was set back, and nothing is known of its age.
    return not -_GIVE_UP_AFTER <= intent.age <= _GIVE_UP_AFTER


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

"""One submission from the row to the stored task id: intent, POST, compare-and-set, or back again."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from poddispatchd.dispatch import coalescing
from poddispatchd.dispatch.acceptance import Acceptance, SubmissionResult
from poddispatchd.dispatch.intents import IntentRequest, Obstacle, Refused, open_intents
from poddispatchd.dispatch.payloads import Payloads
from poddispatchd.dispatch.preparations import Preparations
from poddispatchd.dispatch.source_files import SourceFiles
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskPk, TaskStatus
from poddispatchd.errors import (
    AnswerLostError,
    MediaMissingError,
    PayloadRefusedError,
    RowLockedError,
    RunnerManagerBusyError,
    RunnerManagerError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    RunnerTaskUnknownError,
    UnsubmittableError,
    UnusableAnswerError,
)
from poddispatchd.journal import scheduling, submissions
from poddispatchd.journal.submissions import Submission, SubmissionId, SubmissionState
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import SubmissionOutcome
from poddispatchd.parts import Parts
from poddispatchd.pod import tasks
from poddispatchd.runner.records import Accepted
from poddispatchd.runtime.batching import Batcher
from poddispatchd.tasks.acceptance import AcceptedRun
from poddispatchd.tasks.transitions import fail_task, ring_for

log = structlog.get_logger(__name__)

_GIVE_UP_AFTER = 600.0
"""Seconds for which a submission whose answer was lost is asked for at a manager that cannot be reached."""


_HOLD = 5.0
_MOST_TRIES = 4
"""Statements about one task: the first, as another attempt, after a look at its duplicates, and once more."""

_NOBODYS = RunnerTaskId("00000000-0000-0000-0000-000000000000")
"""The id of no task: asking for it costs a manager next to nothing, and shows that it answers."""

_NOT_SCHEDULING = SubmissionResult(
    SubmissionOutcome.UNAVAILABLE, "This daemon does not schedule any more.", hold=1.0
)


class Submitter:
    """Submits one task to one runner manager; which task and which manager is the dispatcher's choice.

    What several submissions do at the same moment they do together: their sources are read in one statement,
    their intents committed in one, their answers stored in one transaction.
    """

    def __init__(self, parts: Parts, *, disk: SourceFiles | None = None) -> None:
        self._parts = parts
        self._acceptance = Acceptance(parts)
        self._payloads = Payloads(parts, disk=disk)
        self._preparations = Preparations(self._payloads, parts.clock)
        self._intents: Batcher[IntentRequest, Submission | Refused] = Batcher(self._open, at_once=2)
        self._answers: dict[SubmissionId, Accepted] = {}
        """What managers answered, until it is stored: a database that is away must not let us post again."""

    async def submit(
        self, task: Task, site: Site, manager_id: ManagerId, answered: Callable[[], None]
    ) -> SubmissionResult:
        """Submit a pending task.

        Args:
            task: the task.
            site: for which it is done.
            manager_id: who is asked.
            answered: called when the manager has taken it: another one may be sent there while its id is
                stored.

        Raises:
            DatabaseError: the database went away, or refuses a statement about this task; an intent may be
                open.
        """
        parts = self._parts
        manager, term = parts.registry.get(manager_id), parts.session.term
        if manager is None or term is None:
            return _NOT_SCHEDULING
        try:
            prepared = await self._preparations.of(task, site)
        except UnsubmittableError as error:
            await self.fail(task, str(error))
            return SubmissionResult(SubmissionOutcome.REFUSED, str(error), is_final=True)
        except MediaMissingError as error:
            return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error), hold=_HOLD)
        payload = prepared.payload.without(parts.registry.refused_parameters(manager_id))
        intent = await self._intend(IntentRequest(task, manager.id, payload, term))
        if isinstance(intent, SubmissionResult):
            return intent
        for warning in payload.warnings:
            log.warning(Event.SUBMISSION_ADAPTED, task=task.pk, reason=warning)
        return await self._post(task, manager, intent, prepared.output_directory, answered)

    def prepare(self, task: Task, site: Site) -> None:
        """The turn of this task comes soon: read what it needs."""
        self._preparations.begin(task, site)

    async def _intend(self, request: IntentRequest) -> Submission | SubmissionResult:
        """Commit the intent, or say why it is not the task's turn."""
        task = request.task
        for _ in range(_MOST_TRIES):
            answer = await self._intents.put(request)
            match answer:
                case Submission():
                    return answer
                case Refused(obstacle=Obstacle.OTHER_ATTEMPT):
                    refused = await self._refused_parameters(request.manager)
                    payload = request.payload.without(refused)
                    request = replace(request, payload=payload, attempt=answer.next_attempt)
                case Refused(obstacle=Obstacle.MAY_FOLLOW):
                    async with self._parts.database.connection() as connection:
                        if await coalescing.follow(connection, self._parts, task):
                            return SubmissionResult(
                                SubmissionOutcome.REFUSED, "Its source was done meanwhile.", is_final=True
                            )
                    request = replace(request, follows_nobody=True)
                case Refused():
                    return _not_its_turn(task.pk, answer)
        return SubmissionResult(SubmissionOutcome.UNAVAILABLE, "It changes all the time.", hold=_HOLD)

    async def _refused_parameters(self, manager: ManagerId) -> frozenset[str]:
        """As of now: what is remembered of managers is read now and then only, and its last run may tell."""
        async with self._parts.database.connection() as connection:
            return await scheduling.refused_parameters(connection, manager)

    async def _open(self, requests: Sequence[IntentRequest]) -> Sequence[Submission | Refused]:
        async with self._parts.database.connection() as connection:
            return await open_intents(connection, requests)

    async def repost(self, intent: Submission, answered: Callable[[], None]) -> SubmissionResult:
        """Post the bytes of an open intent again: the answer names the task if it was accepted before.

        Raises:
            DatabaseError: as for ``submit``.
        """
        parts = self._parts
        manager = parts.registry.get(intent.runner_manager_id)
        term = parts.session.term
        if manager is None or term is None:
            return _NOT_SCHEDULING
        if (accepted := self._answers.get(intent.id)) is not None:
            async with parts.database.connection() as connection:
                task = await tasks.get_task(connection, intent.task_pk)
            if task is not None:
                directory = await self._payloads.directory_of(task)
                run = AcceptedRun(task, manager, intent, accepted.task_id, directory)
                return await self._store(run, accepted.status, alone=True)
        try:
            # Managers recognise a request in flight, but not one that still stands in the queue beside its
            # repetition, as after they were frozen: whoever answers has emptied that queue.
            await parts.client.status(manager, _NOBODYS)
        except RunnerTaskUnknownError:
            pass
        except RunnerManagerError as error:
            parts.registry.learn(manager.id, error)
            return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error))
        async with parts.database.connection() as connection:
            task = await tasks.get_task(connection, intent.task_pk)
            if task is None or task.status != TaskStatus.PENDING:
                # Whatever the manager made of it is found by its callback.
                await submissions.close_intent(
                    connection, intent, SubmissionState.LOST, reason="The row is not pending any more."
                )
                return SubmissionResult(SubmissionOutcome.LOST, is_final=True)
            if not await submissions.repost(connection, intent, term=term):
                return _NOT_SCHEDULING
        directory = await self._payloads.directory_of(task)
        return await self._post(task, manager, replace(intent, posts=intent.posts + 1), directory, answered)

    def is_hopeless(self, intent: Submission) -> bool:
        """Whether an intent is open for so long that its task had better be given to another manager.

        Should the first one have taken it all the same, its callback finds the row taken and is ignored.
        """
        # One from the future: the database's clock was set back, and nothing is known of its age.
        return not -_GIVE_UP_AFTER <= intent.age <= _GIVE_UP_AFTER

    async def give_up(self, intent: Submission, reason: str) -> None:
        """Close an open intent whose answer can never be had."""
        async with self._parts.database.connection() as connection:
            await submissions.close_intent(connection, intent, SubmissionState.LOST, reason=reason)
        log.warning(Event.SUBMISSION_LOST, task=intent.task_pk, reason=reason)

    async def fail(self, task: Task, reason: str) -> None:
        """A pending task can never be submitted: say why wherever Pod's people look."""
        async with self._parts.database.transaction() as connection:
            if await fail_task(connection, task, reason):
                await coalescing.fail_alike(connection, self._parts, task, reason)
        ring_for(Decision.FAIL, self._parts.wakeups)

    # --- the way to the manager -------------------------------------------------------------------------

    async def _post(
        self,
        task: Task,
        manager: RunnerManager,
        intent: Submission,
        directory: str,
        answered: Callable[[], None],
    ) -> SubmissionResult:
        parts = self._parts
        begun = parts.clock.monotonic()
        parts.registry.posts(manager.id)
        try:
            accepted = await parts.client.execute(manager, intent.body)
        except RunnerManagerError as error:
            result = await self._not_accepted(task, manager, intent, error)
        else:
            parts.metrics.submission_duration.observe(parts.clock.monotonic() - begun)
            parts.registry.learn(manager.id, None, kind=task.type)
            parts.registry.accepted(manager.id, task.type)
            answered()
            self._answers[intent.id] = accepted
            run = AcceptedRun(task, manager, intent, accepted.task_id, directory)
            return await self._store(run, accepted.status)
        parts.metrics.submission_duration.observe(parts.clock.monotonic() - begun)
        parts.metrics.submissions.labels(manager.name, task.type, result.outcome).inc()
        return result

    async def _store(self, run: AcceptedRun, status: str, *, alone: bool = False) -> SubmissionResult:
        result = await self._acceptance.store(run, status, alone=alone)
        self._answers.pop(run.intent.id, None)
        self._parts.metrics.submissions.labels(run.manager.name, run.task.type, result.outcome).inc()
        return result

    async def _not_accepted(
        self, task: Task, manager: RunnerManager, intent: Submission, error: RunnerManagerError
    ) -> SubmissionResult:
        parts = self._parts
        parts.registry.learn(manager.id, error, kind=task.type)
        outcome = _outcome(error)
        # That this post was refused says about an earlier one only what the manager says after it has looked
        # for the same bytes in flight.
        if intent.posts > 1 and not isinstance(error, (RunnerManagerFullError, PayloadRefusedError)):
            outcome = SubmissionOutcome.LOST
        if outcome is SubmissionOutcome.LOST:
            log.warning(Event.SUBMISSION_LOST, task=task.pk, runner_manager=manager.name, reason=str(error))
            return SubmissionResult(outcome, str(error))
        async with parts.database.connection() as connection:
            await submissions.discard(connection, intent, str(error))
        if outcome is SubmissionOutcome.REFUSED:
            log.error(Event.SUBMISSION_REFUSED, task=task.pk, runner_manager=manager.name, reason=str(error))
        if isinstance(error, UnusableAnswerError) and error.orphan is not None:
            await self._acceptance.stop(manager, RunnerTaskId(error.orphan))
        return SubmissionResult(outcome, str(error))


def _not_its_turn(pk: TaskPk, refused: Refused) -> SubmissionResult:
    """What keeps a task from being submitted now, in words, and for how long it is left alone."""
    match refused.obstacle:
        case Obstacle.TERM_IS_OVER:
            return _NOT_SCHEDULING
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


def _outcome(error: RunnerManagerError) -> SubmissionOutcome:
    match error:
        case RunnerManagerFullError() | RunnerManagerBusyError():
            return SubmissionOutcome.FULL
        case AnswerLostError():
            return SubmissionOutcome.LOST
        case PayloadRefusedError():
            return SubmissionOutcome.REFUSED
        case RunnerManagerMisconfiguredError():
            return SubmissionOutcome.MISCONFIGURED
        case _:
            return SubmissionOutcome.UNAVAILABLE

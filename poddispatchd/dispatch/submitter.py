"""One submission from the row to the stored task id: intent, POST, compare-and-set, or back again."""

from dataclasses import replace

import structlog

from poddispatchd.dispatch import duplicates
from poddispatchd.dispatch.acceptance import Acceptance, SubmissionResult
from poddispatchd.dispatch.payloads import Payloads
from poddispatchd.dispatch.source_files import SourceFiles
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskStatus
from poddispatchd.errors import (
    AnswerLostError,
    MediaMissingError,
    PayloadRefusedError,
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
from poddispatchd.pod.duplicates import task_ahead, waiting_duplicates
from poddispatchd.runner.records import Accepted
from poddispatchd.tasks.transitions import fail_task, ring_for

log = structlog.get_logger(__name__)

_GIVE_UP_AFTER = 600.0
"""Seconds for which a submission whose answer was lost is asked for at a manager that cannot be reached."""


_HOLD = 5.0

_NOBODYS = RunnerTaskId("00000000-0000-0000-0000-000000000000")
"""The id of no task: asking for it costs a manager next to nothing, and shows that it answers."""

_NOT_SCHEDULING = SubmissionResult(
    SubmissionOutcome.UNAVAILABLE, "This daemon does not schedule any more.", hold=1.0
)


class Submitter:
    """Submits one task to one runner manager; which task and which manager is the dispatcher's choice."""

    def __init__(self, parts: Parts, *, disk: SourceFiles | None = None) -> None:
        self._parts = parts
        self._acceptance = Acceptance(parts)
        self._payloads = Payloads(parts, disk=disk)
        self._answers: dict[SubmissionId, Accepted] = {}
        """What managers answered, until it is stored: a database that is away must not let us post again."""

    async def submit(self, task: Task, site: Site, manager_id: ManagerId) -> SubmissionResult:
        """Submit a pending task.

        Raises:
            DatabaseUnavailableError: the database went away; an intent may be open.
        """
        parts = self._parts
        manager = parts.registry.get(manager_id)
        term = parts.session.term
        if manager is None or term is None:
            return _NOT_SCHEDULING
        try:
            payload = await self._payloads.of(task, site)
        except UnsubmittableError as error:
            await self.fail(task, str(error))
            return SubmissionResult(SubmissionOutcome.REFUSED, str(error), is_final=True)
        except MediaMissingError as error:
            return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error), hold=_HOLD)
        async with parts.database.connection() as connection:
            if await duplicates.follow(connection, parts, task):
                return SubmissionResult(
                    SubmissionOutcome.REFUSED, "Its source was done meanwhile.", is_final=True
                )
            # The page it stood on may be older than a look at a slow disk.
            if (other := await task_ahead(connection, task)) is not None:
                return SubmissionResult(
                    SubmissionOutcome.UNAVAILABLE, f"Task {other} for the same source goes before it."
                )
            # Held by somebody, it is about to be changed: then nothing is posted.
            row = await tasks.get_free_task(connection, task.pk)
            if row is None or (row.status, row.task_id) != (task.status, task.task_id):
                return SubmissionResult(
                    SubmissionOutcome.UNAVAILABLE, "It was changed meanwhile.", is_final=True
                )
            # It may have been put back by another daemon since this one read which tasks wait.
            if (wait := await scheduling.wait_of(connection, task.pk, task.date_added)) is not None:
                return SubmissionResult(
                    SubmissionOutcome.UNAVAILABLE,
                    "It is to wait before it is submitted again.",
                    hold=wait.seconds,
                )
            attempts = await submissions.attempts(connection, task)
            payload = payload.with_attempt(attempts.ever + 1)
            intent = await submissions.open_submission(
                connection,
                task,
                manager.id,
                attempt=attempts.ever + 1,
                body=payload.to_bytes(),
                term=term,
                waiting=await waiting_duplicates(connection, task),
            )
        if intent is None:
            return SubmissionResult(
                SubmissionOutcome.UNAVAILABLE, "Its last submission is not settled yet.", hold=_HOLD
            )
        for warning in payload.warnings:
            log.warning(Event.SUBMISSION_ADAPTED, task=task.pk, reason=warning)
        return await self._post(task, manager, intent)

    async def repost(self, intent: Submission) -> SubmissionResult:
        """Post the bytes of an open intent again: the answer names the task if it was accepted before."""
        parts = self._parts
        manager = parts.registry.get(intent.runner_manager_id)
        term = parts.session.term
        if manager is None or term is None:
            return _NOT_SCHEDULING
        if (accepted := self._answers.get(intent.id)) is not None:
            async with parts.database.connection() as connection:
                task = await tasks.get_task(connection, intent.task_pk)
            if task is not None:
                return await self._store(task, manager, intent, accepted)
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
                await submissions.settle(
                    connection, intent, SubmissionState.LOST, reason="The row is not pending any more."
                )
                return SubmissionResult(SubmissionOutcome.LOST, is_final=True)
            if not await submissions.repost(connection, intent, term=term):
                return _NOT_SCHEDULING
        return await self._post(task, manager, replace(intent, posts=intent.posts + 1))

    def is_hopeless(self, intent: Submission) -> bool:
        """Whether an intent is open for so long that its task had better be given to another manager.

        Should the first one have taken it all the same, its callback finds the row taken and is ignored.
        """
        return intent.age > _GIVE_UP_AFTER

    async def give_up(self, intent: Submission, reason: str) -> None:
        """Close an open intent whose answer can never be had."""
        async with self._parts.database.connection() as connection:
            await submissions.settle(connection, intent, SubmissionState.LOST, reason=reason)
        log.warning(Event.SUBMISSION_LOST, task=intent.task_pk, reason=reason)

    async def fail(self, task: Task, reason: str) -> None:
        """A pending task can never be submitted: say why wherever Pod's people look."""
        async with self._parts.database.transaction() as connection:
            if await fail_task(connection, task, reason):
                await duplicates.fail_alike(connection, self._parts, task, reason)
        ring_for(Decision.FAIL, self._parts.wakeups)

    # --- the way to the manager -------------------------------------------------------------------------

    async def _post(self, task: Task, manager: RunnerManager, intent: Submission) -> SubmissionResult:
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
            self._answers[intent.id] = accepted
            return await self._store(task, manager, intent, accepted)
        parts.metrics.submission_duration.observe(parts.clock.monotonic() - begun)
        parts.metrics.submissions.labels(manager.name, task.type, result.outcome).inc()
        return result

    async def _store(
        self, task: Task, manager: RunnerManager, intent: Submission, accepted: Accepted
    ) -> SubmissionResult:
        result = await self._acceptance.store(task, manager, intent, accepted)
        self._answers.pop(intent.id, None)
        self._parts.metrics.submissions.labels(manager.name, task.type, result.outcome).inc()
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

"""One submission from the row to the stored task id: intent, POST, compare-and-set, or back again."""

import structlog
from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.dispatch.acceptance import Acceptance, SubmissionResult
from poddispatchd.dispatch.intents import NOT_SCHEDULING, IntentLog, IntentRequest
from poddispatchd.dispatch.outstanding import Outstanding
from poddispatchd.dispatch.payloads import Payloads, Preparations
from poddispatchd.dispatch.submission_turns import SubmissionTurn
from poddispatchd.dispatch.waiting_tasks import Waiting
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import RunnerTaskId, Task
from poddispatchd.errors import (
    AnswerLostError,
    MediaMissingError,
    PayloadRefusedError,
    RunnerManagerBusyError,
    RunnerManagerError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    UnsubmittableError,
    UnusableAnswerError,
)
from poddispatchd.journal.submissions import Submission, SubmissionId
from poddispatchd.managers.reachability import Reachability
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics, SubmissionOutcome
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.request_errors import is_silent
from poddispatchd.runtime.leadership import Leadership
from poddispatchd.tasks.accepted_runs import AcceptedRun

log = structlog.get_logger(__name__)

_HOLD = 5.0


class Submitter:
    """Submits one task to one runner manager; which task and which manager is the dispatcher's choice.

    What several submissions do at the same moment they do together: their sources are read in one statement,
    their intents committed in one, their answers stored in one transaction.

    Args:
        leadership: whose term it is.
        client: posts.
        registry: learns how the managers answer.
        payloads: what is posted.
        intents: are committed before anything is posted.
        acceptance: stores what was accepted.
        reachability: finds out who can be reached when one cannot.
        metrics: of the daemon.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        client: RunnerClient,
        registry: ManagerRegistry,
        payloads: Payloads,
        intents: IntentLog,
        acceptance: Acceptance,
        reachability: Reachability,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._leadership = leadership
        self._client = client
        self._registry = registry
        self._payloads = payloads
        self._preparations = Preparations(payloads, clock)
        self._intents = intents
        self._acceptance = acceptance
        self._reachability = reachability
        self._metrics = metrics
        self._clock = clock
        self.outstanding = Outstanding()

    async def submit(self, task: Task, site: Site, turn: SubmissionTurn) -> SubmissionResult:
        """Submit a pending task.

        Args:
            task: the task.
            site: for which it is done.
            turn: at the manager that is asked, whether it has begun or not; it ends when the manager has
                taken the task: another one may be sent there while its id is stored.

        Raises:
            DatabaseError: the database went away, or refuses a statement about this task; an intent may be
                open.
        """
        term = self._leadership.term
        if term is None:
            return NOT_SCHEDULING
        try:
            payload = await self._preparations.of(task, site)
        except UnsubmittableError as error:
            await self._intents.fail(task, str(error))
            return SubmissionResult(SubmissionOutcome.REFUSED, str(error), is_final=True)
        except MediaMissingError as error:
            return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error), hold=_HOLD)
        # Runners fail a task over a parameter that they do not know, as ``source_language`` before 1.5.0.
        payload = payload.without(self._registry.refused_parameters(turn.manager))
        intent = await self._intents.open(IntentRequest(task, turn.manager, payload, term))
        if isinstance(intent, SubmissionResult):
            return intent
        if not await turn.comes() or (manager := self._registry.get(turn.manager)) is None:
            self.outstanding.leaves_unposted(intent)
            return await self._withdraw(intent, term)
        if self._leadership.term != term:
            return NOT_SCHEDULING  # whoever schedules now settles the intent
        for warning in payload.warnings:
            log.warning(Event.SUBMISSION_ADAPTED, task=task.pk, reason=warning)
        return await self._post(task, manager, intent, payload.output_directory, turn)

    async def stop(self) -> None:
        """Ask no manager any more whether it can be reached, and begin the logs that wait."""
        await self._reachability.stop()
        await self._acceptance.finish()

    def prepare(self, waiting: Waiting) -> None:
        """The turn of this task comes soon: read what it needs."""
        self._preparations.begin(waiting.item.task, waiting.site)

    def is_prepared(self, waiting: Waiting) -> bool:
        """Whether what this task needs is being read, or was just now."""
        return self._preparations.has(waiting.item.task, waiting.site)

    async def store_answer(self, intent: SubmissionId, _turn: SubmissionTurn) -> SubmissionResult:
        """Store what was answered; once more, perhaps: the database may have taken it and not said so.

        Raises:
            DatabaseError: as for ``submit``.
        """
        return await self._store(intent, alone=True)

    async def withdraw(self, intent: Submission, _turn: SubmissionTurn) -> SubmissionResult:
        """Withdraw such an intent: its task waits for anybody.

        Raises:
            DatabaseError: as for ``submit``.
        """
        term = self._leadership.term
        return NOT_SCHEDULING if term is None else await self._withdraw(intent, term)

    async def _withdraw(self, intent: Submission, term: int) -> SubmissionResult:
        result = await self._intents.withdraw(intent, term)
        self.outstanding.forget([intent.id])
        return result

    async def repost(self, intent: Submission, turn: SubmissionTurn) -> SubmissionResult:
        """Post the bytes of an open intent again: the answer names the task if it was accepted before.

        Raises:
            DatabaseError: as for ``submit``.
        """
        manager = self._registry.get(intent.runner_manager_id)
        term = self._leadership.term
        if manager is None or term is None:
            return NOT_SCHEDULING
        try:
            # Managers recognise a request in flight, but not one that still stands in the queue beside its
            # repetition, as after they were frozen: whoever answers has emptied that queue.
            await self._client.ping(manager)
        except RunnerManagerError as error:
            self._registry.learn(manager, error)
            return SubmissionResult(SubmissionOutcome.UNAVAILABLE, str(error))
        found = await self._intents.repost(intent, term)
        if isinstance(found, SubmissionResult):
            return found
        directory = await self._payloads.directory_of(found)
        return await self._post(found, manager, replace(intent, posts=intent.posts + 1), directory, turn)

    # --- the way to the manager -------------------------------------------------------------------------

    async def _post(
        self,
        task: Task,
        manager: RunnerManager,
        intent: Submission,
        directory: str,
        turn: SubmissionTurn,
    ) -> SubmissionResult:
        begun = self._clock.monotonic()
        self._registry.posts(manager.id)
        turn.is_posted = True
        self.outstanding.posts(intent, begun)
        try:
            accepted = await self._client.execute(manager, intent.body)
        except RunnerManagerError as error:
            if not isinstance(error, AnswerLostError):
                self.outstanding.refused(intent)
            result = await self._not_accepted(task, manager, intent, error)
        else:
            self._metrics.submission_duration.observe(self._clock.monotonic() - begun)
            self._registry.learn(manager, None, kind=task.type)
            self._registry.accepted(manager.id, task.type)
            # First remembered, then the turn is over: from here on the manager may get its next task while
            # the id is stored, and a database that is away must not make us ask for this one again.
            self.outstanding.accepted(
                AcceptedRun(task, manager, intent, accepted.task_id, directory, status=accepted.status)
            )
            turn.end()
            return await self._store(intent.id)
        self._metrics.submission_duration.observe(self._clock.monotonic() - begun)
        self._metrics.submissions.labels(manager.name, task.type, result.outcome).inc()
        return result

    async def _store(self, intent: SubmissionId, *, alone: bool = False) -> SubmissionResult:
        run = self.outstanding.answer(intent)
        result = await self._acceptance.store(run, alone=alone)
        self.outstanding.stored(intent)
        self._metrics.submissions.labels(run.manager.name, run.task.type, result.outcome).inc()
        return result

    async def _not_accepted(
        self, task: Task, manager: RunnerManager, intent: Submission, error: RunnerManagerError
    ) -> SubmissionResult:
        self._registry.learn(manager, error, kind=task.type)
        outcome = _outcome(error)
        # That this post was refused says about an earlier one only what the manager says after it has looked
        # for the same bytes in flight.
        if intent.posts > 1 and not isinstance(error, (RunnerManagerFullError, PayloadRefusedError)):
            outcome = SubmissionOutcome.LOST
        if outcome is SubmissionOutcome.LOST:
            log.warning(Event.SUBMISSION_LOST, task=task.pk, runner_manager=manager.name, reason=str(error))
            return SubmissionResult(outcome, str(error))
        # Only now that the manager surely has not taken it: without an intent nobody would look for its run.
        await self._intents.discard(intent, str(error))
        self.outstanding.forget([intent.id])
        if outcome is SubmissionOutcome.REFUSED:
            log.error(Event.SUBMISSION_REFUSED, task=task.pk, runner_manager=manager.name, reason=str(error))
        if isinstance(error, UnusableAnswerError) and error.orphan is not None:
            await self._acceptance.stop(task.pk, manager, RunnerTaskId(error.orphan))
        # Whoever else cannot be reached would cost a task the time to connect, one manager after the other.
        if is_silent(error):
            await self._reachability.look_around(manager.id)
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

"""Submissions whose answer is not known: their bytes are posted again until it is (invariant I3)."""

from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import TypeAlias

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.acceptance import SubmissionResult
from poddispatchd.dispatch.submission_backoff import SubmissionBackoff
from poddispatchd.dispatch.submission_turns import SubmissionTurn, SubmissionTurns
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.dispatch.waiting_tasks import TaskMemories
from poddispatchd.domain.task import ManagerId, TaskPk, TaskStatus
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission, SubmissionId, SubmissionState
from poddispatchd.managers.rows import ManagerRows
from poddispatchd.observability.events import Event
from poddispatchd.pod import tasks

log = structlog.get_logger(__name__)

Work: TypeAlias = Callable[[SubmissionTurn], Coroutine[None, None, SubmissionResult]]
"""A submission, which ends its turn when its manager has answered."""

_GIVE_UP_AFTER = 600.0
"""Seconds for which a submission whose answer was lost is asked for at a manager that cannot be reached.

They are counted by this daemon while it asks. How old the submission is says little: after a weekend
without power, or when a clock was put forward, managers may need a moment more than the daemon, and then go
on with what they took."""

_MAY_BE_AT_WORK = 30.0
"""Seconds after a post until which its manager may still look for a runner: it asks all of them, one after
the other, for up to 5 s each. Only then it knows the same bytes for those of its own run.

Whoever posted: what a proxy before it answers meanwhile, or a connection that breaks, does not end that."""


class Unanswered:
    """The tasks with such a submission; they are offered to nobody else meanwhile.

    Args:
        managers: who can be asked.
        turns: whose turn it is.
        submitter: posts again.
        database: Pod's.
        backoff: which tasks are left alone.
        memories: what is remembered of tasks that wait.
        clock: of the daemon.
        single_pass: it is no daemon, and asks for a moment only: the age of a submission has to do.
    """

    def __init__(
        self,
        *,
        managers: ManagerRows,
        turns: SubmissionTurns,
        submitter: Submitter,
        database: Database,
        backoff: SubmissionBackoff,
        memories: TaskMemories,
        clock: Clock,
        single_pass: bool = False,
    ) -> None:
        self._managers = managers
        self._registry = managers.registry
        self._turns = turns
        self._submitter = submitter
        self._outstanding = submitter.outstanding
        self._database = database
        self._backoff = backoff
        self._memories = memories
        self._clock = clock
        self._single_pass = single_pass
        self._asked_for: dict[SubmissionId, float] = {}
        """For how many seconds this daemon has asked for the answer of each open intent."""
        self._seen: dict[SubmissionId, tuple[int, float]] = {}
        """How often each open intent had been posted, and when that was seen first."""
        self._last_look: tuple[int, float] | None = None
        """In which term it looked last, and when."""
        self.tasks: frozenset[TaskPk] = frozenset()
        self.managers: frozenset[ManagerId] = frozenset()
        """Who may have one of them."""
        self.must_look = True
        """Whether there may be more than is known here."""
        self._added: dict[TaskPk, ManagerId | None] = {}
        """Those that were added since it was last looked at."""
        self.next_post: float | None = None
        """When a manager can be asked again that may still be at work on the last post."""

    def add(self, pk: TaskPk, manager: ManagerId | None = None) -> None:
        """The intent of this task may be open, with this manager if that is known."""
        self.must_look = True
        self._added[pk] = manager
        self.tasks |= {pk}
        if manager is not None:
            self.managers |= {manager}

    async def settle(
        self,
        in_hand: Collection[TaskPk],
        hand_out: Callable[[TaskPk, SubmissionTurn, Work], None],
        *,
        term: int,
    ) -> None:
        """Have the bytes of open intents posted again where that can be done now.

        The manager answers the same bytes with the same id while the task is in flight.

        Args:
            in_hand: tasks whose submission is in progress.
            hand_out: lets one submission run on its own.
            term: of this daemon. Between two of its terms it did not ask: the database was away, too.
        """
        # What is met while we look, in a submission that ends meanwhile, is looked at the next time.
        self.must_look, self._added = False, {}
        try:
            await self._settle(in_hand, hand_out, term)
        except BaseException:
            self.must_look = True
            raise

    async def _settle(
        self, in_hand: Collection[TaskPk], hand_out: Callable[[TaskPk, SubmissionTurn, Work], None], term: int
    ) -> None:
        backoff, locked = self._backoff.of_tasks, self._backoff.locked
        remembered = self._outstanding.remembered
        still_open, gone = await self._open(backoff.tasks - {*in_hand})
        self._outstanding.forget(remembered - {submission.id for submission in still_open})
        self._count(still_open, term)
        for pk in gone:
            # Its row was written, by whomever: the database takes such rows.
            self._backoff.went_well(pk, is_stored=True)
        answered = {run.intent.id: run.task.pk for run in self._outstanding.answers}
        self._store_answers(in_hand, hand_out)
        unknown = {
            entry.task_pk: entry
            for entry in still_open
            if entry.task_pk not in in_hand and entry.id not in answered
        }
        self.next_post = None
        for pk, submission in list(unknown.items()):
            manager = submission.runner_manager_id
            if pk in locked or not backoff.is_due(pk):
                continue
            # Before all else: no manager has to be there to withdraw what was never posted.
            if self._outstanding.is_unposted(submission):
                hand_out(pk, self._turns.none(manager), partial(self._submitter.withdraw, submission))
            elif await self._managers.find(manager) is None:
                await self._give_up(submission, "Its runner manager is gone from Pod.")
                del unknown[pk]
            elif self._registry.is_free(manager) and not self._is_at_work(submission):
                hand_out(pk, self._turns.take(manager), partial(self._submitter.repost, submission))
            elif self._registry.is_down(manager) and self._is_hopeless(submission):
                await self._give_up(submission, "Its runner manager has been down for too long.")
                del unknown[pk]
        self.tasks = frozenset(unknown) | self._added.keys() | frozenset(answered.values())
        self.managers = frozenset(
            [submission.runner_manager_id for submission in unknown.values()]
            + [manager for manager in self._added.values() if manager is not None]
        )
        backoff.forget(lambda pk: pk not in self.tasks and self._memories.get(pk) is None)
        self.must_look = self.must_look or bool(unknown or backoff.tasks or answered)

    def _store_answers(
        self, in_hand: Collection[TaskPk], hand_out: Callable[[TaskPk, SubmissionTurn, Work], None]
    ) -> None:
        """Store what managers answered while the database was away, or did not say whether it took it.

        Whether the intents are still open or not: that commit may have settled them. And whether the managers
        are there or not: they are asked nothing.
        """
        for run in self._outstanding.answers:
            pk = run.task.pk
            if pk not in in_hand and pk not in self._backoff.locked and self._backoff.of_tasks.is_due(pk):
                work = partial(self._submitter.store_answer, run.intent.id)
                hand_out(pk, self._turns.none(run.manager.id), work)

    def _count(self, still_open: Collection[Submission], term: int) -> None:
        """Add the time since the last look to that for which answers were asked for, and note new posts."""
        now, last = self._clock.monotonic(), self._last_look
        passed = now - last[1] if last is not None and last[0] == term else 0.0
        before = {number: seconds + passed for number, seconds in self._asked_for.items()}
        self._asked_for = {entry.id: before.get(entry.id, 0.0) for entry in still_open}
        known, self._seen = self._seen, {}
        for entry in still_open:
            seen = known.get(entry.id)
            self._seen[entry.id] = seen if seen is not None and seen[0] == entry.posts else (entry.posts, now)
        self._last_look = term, now

    async def _open(self, doubtful: Collection[TaskPk]) -> tuple[list[Submission], frozenset[TaskPk]]:
        """The open intents; and which of some tasks without one do not wait any more.

        Args:
            doubtful: tasks of which a submission failed: a callback may have been quicker, or a person.
        """
        async with self._database.connection() as connection:
            await submissions.abandon_restarted(connection)
            found = await submissions.open_submissions(connection, ours=self._clock.now())
            gone = set()
            for pk in {*doubtful} - {entry.task_pk for entry in found}:
                task = await tasks.get_task(connection, pk)
                if task is None or task.status != TaskStatus.PENDING:
                    gone.add(pk)
        return found, frozenset(gone)

    async def _give_up(self, intent: Submission, reason: str) -> None:
        """Close an intent whose answer can never be had."""
        async with self._database.connection() as connection:
            await submissions.close_intent(connection, intent, SubmissionState.LOST, reason=reason)
        log.warning(Event.SUBMISSION_LOST, task=intent.task_pk, reason=reason)

    def _is_at_work(self, intent: Submission) -> bool:
        """Whether its manager may be about to take what was posted last, and would take it twice."""
        now, posted_at = self._clock.monotonic(), self._outstanding.posted_at(intent)
        passed = self._since_a_post_of_others(intent) if posted_at is None else now - posted_at
        if passed >= _MAY_BE_AT_WORK:
            return False
        moment = now + _MAY_BE_AT_WORK - passed
        self.next_post = moment if self.next_post is None else min(self.next_post, moment)
        return True

    def _since_a_post_of_others(self, intent: Submission) -> float:
        """Seconds since another daemon posted an intent, at least."""
        since_seen = self._clock.monotonic() - self._seen[intent.id][1]
        # When the last of several posts was made is written down nowhere. One from the future: see below.
        return since_seen if intent.posts > 1 else max(since_seen, abs(intent.age))

    def _is_hopeless(self, intent: Submission) -> bool:
        """Whether an answer was asked for so long that its task had better be given to another manager.

        Should the first one have taken it all the same, its callback finds the row taken and is ignored.
        """
        if self._single_pass:
            # One from the future: the database's clock was set back, and nothing is known of its age.
            return not -_GIVE_UP_AFTER <= intent.age <= _GIVE_UP_AFTER
        return self._asked_for[intent.id] >= _GIVE_UP_AFTER

"""What a report about a task means for Pod's row.

A report is what a callback says or what ``GET /task/status/<id>`` answers; both are decided here and in the
same way. Pod's five statuses are the states; sub-states live in the journal.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import assert_never

from msgspec import Struct

from poddispatchd.domain.backoff import full_jitter
from poddispatchd.domain.task import RunnerStatus, Task, TaskStatus


class Decision(StrEnum):
    """What to do with a task after a report about it."""

    IMPORT = "import"
    """Its result is ready: bring it into Pod."""
    RETRY = "retry"
    """It failed for a reason that a new submission can cure."""
    FAIL = "fail"
    """It failed for good."""
    TIME_OUT = "time out"
    """Its script ran too long: final."""
    COMPLETE = "complete"
    """Its result is in Pod, or that of a later request: none is imported. Found out when one is to be."""
    WAIT = "wait"
    """It is still being worked on."""
    IGNORE = "ignore"
    """The report changes nothing: a repetition, or late (invariant I8)."""


LONGEST_WAIT = 600.0
"""Seconds that a task waits at most before it is submitted again."""


_MORE_DOUBLINGS = 3
"""Of the wait for what may last for minutes: four to eight of them, with the defaults."""


class Retries(Struct, frozen=True):
    """How often a task is submitted, and how long it waits in between.

    ``max_attempts`` are submissions of one task (``reconcile.max_attempts``), ``first_wait`` is the limit of
    the wait after the first of them, in seconds (``reconcile.retry_wait``), ``random`` gives numbers of
    [0, 1). ``at_length`` is for what may last for minutes and spoils a run at once: all attempts would be
    used up within seconds.
    """

    max_attempts: int
    first_wait: float
    random: Callable[[], float]
    at_length: bool = False

    def wait(self, submissions: int) -> float:
        """Seconds for which a task is left in the queue after so many submissions.

        What spoilt its last run may pass with time: a runner restarts, a disk is emptied.
        """
        doublings = max(submissions, 1) - 1
        if self.at_length:
            # Not more doublings than a float can hold.
            longest = min(self.first_wait * 2.0 ** (min(doublings, 10) + _MORE_DOUBLINGS), LONGEST_WAIT)
            return longest * (1 + self.random()) / 2
        return full_jitter(doublings, base=self.first_wait, cap=LONGEST_WAIT, random=self.random)


def may_submit_again(submissions: int, *, max_attempts: int) -> bool:
    """Whether a task may be submitted once more.

    Args:
        submissions: how often poddispatchd submitted it; a row that Pod submitted counts as one.
        max_attempts: submissions of one task (``reconcile.max_attempts``).
    """
    return max(submissions, 1) < max_attempts


def is_last_run(lost: int, *, max_attempts: int) -> bool:
    """Whether a task that waits has one run left, after so many that came to nothing."""
    return lost > 0 and not may_submit_again(lost + 1, max_attempts=max_attempts)


def decide(
    row: TaskStatus | None,
    report: RunnerStatus,
    *,
    may_retry: bool = False,
    is_repeated: bool = False,
    is_contradicted: bool = False,
    is_importable: bool = True,
) -> Decision:
    """What a report about the task that this row carries means.

    A row that has failed and still carries the id becomes completed when its runner worked on it again by
    itself; a completed row is never reopened (invariant I8).

    Args:
        row: the row's status (``row_status``); None for one that poddispatchd does not know: such a row is
            left alone.
        report: the status reported.
        may_retry: a failure is worth a new submission.
        is_repeated: the row holds this end with these words already.
        is_contradicted: a failure that a success contradicts whose result is about to be imported. Callbacks
            are repeated by their manager and may overtake each other; the import and the reconciler find out
            which was the last.
        is_importable: something can be made of a result of such a task.
    """
    match row:
        case None | TaskStatus.COMPLETED:
            return Decision.IGNORE
        case TaskStatus.RUNNING | TaskStatus.PENDING:
            decision = _decide_open(report, may_retry=may_retry, is_contradicted=is_contradicted)
            is_over = False
        case TaskStatus.FAILED | TaskStatus.TIMEOUT:
            decision, is_over = _decide_ended(report, is_repeated=is_repeated), True
        case _:
            assert_never(row)
    if decision is Decision.IMPORT and not is_importable:
        return Decision.IGNORE if is_over else Decision.FAIL
    return decision


def _decide_open(report: RunnerStatus, *, may_retry: bool, is_contradicted: bool) -> Decision:
    match report:
        case RunnerStatus.COMPLETED | RunnerStatus.WARNING:
            return Decision.IMPORT
        case RunnerStatus.FAILED | RunnerStatus.TIMEOUT if is_contradicted:
            return Decision.IGNORE
        case RunnerStatus.FAILED:
            return Decision.RETRY if may_retry else Decision.FAIL
        case RunnerStatus.TIMEOUT:
            return Decision.TIME_OUT
        case RunnerStatus.RUNNING | RunnerStatus.PENDING:
            return Decision.WAIT
        case _:
            assert_never(report)


def _decide_ended(report: RunnerStatus, *, is_repeated: bool) -> Decision:
    match report:
        case RunnerStatus.COMPLETED | RunnerStatus.WARNING:
            return Decision.IMPORT
        case RunnerStatus.FAILED:
            return Decision.IGNORE if is_repeated else Decision.FAIL
        case RunnerStatus.TIMEOUT:
            return Decision.IGNORE if is_repeated else Decision.TIME_OUT
        case RunnerStatus.RUNNING | RunnerStatus.PENDING:
            return Decision.IGNORE
        case _:
            assert_never(report)


def row_status(status: str) -> TaskStatus | None:
    """The status that a row's text means, or None for one that Pod's pages do not know either.

    Pod stores ``warning`` for a result that nobody has fetched yet: such a task is not over.
    """
    if status == RunnerStatus.WARNING:
        return TaskStatus.RUNNING
    try:
        return TaskStatus(status)
    except ValueError:
        return None


def concerned(known: list[Task]) -> list[Task]:
    """Every unfinished row of an id, for two rows with one id are both served; else the oldest not completed.

    That one is also who is asked about again: the others of its run are completed with it. By primary key,
    the order in which every transaction locks rows of Pod's.
    """
    unfinished = [
        task for task in known if row_status(task.status) in (TaskStatus.PENDING, TaskStatus.RUNNING)
    ]
    mendable = [task for task in known if task.status != TaskStatus.COMPLETED]
    return sorted(unfinished or mendable[-1:] or known[:1], key=lambda task: task.pk)

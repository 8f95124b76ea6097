"""The stages of a task: Pod's five statuses, and inside two of them what the journal knows besides.

What a report means is decided in ``lifecycle``; here is everything else that happens to a task.
"""

from enum import StrEnum
from typing import assert_never

from poddispatchd.domain.task import TaskStatus


class Stage(StrEnum):
    """Where a task is."""

    WAITING = "waiting"
    """Pending: no manager has been asked to take it, or all that were said no."""
    SUBMITTING = "submitting"
    """Pending: an intent is open, so that a manager may have taken it."""
    AT_WORK = "at work"
    """Running: a manager has it."""
    IMPORTING = "importing"
    """Running: there is a result to fetch, to check and to put in place."""
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"

    @property
    def status(self) -> TaskStatus:
        """The status that Pod shows meanwhile."""
        match self:
            case Stage.WAITING | Stage.SUBMITTING:
                return TaskStatus.PENDING
            case Stage.AT_WORK | Stage.IMPORTING:
                return TaskStatus.RUNNING
            case Stage.COMPLETED:
                return TaskStatus.COMPLETED
            case Stage.FAILED:
                return TaskStatus.FAILED
            case Stage.TIMEOUT:
                return TaskStatus.TIMEOUT
            case _:
                assert_never(self)


class Step(StrEnum):
    """What happens to a task without a report about it."""

    INTENDED = "an intent is committed"
    REFUSED = "the manager is full, or refuses it"
    UNANSWERED = "the answer is lost, and asked for with the same bytes"
    ACCEPTED = "a manager takes it"
    GIVEN_UP = "its manager stays away for too long"
    IMPOSSIBLE = "no runner could ever run it"
    LOST = "nobody works on it"
    POSTPONED = "it cannot be imported just now"
    SPOILT = "its result is spoilt"
    IMPORTED = "its result is imported"
    CANCELLED = "a person cancels it"
    RESTARTED = "a person restarts it"


_SURELY = {
    (Stage.WAITING, Step.INTENDED): Stage.SUBMITTING,
    (Stage.WAITING, Step.IMPOSSIBLE): Stage.FAILED,
    (Stage.SUBMITTING, Step.REFUSED): Stage.WAITING,
    (Stage.SUBMITTING, Step.UNANSWERED): Stage.SUBMITTING,
    (Stage.SUBMITTING, Step.ACCEPTED): Stage.AT_WORK,
    (Stage.SUBMITTING, Step.GIVEN_UP): Stage.WAITING,
    (Stage.IMPORTING, Step.POSTPONED): Stage.IMPORTING,
    (Stage.IMPORTING, Step.IMPORTED): Stage.COMPLETED,
}


def stage_of(status: TaskStatus, *, is_intended: bool, has_result: bool) -> Stage:
    """Where a task is.

    Args:
        status: what its row means (``lifecycle.row_status``).
        is_intended: an intent to submit it is open.
        has_result: an import of its result is open.
    """
    match status:
        case TaskStatus.PENDING:
            return Stage.SUBMITTING if is_intended else Stage.WAITING
        case TaskStatus.RUNNING:
            return Stage.IMPORTING if has_result else Stage.AT_WORK
        case TaskStatus.COMPLETED:
            return Stage.COMPLETED
        case TaskStatus.FAILED:
            return Stage.FAILED
        case TaskStatus.TIMEOUT:
            return Stage.TIMEOUT
        case _:
            assert_never(status)


def after(stage: Stage, step: Step, *, may_submit_again: bool = True) -> Stage | None:
    """Where a task is after a step; None for one that cannot happen there.

    Args:
        stage: where it was.
        step: what happens.
        may_submit_again: attempts are left (``lifecycle.may_submit_again``), and lost tasks are to be
            submitted again (``reconcile.lost``).
    """
    match step:
        case Step.LOST | Step.SPOILT:
            if stage is not (Stage.AT_WORK if step is Step.LOST else Stage.IMPORTING):
                return None
            return Stage.WAITING if may_submit_again else Stage.FAILED
        case Step.CANCELLED:
            return Stage.FAILED if stage.status in (TaskStatus.PENDING, TaskStatus.RUNNING) else None
        case Step.RESTARTED:
            return Stage.WAITING
        case _:
            return _SURELY.get((stage, step))

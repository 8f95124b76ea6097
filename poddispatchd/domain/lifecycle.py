"""What a report about a task means for Pod's row.

A report is what a callback says or what ``GET /task/status/<id>`` answers; both are decided here and in the
same way. Pod's five statuses are the states; sub-states live in the journal.
"""

from enum import StrEnum
from typing import assert_never

from poddispatchd.domain.task import RunnerStatus, TaskStatus


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
    WAIT = "wait"
    """It is still being worked on."""
    IGNORE = "ignore"
    """The report changes nothing: a repetition, or late (invariant I8)."""


_CURABLE = (
    "runner is busy",  # the manager had no reservations yet (1.3.1 and older)
    "runner returned status 5",
    "task process is no longer running",  # the runner's host crashed
    "error contacting runner",
)
"""Parts of the error text of failures that are not the medium's fault."""


def is_curable(error: str | None) -> bool:
    """Whether a failure may be gone with a new submission.

    Runner managers report an order that never reached its runner as failed with an empty error text.
    """
    text = (error or "").strip().casefold()
    return not text or any(part in text for part in _CURABLE)


def decide(
    row: TaskStatus | None, report: RunnerStatus, *, error: str | None, attempts_left: bool
) -> Decision:
    """What a report about the task that this row carries means.

    ``row`` is None for a status that poddispatchd does not know: such a row is left alone.
    A ``failed`` row that still carries the id becomes completed when the manager re-ran the task; a
    completed row is never reopened.
    """
    match row:
        case None | TaskStatus.COMPLETED:
            return Decision.IGNORE
        case TaskStatus.RUNNING | TaskStatus.PENDING:
            return _decide_open(report, error=error, attempts_left=attempts_left)
        case TaskStatus.FAILED | TaskStatus.TIMEOUT:
            succeeded = report in (RunnerStatus.COMPLETED, RunnerStatus.WARNING)
            return Decision.IMPORT if succeeded else Decision.IGNORE
        case _:
            assert_never(row)


def _decide_open(report: RunnerStatus, *, error: str | None, attempts_left: bool) -> Decision:
    match report:
        case RunnerStatus.COMPLETED | RunnerStatus.WARNING:
            return Decision.IMPORT
        case RunnerStatus.FAILED:
            return Decision.RETRY if attempts_left and is_curable(error) else Decision.FAIL
        case RunnerStatus.TIMEOUT:
            return Decision.TIME_OUT
        case RunnerStatus.RUNNING | RunnerStatus.PENDING:
            return Decision.WAIT
        case _:
            assert_never(report)


def known_status(status: str) -> TaskStatus | None:
    """The status a row carries, or None for one that Pod's pages do not know either."""
    try:
        return TaskStatus(status)
    except ValueError:
        return None

"""What follows from an attempt to import a result that did not end in an import."""

from enum import StrEnum
from typing import assert_never

from poddispatchd.errors import (
    DownloadError,
    ImportBusyError,
    MediaNotWritableError,
    NoSpaceError,
    ResultGoneError,
    ResultIncompleteError,
    ResultNotReadyError,
    ResultRefusedError,
    RunnerManagerError,
    RunnerTaskUnknownError,
    SchemaError,
)

PATIENCE = 86400.0
"""Seconds that an import waits for what only a person or another machine can mend, before it gives up."""

_SHORTEST_WAIT = 10.0
_LONGEST_WAIT = 900.0


class NextAction(StrEnum):
    """What to do next."""

    BUSY = "busy"
    """Someone else is at it: look again soon."""
    RETRY = "retry"
    """Try again; the attempt counts."""
    WAIT = "wait"
    """Nothing is wrong with the result: try again, however often."""
    ASK = "ask"
    """The manager says that there is no result: ask it what became of the task."""
    RESUBMIT = "resubmit"
    """The result is lost or spoilt: let the task run again."""
    FAIL = "fail"
    """It can never be imported."""


def next_action(
    error: Exception,
    *,
    attempts: int,
    max_attempts: int,
    may_resubmit: bool,
    obstructed_for: float,
    lost: str,
) -> NextAction:
    """What follows from an error.

    Args:
        error: what ended the attempt.
        attempts: to import this result, this one included.
        max_attempts: ``imports.max_attempts``.
        may_resubmit: whether the task may be submitted once more.
        obstructed_for: seconds for which something outside the result has kept it from being imported.
        lost: ``reconcile.lost``.
    """
    is_last = attempts >= max_attempts
    again = NextAction.RESUBMIT if may_resubmit else NextAction.FAIL
    match error:
        case ImportBusyError():
            return NextAction.BUSY
        case ResultNotReadyError():
            return NextAction.ASK
        case ResultRefusedError():
            return NextAction.FAIL
        case ResultIncompleteError():
            return again
        case RunnerTaskUnknownError() | ResultGoneError():
            # Twice, as for a running task: the manager may just be coming up.
            if attempts < min(2, max_attempts):
                return NextAction.RETRY
            return again if lost == "requeue" else NextAction.FAIL
        case NoSpaceError() | MediaNotWritableError() | SchemaError() | OSError():
            return NextAction.FAIL if obstructed_for >= PATIENCE else NextAction.WAIT
        case RunnerManagerError():
            return again if obstructed_for >= PATIENCE else NextAction.WAIT
        case DownloadError():
            return again if is_last else NextAction.RETRY
        case _:
            return NextAction.FAIL if is_last else NextAction.RETRY


def longest_delay(decision: NextAction, *, attempts: int, obstructed_for: float) -> float:
    """The limit of the random wait before the next attempt, in seconds.

    It doubles with the attempts that count, and grows with the age of an obstacle.
    """
    match decision:
        case NextAction.BUSY:
            return 5.0
        case NextAction.RETRY:
            return float(min(_LONGEST_WAIT, _SHORTEST_WAIT * 2 ** min(attempts, 10)))
        case NextAction.WAIT:
            return min(_LONGEST_WAIT, max(_SHORTEST_WAIT, obstructed_for))
        case NextAction.ASK | NextAction.RESUBMIT | NextAction.FAIL:
            return 0.0
        case _:
            assert_never(decision)

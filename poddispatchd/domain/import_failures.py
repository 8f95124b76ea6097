"""What follows from an attempt to import a result that did not end in an import."""

from enum import StrEnum
from typing import assert_never

from msgspec import Struct

from poddispatchd.errors import (
    DatabaseError,
    DownloadError,
    ImportBusyError,
    MediaNotWritableError,
    NoSpaceError,
    ResultGoneError,
    ResultIncompleteError,
    ResultNotReadyError,
    ResultRefusedError,
    ResultUnfetchableError,
    RowLockedError,
    RunnerManagerChangedError,
    RunnerManagerError,
    RunnerTaskUnknownError,
    SourceReplacedError,
    ValuesRefusedError,
)

MANAGER_BACK_WITHIN = 86400.0
"""Seconds that an import waits for its runner manager before the task is run again elsewhere."""

_SHORTEST_WAIT = 10.0
LONGEST_DELAY = 900.0
"""Seconds, at random up to that, between two attempts; a second more at most."""


class NextAction(StrEnum):
    """What to do next."""

    BUSY = "busy"
    """Someone else is at it, or what it was begun with has changed: look again soon."""
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


class Circumstances(Struct, frozen=True):
    """What decides together with the error.

    Attributes:
        attempts: to import this result, this one included.
        max_attempts: ``imports.max_attempts``.
        may_resubmit: whether the task may be submitted once more.
        obstructed_for: seconds for which something outside the result has kept it from being imported.
        lost: ``reconcile.lost``.
        is_of_all: whether the database refuses the values of other results, too, and has taken none since.
    """

    attempts: int
    max_attempts: int
    may_resubmit: bool
    obstructed_for: float
    lost: str
    is_of_all: bool = False


def next_action(error: Exception, now: Circumstances) -> NextAction:
    """What follows from an error that ended an attempt."""
    is_last = now.attempts >= now.max_attempts
    again = NextAction.RESUBMIT if now.may_resubmit else NextAction.FAIL
    match error:
        # RowLockedError stands before DatabaseError, which it is too: a held row is free again soon.
        case ImportBusyError() | RowLockedError() | RunnerManagerChangedError():
            return NextAction.BUSY
        case ResultNotReadyError():
            return NextAction.ASK
        case ResultRefusedError() | ResultUnfetchableError():
            return NextAction.FAIL
        case ResultIncompleteError() | SourceReplacedError():
            return again
        case RunnerTaskUnknownError() | ResultGoneError():
            # Twice, as for a running task: the manager may just be coming up.
            if now.attempts < min(2, now.max_attempts):
                return NextAction.RETRY
            return again if now.lost == "requeue" else NextAction.FAIL
        # Before DatabaseError, which it is too: it lasts for as long as the values are the same. But a
        # trigger or a constraint of a site's may refuse any: then it is about our surroundings, as below.
        case ValuesRefusedError() if not now.is_of_all:
            return NextAction.FAIL if is_last else NextAction.RETRY
        case DatabaseError() | NoSpaceError() | MediaNotWritableError() | OSError():
            # Evidence about our surroundings, not about the result: it waits for as long as that lasts (I16).
            return NextAction.WAIT
        case RunnerManagerError():
            return again if now.obstructed_for >= MANAGER_BACK_WITHIN else NextAction.WAIT
        case DownloadError():
            return again if is_last else NextAction.RETRY
        case _:
            return NextAction.FAIL if is_last else NextAction.RETRY


def longest_delay(action: NextAction, now: Circumstances) -> float:
    """The limit of the random wait before the next attempt, in seconds.

    It doubles with the attempts that count, and grows with the age of an obstacle.
    """
    match action:
        case NextAction.BUSY:
            return 5.0
        case NextAction.RETRY:
            return float(min(LONGEST_DELAY, _SHORTEST_WAIT * 2 ** min(now.attempts, 10)))
        case NextAction.WAIT:
            return min(LONGEST_DELAY, max(_SHORTEST_WAIT, now.obstructed_for))
        case NextAction.ASK | NextAction.RESUBMIT | NextAction.FAIL:
            return 0.0
        case _:
            assert_never(action)

"""What follows from each way in which an import does not succeed."""

import pytest
from msgspec.structs import replace

from poddispatchd.domain.import_failures import (
    MANAGER_BACK_WITHIN,
    Circumstances,
    NextAction,
    longest_delay,
    next_action,
)
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DownloadError,
    ImportBusyError,
    MediaNotWritableError,
    NoSpaceError,
    PoddispatchdError,
    ResultError,
    ResultGoneError,
    ResultIncompleteError,
    ResultNotReadyError,
    ResultRefusedError,
    ResultUnfetchableError,
    RowLockedError,
    RunnerManagerBusyError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
    RunnerUnreachableError,
    SchemaChangedError,
    SchemaError,
    SourceReplacedError,
    UnusableAnswerError,
    ValuesRefusedError,
)


def now(
    *,
    attempts: int = 1,
    may_resubmit: bool = True,
    obstructed_for: float = 0.0,
    lost: str = "requeue",
) -> Circumstances:
    return Circumstances(attempts, 5, may_resubmit, obstructed_for, lost)


def decided(
    error: Exception,
    *,
    attempts: int = 1,
    may_resubmit: bool = True,
    obstructed_for: float = 0.0,
    lost: str = "requeue",
) -> NextAction:
    return next_action(
        error,
        now(
            attempts=attempts,
            may_resubmit=may_resubmit,
            obstructed_for=obstructed_for,
            lost=lost,
        ),
    )


@pytest.mark.parametrize(
    ("error", "first", "last", "at_the_end"),
    [
        (ImportBusyError(), NextAction.BUSY, NextAction.BUSY, NextAction.BUSY),
        (ResultNotReadyError(), NextAction.ASK, NextAction.ASK, NextAction.ASK),
        (ResultRefusedError("x"), NextAction.FAIL, NextAction.FAIL, NextAction.FAIL),
        (ResultUnfetchableError(), NextAction.FAIL, NextAction.FAIL, NextAction.FAIL),
        (ResultIncompleteError("x"), NextAction.RESUBMIT, NextAction.RESUBMIT, NextAction.FAIL),
        (SourceReplacedError("x"), NextAction.RESUBMIT, NextAction.RESUBMIT, NextAction.FAIL),
        (DownloadError(), NextAction.RETRY, NextAction.RESUBMIT, NextAction.FAIL),
        (ResultGoneError(), NextAction.RETRY, NextAction.RESUBMIT, NextAction.FAIL),
        (RunnerTaskUnknownError(), NextAction.RETRY, NextAction.RESUBMIT, NextAction.FAIL),
        (ResultError(), NextAction.RETRY, NextAction.FAIL, NextAction.FAIL),
        (PoddispatchdError(), NextAction.RETRY, NextAction.FAIL, NextAction.FAIL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_with_a_result_ends_it_sooner_or_later(
    error: Exception, first: NextAction, last: NextAction, at_the_end: NextAction
) -> None:
    assert decided(error) is first
    assert decided(error, attempts=5) is last
    assert decided(error, attempts=5, may_resubmit=False) is at_the_end


@pytest.mark.parametrize(
    "error",
    [
        RunnerManagerUnavailableError(),
        RunnerManagerBusyError(),
        RunnerManagerMisconfiguredError(),
        RunnerUnreachableError(),
        UnusableAnswerError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_manager_in_trouble_is_waited_for_and_at_last_given_up(error: Exception) -> None:
    assert decided(error, attempts=99) is NextAction.WAIT
    assert decided(error, obstructed_for=MANAGER_BACK_WITHIN) is NextAction.RESUBMIT
    assert decided(error, obstructed_for=MANAGER_BACK_WITHIN, may_resubmit=False) is NextAction.FAIL


@pytest.mark.parametrize(
    "error",
    [NoSpaceError(), MediaNotWritableError(), OSError(30, "Read-only file system")],
    ids=lambda error: type(error).__name__,
)
def test_an_obstacle_on_this_machine_never_makes_a_runner_work_again(error: Exception) -> None:
    assert decided(error, attempts=99) is NextAction.WAIT
    # Nor does a task fail for good over it: that is mended, and the result is as good afterwards (I16).
    assert decided(error, obstructed_for=100 * MANAGER_BACK_WITHIN) is NextAction.WAIT


def test_a_refused_statement_is_waited_out_unless_the_result_can_be_to_blame() -> None:
    assert decided(DatabaseError("x"), attempts=99) is NextAction.WAIT
    assert decided(ValuesRefusedError("x")) is NextAction.RETRY
    assert decided(ValuesRefusedError("x"), attempts=5) is NextAction.FAIL


def test_what_the_database_refuses_for_all_results_is_waited_out() -> None:
    """A constraint that a site had added in the evening let all videos of the night fail."""
    of_all = replace(now(attempts=99), is_of_all=True)
    assert next_action(ValuesRefusedError("x"), of_all) is NextAction.WAIT
    assert next_action(ResultRefusedError("x"), of_all) is NextAction.FAIL


@pytest.mark.parametrize(
    "error",
    [SchemaChangedError(), DatabaseStateError(), DatabaseError(), SchemaError()],
    ids=lambda error: type(error).__name__,
)
def test_what_the_database_refuses_is_waited_for_however_long(error: Exception) -> None:
    """Finished results were counted out while Pod's tables were newer than we knew (invariant I16)."""
    assert decided(error, attempts=99) is NextAction.WAIT
    assert decided(error, attempts=99, obstructed_for=100 * MANAGER_BACK_WITHIN) is NextAction.WAIT


def test_a_row_that_another_session_holds_is_tried_again_soon_and_uncounted() -> None:
    assert decided(RowLockedError(), attempts=99) is NextAction.BUSY


def test_a_result_that_is_gone_fails_where_lost_tasks_are_to_fail() -> None:
    assert decided(ResultGoneError(), attempts=2, lost="fail") is NextAction.FAIL


def test_waits_grow_with_the_attempts_and_with_the_age_of_an_obstacle() -> None:
    retries = [longest_delay(NextAction.RETRY, now(attempts=number)) for number in range(1, 9)]
    assert retries == [20, 40, 80, 160, 320, 640, 900, 900]
    waits = [longest_delay(NextAction.WAIT, now(obstructed_for=age)) for age in (0, 60, 600, 6000)]
    assert waits == [10, 60, 600, 900]

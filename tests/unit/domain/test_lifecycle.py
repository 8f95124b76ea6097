from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from poddispatchd.domain.failures import is_curable
from poddispatchd.domain.lifecycle import (
    Decision,
    Retries,
    concerned,
    decide,
    is_last_run,
    may_submit_again,
    row_status,
)
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, Task, TaskPk, TaskStatus, TaskType

_P, _R, _C, _F, _T = (
    TaskStatus.PENDING,
    TaskStatus.RUNNING,
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.TIMEOUT,
)
_IMPORT, _RETRY, _FAIL, _OUT, _WAIT, _NO = (
    Decision.IMPORT,
    Decision.RETRY,
    Decision.FAIL,
    Decision.TIME_OUT,
    Decision.WAIT,
    Decision.IGNORE,
)

_REPORTS = ("pending", "running", "completed", "warning", "failed", "timeout")
_TABLE = {
    # row:  pending, running, completed, warning, failed, timeout
    _P: (_WAIT, _WAIT, _IMPORT, _IMPORT, _FAIL, _OUT),
    _R: (_WAIT, _WAIT, _IMPORT, _IMPORT, _FAIL, _OUT),
    _C: (_NO, _NO, _NO, _NO, _NO, _NO),
    _F: (_NO, _NO, _IMPORT, _IMPORT, _FAIL, _OUT),
    _T: (_NO, _NO, _IMPORT, _IMPORT, _FAIL, _OUT),
    None: (_NO, _NO, _NO, _NO, _NO, _NO),
}

_rows = st.sampled_from([*TaskStatus, None])
_reports = st.sampled_from(RunnerStatus)


@pytest.mark.parametrize(("row", "report"), list(product(_TABLE, RunnerStatus)))
def test_what_each_report_means_for_each_row(row: TaskStatus | None, report: RunnerStatus) -> None:
    assert decide(row, report) is _TABLE[row][_REPORTS.index(report)]


@given(_rows, _reports, st.booleans(), st.booleans(), st.booleans())
def test_there_is_a_decision_for_everything(
    row: TaskStatus | None, report: RunnerStatus, retry: bool, repeated: bool, contradicted: bool
) -> None:
    decision = decide(row, report, may_retry=retry, is_repeated=repeated, is_contradicted=contradicted)
    assert isinstance(decision, Decision)
    if row in (TaskStatus.COMPLETED, None):
        assert decision is Decision.IGNORE
    if decision is Decision.RETRY:
        assert retry
        assert report is RunnerStatus.FAILED
        assert row in (TaskStatus.PENDING, TaskStatus.RUNNING)
    if report in (RunnerStatus.RUNNING, RunnerStatus.PENDING):
        assert decision in (Decision.WAIT, Decision.IGNORE)


@given(st.lists(st.tuples(_reports, st.booleans(), st.booleans()), max_size=8))
def test_a_completed_task_is_never_reopened(reports: list[tuple[RunnerStatus, bool, bool]]) -> None:
    row = TaskStatus.COMPLETED
    for report, retry, repeated in reports:
        assert decide(row, report, may_retry=retry, is_repeated=repeated) is Decision.IGNORE


@pytest.mark.parametrize("row", [_P, _R])
def test_a_failure_that_is_worth_it_is_tried_again_and_a_time_out_is_not(row: TaskStatus) -> None:
    assert decide(row, RunnerStatus.FAILED, may_retry=True) is Decision.RETRY
    assert decide(row, RunnerStatus.TIMEOUT, may_retry=True) is Decision.TIME_OUT


@pytest.mark.parametrize(("row", "decision"), [(_P, "FAIL"), (_R, "FAIL"), (_F, "IGNORE"), (_T, "IGNORE")])
def test_a_result_of_which_nothing_can_be_made_fails_a_task_that_is_open_and_changes_none_that_has_ended(
    row: TaskStatus, decision: str
) -> None:
    for report in RunnerStatus:
        means = decide(row, report, is_importable=False)
        expected = decide(row, report)
        assert means is (Decision[decision] if expected is Decision.IMPORT else expected)


@pytest.mark.parametrize("report", [RunnerStatus.FAILED, RunnerStatus.TIMEOUT])
@pytest.mark.parametrize("row", [_P, _R])
def test_a_failure_that_overtook_a_success_does_not_stop_its_import(
    row: TaskStatus, report: RunnerStatus
) -> None:
    assert decide(row, report, is_contradicted=True, may_retry=True) is Decision.IGNORE


@pytest.mark.parametrize("row", [_F, _T])
def test_a_repeated_failure_changes_nothing_and_a_new_one_says_its_words(row: TaskStatus) -> None:
    assert decide(row, RunnerStatus.FAILED, is_repeated=True) is Decision.IGNORE
    assert decide(row, RunnerStatus.TIMEOUT, is_repeated=True) is Decision.IGNORE
    assert decide(row, RunnerStatus.FAILED, may_retry=True) is Decision.FAIL


@pytest.mark.parametrize(
    "error",
    [
        'Runner returned status 400: {"detail":"Runner is busy"}',
        "Runner returned status 502: Bad Gateway",
        "Task process is no longer running",
        "Error contacting runner: timed out",
        "Encoding incomplete: 360p_a.m3u8 is missing",
    ],
)
def test_what_is_not_the_mediums_fault_is_worth_another_submission(error: str) -> None:
    assert is_curable(error, ran=True)


@pytest.mark.parametrize("error", ["Transcription failed", "Cancelled by user.", "boom"])
def test_what_a_script_complained_about_comes_back(error: str) -> None:
    assert not is_curable(error, ran=False)


@pytest.mark.parametrize("error", [None, "", "  "])
def test_a_failure_without_a_word_is_an_order_that_arrived_nowhere_unless_a_script_ran(
    error: str | None,
) -> None:
    assert is_curable(error, ran=False)
    assert not is_curable(error, ran=True)


def test_a_result_that_nobody_fetched_is_not_over() -> None:
    assert row_status("warning") is TaskStatus.RUNNING


@given(st.text())
def test_any_text_in_the_column_is_understood_or_left_alone(text: str) -> None:
    status = row_status(text)
    assert status is None or text in (*TaskStatus, "warning")


@given(st.integers(0, 1000), st.floats(0, 600), st.floats(0, 1, exclude_max=True))
def test_no_task_waits_for_more_than_ten_minutes(submissions: int, first: float, chance: float) -> None:
    retries = Retries(3, first, lambda: chance)
    assert 0 <= retries.wait(submissions) <= 600
    assert 0 <= replace(retries, at_length=True).wait(submissions) <= 600


def test_the_longest_wait_doubles_with_each_submission() -> None:
    almost = Retries(3, 20.0, lambda: 1.0)
    assert [almost.wait(submissions) for submissions in (0, 1, 2, 3, 9)] == [20.0, 20.0, 40.0, 80.0, 600.0]
    at_length = replace(almost, at_length=True)
    assert [at_length.wait(submissions) for submissions in (1, 2, 9)] == [160.0, 320.0, 600.0]


@pytest.mark.parametrize(
    ("submissions", "most", "may"),
    [(0, 1, False), (1, 1, False), (0, 2, True), (1, 2, True), (2, 2, False), (2, 3, True)],
)
def test_a_task_is_submitted_as_often_as_it_may_and_one_of_pods_counts_as_once(
    submissions: int, most: int, *, may: bool
) -> None:
    assert may_submit_again(submissions, max_attempts=most) is may


@pytest.mark.parametrize(
    ("lost", "most", "is_last"),
    [(0, 1, False), (0, 2, False), (1, 2, True), (1, 3, False), (2, 3, True), (3, 3, True)],
)
def test_a_last_run_is_the_one_behind_which_no_other_may_come(lost: int, most: int, *, is_last: bool) -> None:
    """A task of which no run was lost has its first one, whatever else it has."""
    assert is_last_run(lost, max_attempts=most) is is_last


@pytest.mark.parametrize(
    ("rows", "pks"),
    [
        ({9: "running", 5: "completed", 2: "warning", 1: "pending"}, [1, 2, 9]),
        ({9: "completed", 5: "failed", 2: "timeout"}, [2]),
        ({9: "failed", 5: "failed", 2: "timeout"}, [2]),
        ({9: "failed", 5: "completed"}, [9]),
        ({9: "levitating", 5: "completed"}, [9]),
        ({9: "completed", 5: "completed"}, [9]),
        ({}, []),
    ],
)
def test_of_the_rows_of_one_id_all_that_are_open_are_served_else_the_oldest_that_is_not_completed(
    rows: dict[int, str], pks: list[int]
) -> None:
    known = [
        Task(
            TaskPk(pk),
            TaskType.ENCODING,
            status,
            RunnerTaskId("one"),
            runner_manager_id=None,
            video_id=None,
            recording_id=None,
            date_added=datetime(2026, 1, 2, tzinfo=UTC),
        )
        for pk, status in rows.items()
    ]
    assert [task.pk for task in concerned(known)] == pks

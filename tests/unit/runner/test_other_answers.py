import pytest

from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.errors import (
    PoddispatchdError,
    ResultGoneError,
    ResultNotReadyError,
    RunnerManagerBusyError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
    RunnerUnreachableError,
    UnusableAnswerError,
)
from poddispatchd.runner.answers import runner_list, stop_outcome, task_record
from poddispatchd.runner.http_errors import result_refusal
from poddispatchd.runner.records import RunnerInfo, StopOutcome
from poddispatchd.runner.transport import HttpAnswer
from tests.unit.runner.managers import answer, manager, page

TASK = RunnerTaskId("golden-1")


def test_a_record_is_read_whole() -> None:
    record = task_record(
        manager(),
        answer(
            200,
            {
                "task_id": TASK,
                "runner_id": "lab-runner-8082",
                "status": "failed",
                "task_type": "encoding",
                "source_url": "http://pod.test/media/a.mp4",
                "parameters": {"cut": "{}"},
                "notify_url": "http://pod.test/runner/notify_task_end/",
                "run_id": "r1",
                "updated_at": "2026-11-23T13:55:46.509706",
                "error": "",
                "script_output": "[info_script.log]\nfine",
                "completion_callback": None,
            },
        ),
        TASK,
    )

    assert record.status is RunnerStatus.FAILED
    assert (record.task_type, record.runner_id) == ("encoding", "lab-runner-8082")
    assert record.source_url == "http://pod.test/media/a.mp4"
    assert record.notify_url == "http://pod.test/runner/notify_task_end/"
    assert record.parameters == {"cut": "{}"}
    assert (record.error, record.script_output) == ("", "[info_script.log]\nfine")
    assert record.updated_at == "2026-11-23T13:55:46.509706"


@pytest.mark.parametrize("status", list(RunnerStatus))
def test_every_status_is_known(status: RunnerStatus) -> None:
    assert task_record(manager(), answer(202, {"status": str(status)}), TASK).status is status


def test_a_status_we_do_not_know_is_kept_as_it_is() -> None:
    record = task_record(manager(), answer(200, {"status": "Paused"}), TASK)

    assert (record.status, record.raw_status) == (None, "Paused")


def test_texts_are_fit_for_the_database() -> None:
    record = task_record(
        manager(), answer(200, {"status": "failed", "error": "a\0b\ud800", "script_output": ["x"]}), TASK
    )

    assert record.error == "ab?"
    assert record.script_output == '["x"]'


@pytest.mark.parametrize("named", [4711, None])
def test_a_record_may_name_its_task_by_a_number_as_the_acceptance_did(named: object) -> None:
    """A number was taken as an id, and each record of it was then another task's: its task ran for ever."""
    given = answer(200, {"task_id": named, "status": "completed"})

    assert task_record(manager(), given, RunnerTaskId("4711")).status is RunnerStatus.COMPLETED


@pytest.mark.parametrize(
    "given",
    [
        answer(200, ["completed"]),
        answer(200, "completed"),
        answer(200, None),
        answer(200, {"task_id": TASK}),
        answer(200, {"status": 1}),
        answer(200, {"status": "completed", "task_id": "other"}),
        answer(200, {"status": "completed", "task_id": 4711}),
        page(200),
    ],
)
def test_a_record_that_says_nothing_usable_is_unusable(given: HttpAnswer) -> None:
    with pytest.raises(UnusableAnswerError):
        task_record(manager(), given, TASK)


def test_a_task_is_unknown_only_when_the_manager_itself_says_so() -> None:
    with pytest.raises(RunnerTaskUnknownError):
        task_record(manager(), answer(404, {"detail": "Task not found"}), TASK)


@pytest.mark.parametrize(
    "given", [page(404), answer(404, {"detail": "Not Found"}), answer(404, {}), page(404, "Task not found")]
)
def test_a_404_of_something_else_is_a_misconfiguration(given: HttpAnswer) -> None:
    with pytest.raises(RunnerManagerMisconfiguredError):
        task_record(manager(), given, TASK)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, RunnerManagerUnavailableError),
        (503, RunnerManagerUnavailableError),
        (408, RunnerManagerUnavailableError),
        (401, RunnerManagerMisconfiguredError),
        (429, RunnerManagerBusyError),
    ],
)
def test_a_status_that_is_refused_is_named(status: int, error: type[PoddispatchdError]) -> None:
    with pytest.raises(error):
        task_record(manager(), answer(status, {}), TASK)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (answer(425, {"detail": "Task not completed. Status: running"}), ResultNotReadyError),
        (answer(400, {"detail": "Task failed: x"}), ResultNotReadyError),
        (answer(404, {"detail": "Task not found"}), RunnerTaskUnknownError),
        (answer(404, {"detail": "Error fetching result from runner"}), ResultGoneError),
        (answer(404, {"detail": "Result file not found in shared storage"}), ResultGoneError),
        (answer(404, {"detail": "Not Found"}), RunnerManagerMisconfiguredError),
        (page(404), RunnerManagerMisconfiguredError),
        (answer(502, {"detail": "Error contacting runner: x"}), RunnerUnreachableError),
        (answer(500, {"detail": "Runner not available"}), RunnerUnreachableError),
        (answer(504, {"detail": "Runner timed out"}), RunnerUnreachableError),
        (page(502), RunnerManagerUnavailableError),
        (HttpAnswer(500, "text/plain", b"Internal Server Error"), RunnerManagerUnavailableError),
        (answer(401, {"detail": "Invalid or expired token"}), RunnerManagerMisconfiguredError),
        (answer(429, {"error": "x"}), RunnerManagerBusyError),
    ],
)
def test_why_a_result_is_not_given(given: HttpAnswer, error: type[PoddispatchdError]) -> None:
    assert type(result_refusal(manager(), given, "The file 'a.ts'")) is error


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(404, {"detail": "Task not found"}), "Runner manager '{}' no longer knows this task."),
        (
            answer(404, {"detail": "Error fetching result."}),
            "The file 'a.ts' cannot be had from runner manager '{}': Error fetching result.",
        ),
        (
            answer(502, {"detail": "Error contacting runner"}),
            "The file 'a.ts' cannot be had from runner manager '{}' now: Error contacting runner.",
        ),
        (
            answer(425, {"detail": "Task not completed"}),
            "The file 'a.ts' is not given by runner manager '{}': Task not completed.",
        ),
        (answer(400, {}), "The file 'a.ts' is not given by runner manager '{}': 400."),
    ],
)
def test_a_result_that_is_not_given_is_told_in_the_managers_words(given: HttpAnswer, words: str) -> None:
    assert str(result_refusal(manager(), given, "The file 'a.ts'")) == words.format(manager().name)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answer(202, {"task_id": TASK, "status": "stop_requested"}), StopOutcome.REQUESTED),
        (answer(200, {}), StopOutcome.REQUESTED),
        (answer(409, {"detail": "Task not running"}), StopOutcome.NOT_RUNNING),
        (
            answer(409, {"detail": "Task is running but no killable external process found yet"}),
            StopOutcome.NOT_YET,
        ),
        (answer(404, {"detail": "Task not found"}), StopOutcome.UNKNOWN),
        (answer(404, {"detail": "Runner not found"}), StopOutcome.RUNNER_UNREACHABLE),
        (answer(502, {"detail": "Error contacting runner"}), StopOutcome.RUNNER_UNREACHABLE),
        (answer(404, {"detail": "Not Found"}), StopOutcome.UNSUPPORTED),
        (answer(405, {"detail": "Method Not Allowed"}), StopOutcome.UNSUPPORTED),
    ],
)
def test_what_became_of_a_stop(given: HttpAnswer, outcome: StopOutcome) -> None:
    assert stop_outcome(manager(), given) is outcome


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (page(404), RunnerManagerMisconfiguredError),
        (answer(401, {"detail": "x"}), RunnerManagerMisconfiguredError),
        (page(502), RunnerManagerUnavailableError),
    ],
)
def test_a_stop_that_never_reached_the_manager_is_an_error(
    given: HttpAnswer, error: type[PoddispatchdError]
) -> None:
    with pytest.raises(error):
        stop_outcome(manager(), given)


def test_the_list_of_runners_skips_what_names_none() -> None:
    entries = [
        {"id": "r1", "url": "http://r:1", "status": "online", "age_seconds": 3},
        {"id": "r2", "status": "offline", "age_seconds": -(10**400)},
        {"status": "online"},
        None,
    ]

    assert runner_list(manager(), answer(200, {"runners": entries})) == [
        RunnerInfo("r1", online=True),
        RunnerInfo("r2", online=False),
    ]


@pytest.mark.parametrize("given", [answer(200, {}), answer(200, {"runners": {}}), page(200)])
def test_no_list_of_runners_is_unusable(given: HttpAnswer) -> None:
    with pytest.raises(UnusableAnswerError):
        runner_list(manager(), given)

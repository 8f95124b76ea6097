"""One line for each transition of what fails, and waits that grow."""

import asyncio
import linecache

import pytest
from structlog.testing import capture_logs

from poddispatchd.clock import Clock
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DatabaseUnavailableError,
    RowLockedError,
    SchemaError,
    StatementEndedError,
    ValuesRefusedError,
)
from poddispatchd.observability.events import Event
from poddispatchd.runtime import incidents as module
from poddispatchd.runtime.incidents import Incidents


class _Clock(Clock):
    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def random(self) -> float:
        return 1.0


def _bug(words: str) -> Exception:
    def raised() -> None:
        raise ValueError(words)

    with pytest.raises(ValueError, match=words) as caught:
        raised()
    return caught.value


def test_a_failure_that_goes_on_is_told_once_with_its_traceback_and_waits_longer_each_time() -> None:
    incidents = Incidents(_Clock())
    with capture_logs() as logs:
        waits = [incidents.failed("submission", _bug(str(number)), task=7) for number in range(8)]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    [told] = logs
    assert (told["event"], told["job"], told["task"]) == (Event.SERVICE_CRASHED, "submission", 7)
    assert isinstance(told["exc_info"], ValueError)


def test_no_source_is_read_for_a_failure_of_which_a_sentence_is_told() -> None:
    """It was read on the event loop, and kept, for each file in which an error came up."""
    with pytest.raises(RowLockedError) as caught:
        raise RowLockedError
    linecache.clearcache()
    with capture_logs():
        Incidents(_Clock()).failed("inbox", caught.value)
    assert not linecache.cache


def test_it_is_counted_in_a_line_now_and_then() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    with capture_logs() as logs:
        for _ in range(21):
            incidents.failed("inbox", _bug("odd"))
            clock.time += 60
    assert [entry["event"] for entry in logs] == [Event.SERVICE_CRASHED, *[Event.SERVICE_FAILED] * 2]
    assert logs[-1]["times"] == 21
    assert logs[-1]["reason"] == "poddispatchd met an error nobody foresaw (ValueError): its log tells more."


def test_the_line_that_counts_says_why_in_words_of_ours() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    with capture_logs() as logs:
        for _ in range(2):
            incidents.failed("import", DatabaseStateError("Its disk is full."))
            clock.time += 601
    assert [entry["reason"] for entry in logs] == ["Its disk is full."] * 2


def test_an_error_of_another_kind_is_told_too() -> None:
    incidents = Incidents(_Clock())
    with capture_logs() as logs:
        for sqlstate in ("P0001", "42601", "P0001"):
            incidents.failed("submission", DatabaseError("It was refused.", sqlstate=sqlstate))
    assert len(logs) == 2


def test_tasks_of_one_job_are_told_together_and_wait_each_on_their_own() -> None:
    incidents = Incidents(_Clock())
    refused = DatabaseError("It was refused.", sqlstate="P0001")
    with capture_logs() as logs:
        assert [incidents.failed("submission", refused, task=task) for task in (1, 2, 1)] == [2, 2, 4]
        incidents.recovered("submission", task=1)
        [incident] = incidents.active
        assert incident.words == "The submission fails (task 2), 3 times by now: It was refused."
        incidents.recovered("submission", task=2)
    assert [entry["event"] for entry in logs] == [Event.SERVICE_CRASHED, Event.SERVICE_RECOVERED]
    assert not incidents.active


def test_what_the_server_s_state_refuses_is_told_in_words_and_nothing_can_be_written() -> None:
    incidents = Incidents(_Clock())
    assert incidents.can_write
    with capture_logs() as logs:
        incidents.failed("inbox", DatabaseStateError("Its disk is full."))
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        (Event.SERVICE_FAILED, "Its disk is full.")
    ]
    refused = incidents.can_write
    incidents.recovered("inbox")
    assert (refused, incidents.can_write) == (False, True)


def test_bugs_held_rows_and_odd_values_say_nothing_about_writing() -> None:
    incidents = Incidents(_Clock())
    incidents.failed("inbox", _bug("odd"))
    incidents.failed("hooks", RowLockedError())
    incidents.failed("callbacks", ValuesRefusedError())
    assert incidents.can_write


def test_an_item_amid_which_the_database_was_lost_says_nothing_about_writing_but_a_job_does() -> None:
    """Whether it is there at all is the session's to tell."""
    incidents = Incidents(_Clock())
    incidents.recovered("import", task=2, wrote=True)
    incidents.failed("import", DatabaseUnavailableError("no answer"), task=1)
    by_one_item = incidents.can_write
    incidents.failed("dispatcher", DatabaseUnavailableError("no answer"))
    assert (by_one_item, incidents.can_write) == (True, False)


def test_the_failure_of_a_task_that_is_gone_is_forgotten() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    incidents.failed("submission", DatabaseError("It was refused."), task=1)
    clock.time = 1201
    assert not incidents.active


def test_a_bug_shows_its_kind_to_people_and_never_its_text() -> None:
    incidents = Incidents(_Clock())
    incidents.failed("inbox", _bug("hunter2"))
    [incident] = incidents.active
    assert "ValueError" in incident.words
    assert "hunter2" not in incident.words


def test_a_statement_refused_for_one_row_while_others_are_written_does_not_end_readiness() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    refused = DatabaseError("It was refused.", sqlstate="P0001")
    incidents.failed("submission", refused, task=1)
    incidents.failed("submission", refused, task=2)
    before_another = incidents.can_write
    clock.time = 5
    incidents.recovered("submission", task=2, wrote=True)
    clock.time = 9
    incidents.failed("submission", refused, task=1)
    assert (before_another, incidents.can_write) == (False, True)
    assert [incident.job for incident in incidents.active] == ["submission"]


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("It was refused.", sqlstate="P0001"),
        SchemaError("A column that a trigger names is gone."),
        StatementEndedError("Its trigger takes too long.", sqlstate="57014"),
    ],
)
def test_one_task_that_is_refused_for_good_never_ends_readiness_though_nothing_else_is_written(
    error: DatabaseError,
) -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    seen = []
    for _ in range(5):
        for job in ("import", "writing of a result"):
            incidents.failed(job, error, task=1)
        seen.append(incidents.can_write)
        clock.time += 900
    assert seen == [True] * 5
    assert incidents.active
    incidents.failed("submission", error, task=2)
    assert not incidents.can_write


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("A row cannot be deleted."),
        SchemaError("A right is gone."),
        StatementEndedError("A forecast was cancelled.", sqlstate="57014"),
    ],
)
def test_what_other_work_does_not_need_never_ends_readiness(error: DatabaseError) -> None:
    incidents = Incidents(_Clock())
    incidents.failed("purge", error, is_aside=True)
    beside_the_work = incidents.can_write
    incidents.failed("dispatcher", error)
    assert (beside_the_work, incidents.can_write) == (True, False)


def test_a_rule_that_came_after_the_last_write_ends_readiness_again() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    refused = DatabaseError("It was refused.", sqlstate="P0001")
    incidents.failed("submission", refused, task=1)
    clock.time = 5
    incidents.recovered("submission", task=2, wrote=True)
    clock.time = 9
    incidents.failed("submission", refused, task=3)
    by_one = incidents.can_write
    incidents.failed("submission", refused, task=4)
    assert (by_one, incidents.can_write) == (True, False)


def test_a_question_that_went_well_proves_no_write() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    for task in (1, 3):
        incidents.failed("question", DatabaseError("It was refused.", sqlstate="P0001"), task=task)
    clock.time = 5
    incidents.recovered("question", task=2)
    by_question = incidents.can_write
    incidents.recovered("import", task=2, wrote=True)
    assert (by_question, incidents.can_write) == (False, True)


@pytest.mark.parametrize(
    ("error", "task"),
    [(DatabaseStateError("Its disk is full."), 1), (SchemaError("A column is gone."), None)],
)
def test_what_meets_every_statement_ends_readiness_whatever_was_written_before(
    error: DatabaseError, task: int | None
) -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    incidents.failed("submission", error, task=task)
    clock.time = 5
    incidents.recovered("submission", task=2, wrote=True)
    assert not incidents.can_write


def test_values_that_are_refused_for_several_tasks_for_minutes_are_refused_for_all() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    seen = []
    for _ in range(3):
        for task in (1, 2):
            incidents.failed("submission", ValuesRefusedError(), task=task)
        seen.append(incidents.refused_since)
        clock.time += 100
    assert seen == [None, None, 0.0]
    assert incidents.can_write


def test_values_that_are_refused_for_one_task_are_refused_for_all_when_other_work_meets_the_same() -> None:
    """Its run occupies the only runner: no other task is tried."""
    clock = _Clock()
    incidents = Incidents(clock)
    for job in ("submission", "writing of a result"):
        incidents.failed(job, ValuesRefusedError(), task=1)
    clock.time = 200
    by_one = incidents.refused_since
    incidents.failed("ranks", ValuesRefusedError(), is_aside=True, writes_tasks=True)
    clock.time = 400
    assert (by_one, incidents.refused_since) == (None, 0.0)


def test_values_are_not_refused_for_all_by_other_work_alone_nor_when_one_was_written_since() -> None:
    clock = _Clock()
    incidents = Incidents(clock)
    for job in ("ranks", "first look"):
        incidents.failed(job, ValuesRefusedError(), is_aside=True, writes_tasks=True)
    clock.time = 200
    by_other_work = incidents.refused_since
    for task in (1, 2):
        incidents.failed("submission", ValuesRefusedError(), task=task)
    clock.time = 300
    incidents.recovered("submission", task=3, wrote=True)
    clock.time = 600
    incidents.failed("submission", ValuesRefusedError(), task=1)
    assert (by_other_work, incidents.refused_since) == (None, None)


def test_another_task_that_is_refused_for_a_moment_does_not_end_readiness_beside_one_that_is_odd() -> None:
    """It was not ready at once, and ready again a moment later."""
    clock = _Clock()
    incidents = Incidents(clock)
    seen = []
    for moment in (0, 600, 610):
        clock.time = moment
        incidents.failed("submission", ValuesRefusedError(), task=1)
        if moment == 600:
            incidents.failed("import", StatementEndedError("It was cancelled.", sqlstate="57014"), task=2)
        seen.append(incidents.refused_since)
    incidents.recovered("import", task=2)
    assert (*seen, incidents.refused_since) == (None, None, None, None)


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ("purge of completed tasks", DatabaseError("Another table refers to a row.", sqlstate="23503")),
        ("forecasts", StatementEndedError("It was cancelled.", sqlstate="57014")),
    ],
)
def test_work_that_writes_of_no_task_says_nothing_of_what_one_task_is_refused(
    job: str, error: DatabaseError
) -> None:
    """At night, with a table of the site's that keeps old tasks, one odd task ended readiness at once."""
    clock = _Clock()
    incidents = Incidents(clock)
    incidents.failed(job, error, is_aside=True)
    clock.time = 600
    incidents.failed("submission", ValuesRefusedError(), task=1)
    clock.time = 900
    incidents.failed("submission", ValuesRefusedError(), task=1)
    assert (incidents.refused_since, incidents.can_write) == (None, True)


async def test_a_task_of_the_process_that_nobody_waits_for_is_told_of() -> None:
    incidents = Incidents(_Clock())

    async def work(error: Exception | None) -> None:
        if error is not None:
            raise error

    async def ended(error: Exception | None) -> None:
        task = asyncio.create_task(work(error))
        incidents.watch(task, "question")
        await asyncio.wait([task])
        await asyncio.sleep(0)

    with capture_logs() as logs:
        await ended(_bug("broken"))
        assert [incident.job for incident in incidents.active] == ["question"]
        await ended(None)
        assert incidents.active == ()
    assert [entry["event"] for entry in logs] == [Event.SERVICE_CRASHED, Event.SERVICE_RECOVERED]


def test_tasks_that_failed_once_are_not_kept_for_ever_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MANY", 3)
    clock = _Clock()
    incidents = Incidents(clock)
    with capture_logs():
        for task in range(20):
            incidents.failed("submission", _bug("broken"), task=task)
            clock.time += 500
    [incident] = incidents._by_job.values()
    assert list(incident.by_task) == [17, 18, 19]

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.shadow import (
    Agreement,
    Difference,
    ExpectedEnd,
    ExpectedSubmission,
    Intention,
    Row,
    Standing,
    compare_end,
    compare_submission,
    compare_surprise,
    counted,
    intention_of,
    overtaken,
)
from poddispatchd.domain.task import ManagerId, RunnerTaskId, SiteId, TaskPk, TaskStatus, TaskType

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PRIORITIES = {ManagerId(1): 1, ManagerId(2): 1, ManagerId(3): 2}

_managers = st.sampled_from(list(PRIORITIES))
_ids = st.sampled_from([RunnerTaskId("one"), RunnerTaskId("two")])
_dates = st.sampled_from([NOON, NOON + timedelta(minutes=1)])
_rows = st.builds(
    Row,
    status=st.sampled_from([*TaskStatus, "warning", "levitating"]),
    task_id=st.none() | _ids,
    manager=st.none() | _managers,
    date_added=_dates,
)
_submissions = st.builds(ExpectedSubmission, date_added=st.just(NOON), manager=st.none() | _managers)
_ends = st.builds(
    ExpectedEnd,
    date_added=st.just(NOON),
    task_id=_ids,
    intention=st.sampled_from([each for each in Intention if each is not Intention.SUBMIT]),
)
_standings = st.builds(
    Standing,
    task=st.integers(1, 30).map(TaskPk),
    type=st.sampled_from(TaskType),
    site=st.sampled_from([None, SiteId(1), SiteId(2)]),
    place=st.tuples(st.integers(0, 2), st.sampled_from([0.0, 5.0]), _dates, st.integers(1, 30).map(TaskPk)),
    date_added=st.just(NOON),
    is_due=st.booleans(),
    is_first=st.booleans(),
)
_queues = st.lists(_standings, max_size=12, unique_by=lambda standing: standing.task)


def row(status: str, manager: int | None = None, task_id: str | None = None) -> Row:
    return Row(
        status,
        None if task_id is None else RunnerTaskId(task_id),
        None if manager is None else ManagerId(manager),
        NOON,
    )


# --- submissions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("became", "verdict"),
    [
        (None, Agreement.WITHDRAWN),
        (replace(row("running", 1), date_added=NOON + timedelta(hours=1)), Agreement.WITHDRAWN),
        (row("pending"), None),
        (row("running", 1, "one"), Agreement.SAME),
        (row("failed", 1, "one"), Agreement.SAME),
        (row("running", 2, "one"), Difference.OTHER_TURN),
        (row("completed", 3, "one"), Difference.OTHER_MANAGER),
        (row("running", 9, "one"), Difference.OTHER_MANAGER),
        (row("failed"), Difference.NOWHERE),
    ],
)
def test_a_submission_is_compared_by_its_manager(became: Row | None, verdict: object) -> None:
    expected = ExpectedSubmission(NOON, ManagerId(1))
    assert compare_submission(expected, became, PRIORITIES) is verdict


@pytest.mark.parametrize(
    ("became", "verdict"),
    [
        (row("pending"), None),
        (row("failed"), Agreement.SAME),
        (row("running", 1, "one"), Difference.SUBMITTED_IN_VAIN),
        (row("completed"), Difference.NOWHERE),
    ],
)
def test_what_can_never_be_submitted_should_have_failed_without_a_manager(
    became: Row, verdict: object
) -> None:
    assert compare_submission(ExpectedSubmission(NOON, None), became, PRIORITIES) is verdict


@given(_submissions, _rows)
def test_a_submission_stays_open_exactly_as_long_as_its_task_waits(
    expected: ExpectedSubmission, became: Row
) -> None:
    verdict = compare_submission(expected, became, PRIORITIES)
    waits = became.status == TaskStatus.PENDING and became.date_added == expected.date_added
    assert (verdict is None) == waits


@given(_submissions, _rows)
def test_a_submission_agrees_only_with_what_was_expected(expected: ExpectedSubmission, became: Row) -> None:
    if compare_submission(expected, became, PRIORITIES) is Agreement.SAME:
        assert became.manager == expected.manager
        assert became.date_added == expected.date_added


@given(_standings, st.none() | _rows)
def test_a_task_of_which_nothing_was_expected_is_judged_once_it_has_a_manager(
    standing: Standing, became: Row | None
) -> None:
    verdict = compare_surprise(standing, became)
    left = became is not None and became.status != TaskStatus.PENDING and became.date_added == NOON
    submitted = became is not None and left and became.manager is not None
    assert (verdict is not None) == (submitted and standing.site is not None)
    if verdict is Difference.SUBMITTED_TWICE:
        assert standing.is_due
        assert not standing.is_first


@pytest.mark.parametrize(
    ("is_due", "is_first", "manager", "verdict"),
    [
        (True, True, 1, Agreement.UNFORESEEN),
        (True, False, 1, Difference.SUBMITTED_TWICE),
        (False, True, 1, Agreement.LEFT_TO_POD),
        (False, False, 1, Agreement.LEFT_TO_POD),
        (True, True, None, None),
    ],
)
def test_a_surprise_is_judged_by_how_its_task_stood(
    *, is_due: bool, is_first: bool, manager: int | None, verdict: object
) -> None:
    standing = replace(_standing(7), is_due=is_due, is_first=is_first)

    assert compare_surprise(standing, row("running", manager, "one")) is verdict


# --- the order -------------------------------------------------------------------------------------------


def _standing(number: int, *, place: int = 0) -> Standing:
    """An encoding of the first site that could go."""
    return Standing(TaskPk(number), TaskType.ENCODING, SiteId(1), (1, 0.0, NOON, TaskPk(place)), NOON)


def test_who_is_overtaken_is_told_in_the_order_of_the_queue() -> None:
    """Each of the others has one reason, and no more, not to be."""
    submitted = _standing(50, place=5)
    before = {number: _standing(number, place=place) for number, place in ((3, 1), (2, 4), (1, 2))}
    others = {
        10: replace(_standing(10), type=TaskType.STUDIO),
        11: replace(_standing(11), site=SiteId(2)),
        12: replace(_standing(12), is_due=False),
        13: replace(_standing(13), is_first=False),
        14: _standing(14, place=6),
        15: _standing(15, place=5),
        16: _standing(16),
    }
    queue = [*before.values(), *others.values(), submitted]
    still = {TaskPk(number) for number in (*before, *others)} - {TaskPk(16)}

    assert overtaken(submitted, queue, still) == [3, 1, 2]
    assert overtaken(replace(submitted, is_due=False), queue, still) == []


@given(_standings, _queues, st.frozensets(st.integers(1, 30).map(TaskPk)))
def test_only_waiting_tasks_of_the_same_kind_that_stood_before_and_could_go_are_overtaken(
    submitted: Standing, queue: list[Standing], still: frozenset[TaskPk]
) -> None:
    passed = overtaken(submitted, queue, still)
    by_task = {standing.task: standing for standing in queue}
    places = [by_task[task].place for task in passed]
    assert places == sorted(places)
    for standing in queue:
        assert (standing.task in passed) == (
            submitted.is_due
            and standing.place < submitted.place
            and standing.is_due
            and standing.is_first
            and standing.site is not None
            and (standing.site, standing.type) == (submitted.site, submitted.type)
            and standing.task in still
        )


@given(_queues)
def test_whoever_is_served_in_order_overtakes_nobody(queue: list[Standing]) -> None:
    ordered = sorted(queue, key=lambda standing: (standing.place, standing.task))
    for served, standing in enumerate(ordered):
        assert overtaken(standing, ordered, {other.task for other in ordered[served + 1 :]}) == []


# --- ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intention", "became", "verdict"),
    [
        (Intention.IMPORT, row("running", 1, "one"), None),
        (Intention.IMPORT, row("warning", 1, "one"), None),
        (Intention.IMPORT, row("completed", 1, "one"), Agreement.SAME),
        (Intention.IMPORT, row("failed", 1, "one"), Difference.ENDED_OTHERWISE),
        (Intention.IMPORT, row("pending"), Difference.STARTED_AGAIN),
        (Intention.FAIL, row("failed", 1, "one"), Agreement.SAME),
        (Intention.FAIL, row("timeout", 1, "one"), Difference.ENDED_OTHERWISE),
        (Intention.TIME_OUT, row("timeout", 1, "one"), Agreement.SAME),
        (Intention.REQUEUE, row("failed", 1, "one"), Difference.GIVEN_UP),
        (Intention.REQUEUE, row("completed", 1, "one"), Difference.ENDED_OTHERWISE),
        (Intention.REQUEUE, row("pending"), Agreement.SAME),
        (Intention.REQUEUE, row("running", 2, "two"), Agreement.SAME),
        (Intention.REQUEUE, None, Agreement.WITHDRAWN),
    ],
)
def test_an_end_is_compared_by_the_status_of_the_row(
    intention: Intention, became: Row | None, verdict: object
) -> None:
    assert compare_end(ExpectedEnd(NOON, RunnerTaskId("one"), intention), became) is verdict


@given(_ends, _rows)
def test_an_end_stays_open_exactly_as_long_as_the_run_is_not_over_in_the_row(
    expected: ExpectedEnd, became: Row
) -> None:
    same_run = (became.date_added, became.task_id) == (expected.date_added, expected.task_id)
    over = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMEOUT)
    assert (compare_end(expected, became) is None) == (same_run and became.status not in over)


@pytest.mark.parametrize("decision", list(Decision))
def test_every_decision_but_waiting_is_an_intention(decision: Decision) -> None:
    # Whether a result is there already only the journal knows, of which the shadow has none.
    idle = decision in (Decision.COMPLETE, Decision.WAIT, Decision.IGNORE)
    assert (intention_of(decision) is None) == idle


def test_counts_are_told_in_words() -> None:
    assert counted({"same": 12, "left_to_pod": 1, "withdrawn": 0}) == "same 12, left to pod 1"
    assert counted({"same": 0}) == "none"

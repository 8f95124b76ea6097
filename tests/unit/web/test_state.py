"""The state of a daemon: what is said of a type of task."""

from msgspec.structs import replace

from poddispatchd.domain.situation import Finding, Reason, Severity
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.web.state import WaitingState, with_own_reason
from tests.unit.web.samples import CALM, queue

NEXT = Finding(Reason.NEXT, Severity.NORMAL, "A runner manager has room: they are submitted now.")
BEHIND = Finding(
    Reason.SAME_SOURCE_RUNS,
    Severity.NORMAL,
    "Task 1 works on the same source: this one ends with it.",
    "If that one hangs: 'poddispatchd tasks cancel 1'.",
)
TASK = WaitingState(TaskPk(2), "encoding", 1, BEHIND)


def test_a_type_whose_tasks_all_wait_for_others_is_not_said_to_be_submitted_now() -> None:
    """``status`` once said so of a task that waited for another one of its source, on a dead manager."""
    why = with_own_reason(queue(TaskType.ENCODING, 1, NEXT), (TASK,)).why
    assert why is not None
    assert why.reason is Reason.SAME_SOURCE_RUNS
    assert why.sentence == f"Task 2: {BEHIND.sentence}"

    why = with_own_reason(queue(TaskType.ENCODING, 2, NEXT), (TASK, replace(TASK, task=TaskPk(3)))).why
    assert why is not None
    assert "1 more wait for reasons of their own." in why.words


def test_a_type_of_which_one_task_is_next_or_not_looked_at_keeps_its_words() -> None:
    two = queue(TaskType.ENCODING, 2, NEXT)
    assert with_own_reason(two, (TASK,)) == two
    assert with_own_reason(two, (TASK, replace(TASK, task=TaskPk(3), why=NEXT))) == two
    full = queue(TaskType.ENCODING, 1, replace(NEXT, reason=Reason.MANAGERS_FULL))
    assert with_own_reason(full, (TASK,)) == full


def test_what_was_not_counted_yet_is_not_told_as_nothing() -> None:
    """`systemctl status` said "0 pending" of a long queue, for the first seconds."""
    assert replace(CALM, as_of=None).line() == "not counted yet; scheduling"
    assert replace(CALM, as_of="2026-03-14T17:00:00+00:00").line().startswith("0 pending, ")


def test_of_several_reasons_the_one_that_needs_a_person_is_told() -> None:
    locked = Finding(Reason.ROW_LOCKED, Severity.PROBLEM, "Its row is locked.")
    own = (TASK, replace(TASK, task=TaskPk(3), why=locked))

    why = with_own_reason(queue(TaskType.ENCODING, 2, NEXT), own).why

    assert why is not None
    assert (why.severity, why.words.startswith("Task 3: ")) == (Severity.PROBLEM, True)

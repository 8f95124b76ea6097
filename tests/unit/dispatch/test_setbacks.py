from structlog.testing import capture_logs

from poddispatchd.dispatch.setbacks import Setbacks
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import DatabaseError, RowLockedError
from poddispatchd.observability.events import Event


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_waits_grow_and_a_refusal_is_told_once_and_its_end_too() -> None:
    clock = _Clock()
    setbacks, pk, waits = Setbacks(clock), TaskPk(7), []
    with capture_logs() as logs:
        for _ in range(12):
            waits.append(setbacks.note(pk, DatabaseError("refused")))
            assert not setbacks.is_due(pk)
            clock.now = setbacks.next_due([pk]) or clock.now
            assert setbacks.is_due(pk)
        setbacks.over(pk, is_stored=True)
    assert waits == sorted(waits)
    assert (waits[0] < 1, waits[-1]) == (True, 60)
    assert [entry["event"] for entry in logs] == [Event.SUBMISSION_DELAYED, Event.SUBMISSION_RESUMED]
    assert pk not in setbacks


def test_a_row_that_is_held_for_a_moment_is_not_worth_a_word() -> None:
    clock = _Clock()
    setbacks, pk = Setbacks(clock), TaskPk(7)
    with capture_logs() as logs:
        setbacks.note(pk, RowLockedError("held", task=pk))
        setbacks.over(pk, is_stored=True)
        assert logs == []
        setbacks.note(pk, RowLockedError("held", task=pk))
        clock.now = 4
        setbacks.note(pk, RowLockedError("held", task=pk))
    assert [entry["event"] for entry in logs] == [Event.SUBMISSION_DELAYED]
    assert setbacks.tasks == {pk: "held"}


def test_refusals_of_one_task_after_the_other_concern_all_until_one_gets_through() -> None:
    setbacks = Setbacks(_Clock())
    for pk in (1, 2, 3):
        assert not setbacks.nothing_gets_through
        setbacks.note(TaskPk(pk), DatabaseError("refused"))
    assert setbacks.nothing_gets_through
    setbacks.over(TaskPk(2), is_stored=False)
    setbacks.note(TaskPk(4), DatabaseError("refused"))
    assert setbacks.nothing_gets_through
    setbacks.over(TaskPk(4), is_stored=True)
    assert not setbacks.nothing_gets_through


def test_locked_rows_concern_nobody_else() -> None:
    setbacks = Setbacks(_Clock())
    for pk in range(10):
        setbacks.note(TaskPk(pk), RowLockedError())
    assert not setbacks.nothing_gets_through


def test_a_bug_may_be_met_once_more_at_once_and_not_twice() -> None:
    setbacks, pk = Setbacks(_Clock()), TaskPk(7)
    setbacks.note_bug(pk)
    assert setbacks.is_due(pk)
    setbacks.note_bug(pk)
    assert not setbacks.is_due(pk)

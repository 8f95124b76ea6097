from poddispatchd.dispatch.submission_backoff import TaskBackoff
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import DatabaseError


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_task_that_met_an_error_is_left_alone_for_as_long_as_it_was_said() -> None:
    clock = _Clock()
    setbacks, pk = TaskBackoff(clock), TaskPk(7)
    setbacks.note(pk, ValueError(), 5)
    assert not setbacks.is_due(pk)
    assert setbacks.is_due(TaskPk(8))
    assert setbacks.next_due([pk, TaskPk(8)]) == 5
    clock.now = 5
    assert setbacks.is_due(pk)
    assert setbacks.next_due([pk]) is None


def test_refusals_of_one_task_after_the_other_concern_all_until_one_gets_through() -> None:
    setbacks = TaskBackoff(_Clock())
    for pk in (1, 2, 3):
        assert not setbacks.nothing_gets_through
        setbacks.note(TaskPk(pk), DatabaseError("refused"), 1)
    assert setbacks.nothing_gets_through
    setbacks.recovered(TaskPk(2), is_stored=False)
    setbacks.note(TaskPk(4), DatabaseError("refused"), 1)
    assert setbacks.nothing_gets_through
    setbacks.recovered(TaskPk(4), is_stored=True)
    assert not setbacks.nothing_gets_through


def test_of_tasks_that_were_all_refused_one_may_be_tried_when_the_last_one_has_waited() -> None:
    clock = _Clock()
    setbacks = TaskBackoff(clock)
    for pk in (1, 2, 3):
        setbacks.note(TaskPk(pk), DatabaseError("refused"), 5 * pk)
    clock.now = 14
    assert not setbacks.may_try
    clock.now = 15
    assert (setbacks.nothing_gets_through, setbacks.may_try) == (True, True)
    setbacks.note(TaskPk(1), DatabaseError("refused"), 30)
    assert not setbacks.may_try


def test_errors_that_are_not_the_databases_concern_nobody_else() -> None:
    setbacks = TaskBackoff(_Clock())
    for pk in range(10):
        setbacks.note(TaskPk(pk), ValueError(), 1)
    assert not setbacks.nothing_gets_through

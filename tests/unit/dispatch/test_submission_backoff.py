from poddispatchd.dispatch.submission_backoff import TaskBackoff
from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import DatabaseError


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_task_that_met_an_error_is_left_alone_for_as_long_as_it_was_said() -> None:
    clock = _Clock()
    backoff, pk = TaskBackoff(clock), TaskPk(7)
    backoff.note(pk, ValueError(), 5)
    assert not backoff.is_due(pk)
    assert backoff.is_due(TaskPk(8))
    assert backoff.next_due([pk, TaskPk(8)]) == 5
    clock.now = 5
    assert backoff.is_due(pk)
    assert backoff.next_due([pk]) is None


def test_refusals_of_one_task_after_the_other_concern_all_until_one_gets_through() -> None:
    backoff = TaskBackoff(_Clock())
    for pk in (1, 2, 3):
        assert not backoff.nothing_gets_through
        backoff.note(TaskPk(pk), DatabaseError("refused"), 1)
    assert backoff.nothing_gets_through
    backoff.recovered(TaskPk(2), is_stored=False)
    backoff.note(TaskPk(4), DatabaseError("refused"), 1)
    assert backoff.nothing_gets_through
    backoff.recovered(TaskPk(4), is_stored=True)
    assert not backoff.nothing_gets_through


def test_of_tasks_that_were_all_refused_one_may_be_tried_when_the_last_one_has_waited() -> None:
    clock = _Clock()
    backoff = TaskBackoff(clock)
    for pk in (1, 2, 3):
        backoff.note(TaskPk(pk), DatabaseError("refused"), 5 * pk)
    clock.now = 14
    assert not backoff.may_try
    clock.now = 15
    assert (backoff.nothing_gets_through, backoff.may_try) == (True, True)
    backoff.note(TaskPk(1), DatabaseError("refused"), 30)
    assert not backoff.may_try


def test_errors_that_are_not_the_databases_concern_nobody_else() -> None:
    backoff = TaskBackoff(_Clock())
    for pk in range(10):
        backoff.note(TaskPk(pk), ValueError(), 1)
    assert not backoff.nothing_gets_through


def test_nothing_is_remembered_of_tasks_that_are_gone() -> None:
    backoff = TaskBackoff(_Clock())
    for pk in range(10):
        backoff.note(TaskPk(pk), DatabaseError("refused"), 1)
    backoff.forget(lambda pk: pk != 3)
    assert backoff.tasks == backoff._refused == {TaskPk(3)}

"""The stages of a task, and what leads from one to another."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.stages import Stage, Step, after, stage_of
from poddispatchd.domain.task import TaskStatus

_ENDED = (Stage.COMPLETED, Stage.FAILED, Stage.TIMEOUT)


@given(st.sampled_from(TaskStatus), st.booleans(), st.booleans())
def test_a_stage_is_one_of_its_status(status: TaskStatus, is_intended: bool, has_result: bool) -> None:
    assert stage_of(status, is_intended=is_intended, has_result=has_result).status is status


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_can_be_told_from_a_row_and_the_journal(stage: Stage) -> None:
    found = {
        stage_of(stage.status, is_intended=is_intended, has_result=has_result)
        for is_intended, has_result in product((True, False), repeat=2)
    }
    assert stage in found


@given(st.sampled_from(Stage), st.sampled_from(Step), st.booleans())
def test_what_has_ended_is_begun_again_by_a_person_alone(stage: Stage, step: Step, may: bool) -> None:
    target = after(stage, step, may_submit_again=may)
    if stage in _ENDED:
        assert (target is not None) == (step is Step.RESTARTED)
        assert target in (None, Stage.WAITING)


@given(st.sampled_from(Stage), st.sampled_from(Step))
def test_without_attempts_left_nothing_goes_back_into_the_queue_by_itself(stage: Stage, step: Step) -> None:
    target = after(stage, step, may_submit_again=False)
    if stage.status is TaskStatus.RUNNING and step is not Step.RESTARTED:
        assert target is None or target.status is not TaskStatus.PENDING


def test_completed_is_reached_by_an_import_alone() -> None:
    ways = {(stage, step) for stage, step in product(Stage, Step) if after(stage, step) is Stage.COMPLETED}
    assert ways == {(Stage.IMPORTING, Step.IMPORTED)}


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage not in _ENDED])
def test_every_stage_leads_to_an_end(stage: Stage) -> None:
    reached, rest = {stage}, [stage]
    while rest:
        here = rest.pop()
        ways = [after(here, step) for step in Step]
        if here is Stage.AT_WORK:
            ways.append(Stage.IMPORTING)  # reported completed
        for target in ways:
            if target is not None and target not in reached:
                reached.add(target)
                rest.append(target)
    assert Stage.COMPLETED in reached

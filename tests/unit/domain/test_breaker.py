from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.breaker import Breaker, BreakerPolicy, BreakerState, RequestOutcome, after
from poddispatchd.errors import (
    AnswerLostError,
    PayloadRefusedError,
    PoddispatchdError,
    RunnerManagerBusyError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
    RunnerUnreachableError,
    UnusableAnswerError,
)

POLICY = BreakerPolicy(threshold=2, base=2.0, cap=60.0, floor=1.0, misconfigured=600.0)


def highest() -> float:
    return 1.0


def failed(breaker: Breaker, now: float) -> Breaker:
    return after(breaker, RequestOutcome.UNAVAILABLE, now=now, random=highest, policy=POLICY)


def opened(now: float = 0.0) -> Breaker:
    return failed(failed(Breaker(), now), now)


@pytest.mark.parametrize(
    "error",
    [
        None,
        RunnerManagerFullError(),
        RunnerManagerBusyError(),
        PayloadRefusedError(),
        RunnerTaskUnknownError(),
        RunnerUnreachableError(),
    ],
)
def test_a_manager_that_answers_is_not_broken(error: PoddispatchdError | None) -> None:
    assert RequestOutcome.of(error) is RequestOutcome.ANSWERED


@pytest.mark.parametrize("error", [RunnerManagerUnavailableError(), AnswerLostError(), UnusableAnswerError()])
def test_a_manager_that_does_not_answer_sensibly_is_unavailable(error: PoddispatchdError | None) -> None:
    assert RequestOutcome.of(error) is RequestOutcome.UNAVAILABLE


def test_a_refused_token_is_a_misconfiguration() -> None:
    assert RequestOutcome.of(RunnerManagerMisconfiguredError()) is RequestOutcome.MISCONFIGURED


def test_it_opens_at_the_threshold_and_not_before() -> None:
    once = failed(Breaker(), 0.0)
    twice = failed(once, 0.0)

    assert (once.state, twice.state) == (BreakerState.CLOSED, BreakerState.OPEN)
    assert twice.until == 3.0


def test_an_answer_between_failures_starts_the_count_again() -> None:
    once = failed(Breaker(), 0.0)
    answered = after(once, RequestOutcome.ANSWERED, now=1.0, random=highest, policy=POLICY)

    assert failed(answered, 2.0).state is BreakerState.CLOSED


def test_after_a_failure_that_does_not_open_it_others_get_the_tasks_for_a_moment() -> None:
    assert failed(Breaker(), 5.0).until == 5.0 + POLICY.floor


def test_a_failed_probe_doubles_the_wait() -> None:
    assert failed(opened(), 10.0).until == 10.0 + 1.0 + 4.0


def test_requests_already_under_way_do_not_make_the_wait_grow() -> None:
    breaker = opened()

    late = failed(failed(breaker, 0.5), 0.6)
    assert (late.until, late.failures) == (breaker.until, breaker.failures + 2)
    # What fails when the wait is over has been a probe.
    assert failed(breaker, breaker.until).until == breaker.until + 1.0 + 4.0


def test_a_probe_answered_full_closes_the_breaker() -> None:
    outcome = RequestOutcome.of(RunnerManagerFullError())

    assert after(opened(), outcome, now=4.0, random=highest, policy=POLICY) == Breaker()


def test_a_misconfigured_manager_is_left_alone_for_long_and_says_so() -> None:
    breaker = after(Breaker(), RequestOutcome.MISCONFIGURED, now=0.0, random=highest, policy=POLICY)

    assert (breaker.state, breaker.until) == (BreakerState.MISCONFIGURED, 600.0)


def test_a_connection_error_does_not_shorten_the_wait_of_a_misconfigured_manager() -> None:
    breaker = after(Breaker(), RequestOutcome.MISCONFIGURED, now=0.0, random=highest, policy=POLICY)

    later = failed(breaker, 5.0)

    assert (later.state, later.until) == (BreakerState.MISCONFIGURED, 600.0)


_events = st.lists(
    st.tuples(
        st.sampled_from(list(RequestOutcome)),
        st.floats(min_value=0, max_value=1000),
        st.floats(min_value=0, max_value=1, exclude_max=True),
    ),
    max_size=40,
)


@given(events=_events)
def test_whatever_happens_a_wait_is_bounded_and_one_answer_closes_it(
    events: list[tuple[RequestOutcome, float, float]],
) -> None:
    breaker, now = Breaker(), 0.0
    for outcome, passed, draw in events:
        now += passed
        breaker = after(breaker, outcome, now=now, random=partial(float, draw), policy=POLICY)
        longest = max(POLICY.cap + POLICY.floor, POLICY.misconfigured)
        assert breaker.until - now <= longest + 1e-6

    closed = after(breaker, RequestOutcome.ANSWERED, now=now, random=highest, policy=POLICY)
    assert closed == Breaker()

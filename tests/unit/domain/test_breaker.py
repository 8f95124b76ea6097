from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.breaker import (
    Breaker,
    BreakerPolicy,
    BreakerState,
    Outcome,
    admit,
    after,
)
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

POLICY = BreakerPolicy(threshold=2, base=2.0, cap=60.0, floor=1.0, misconfigured=600.0, probe=90.0)


def highest() -> float:
    return 1.0


def failed(breaker: Breaker, now: float) -> Breaker:
    return after(breaker, Outcome.UNAVAILABLE, now=now, random=highest, policy=POLICY)


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
    assert Outcome.of(error) is Outcome.ANSWERED


@pytest.mark.parametrize("error", [RunnerManagerUnavailableError(), AnswerLostError(), UnusableAnswerError()])
def test_a_manager_that_does_not_answer_sensibly_is_unavailable(error: PoddispatchdError | None) -> None:
    assert Outcome.of(error) is Outcome.UNAVAILABLE


def test_a_refused_token_is_a_misconfiguration() -> None:
    assert Outcome.of(RunnerManagerMisconfiguredError()) is Outcome.MISCONFIGURED


def test_it_opens_at_the_threshold_and_not_before() -> None:
    once = failed(Breaker(), 0.0)
    twice = failed(once, 0.0)

    assert (once.state, twice.state) == (BreakerState.CLOSED, BreakerState.OPEN)
    assert twice.until == 3.0


def test_an_answer_between_failures_starts_the_count_again() -> None:
    once = failed(Breaker(), 0.0)
    answered = after(once, Outcome.ANSWERED, now=1.0, random=highest, policy=POLICY)

    assert failed(answered, 2.0).state is BreakerState.CLOSED


def test_an_open_breaker_tells_how_long_to_wait() -> None:
    admission = admit(opened(), now=1.0, policy=POLICY)

    assert not admission.allowed
    assert admission.wait == 2.0


def test_one_probe_goes_out_when_the_time_has_come_and_the_others_wait() -> None:
    probe = admit(opened(), now=3.0, policy=POLICY)
    other = admit(probe.breaker, now=3.0, policy=POLICY)

    assert probe.allowed
    assert probe.breaker.state is BreakerState.HALF_OPEN
    assert not other.allowed


def test_a_probe_that_never_reports_is_forgotten() -> None:
    probe = admit(opened(), now=3.0, policy=POLICY)

    assert not admit(probe.breaker, now=92.0, policy=POLICY).allowed
    assert admit(probe.breaker, now=93.0, policy=POLICY).allowed


def test_a_failed_probe_doubles_the_wait() -> None:
    probe = admit(opened(), now=3.0, policy=POLICY)

    assert failed(probe.breaker, 10.0).until == 10.0 + 1.0 + 4.0


def test_requests_already_under_way_do_not_make_the_wait_grow() -> None:
    breaker = opened()

    assert failed(failed(breaker, 0.5), 0.6).until == breaker.until


def test_a_probe_answered_full_closes_the_breaker() -> None:
    probe = admit(opened(), now=3.0, policy=POLICY)
    outcome = Outcome.of(RunnerManagerFullError())

    assert after(probe.breaker, outcome, now=4.0, random=highest, policy=POLICY) == Breaker()


def test_a_misconfigured_manager_is_left_alone_for_long_and_says_so() -> None:
    breaker = after(Breaker(), Outcome.MISCONFIGURED, now=0.0, random=highest, policy=POLICY)

    assert breaker.state is BreakerState.MISCONFIGURED
    assert not admit(breaker, now=599.0, policy=POLICY).allowed
    assert admit(breaker, now=600.0, policy=POLICY).allowed


def test_a_connection_error_does_not_shorten_the_wait_of_a_misconfigured_manager() -> None:
    breaker = after(Breaker(), Outcome.MISCONFIGURED, now=0.0, random=highest, policy=POLICY)

    later = failed(breaker, 5.0)

    assert (later.state, later.until) == (BreakerState.MISCONFIGURED, 600.0)


_events = st.lists(
    st.tuples(
        st.sampled_from(list(Outcome)),
        st.floats(min_value=0, max_value=1000),
        st.floats(min_value=0, max_value=1, exclude_max=True),
    ),
    max_size=40,
)


@given(events=_events)
def test_whatever_happens_a_wait_is_bounded_and_one_answer_closes_it(
    events: list[tuple[Outcome, float, float]],
) -> None:
    breaker, now = Breaker(), 0.0
    for outcome, passed, draw in events:
        now += passed
        breaker = after(
            admit(breaker, now=now, policy=POLICY).breaker,
            outcome,
            now=now,
            random=partial(float, draw),
            policy=POLICY,
        )
        longest = max(POLICY.cap + POLICY.floor, POLICY.misconfigured, POLICY.probe)
        assert admit(breaker, now=now, policy=POLICY).wait <= longest + 1e-6
        assert (breaker.state is BreakerState.CLOSED) == admit(breaker, now=now, policy=POLICY).allowed

    closed = after(breaker, Outcome.ANSWERED, now=now, random=highest, policy=POLICY)
    assert closed == Breaker()


@given(
    failures=st.integers(min_value=0, max_value=30),
    askers=st.integers(min_value=1, max_value=20),
)
def test_of_any_number_of_askers_at_most_one_probes(failures: int, askers: int) -> None:
    breaker, now = opened(), 0.0
    for _ in range(failures):
        now = breaker.until
        breaker = failed(admit(breaker, now=now, policy=POLICY).breaker, now)
    now = breaker.until
    allowed = 0
    for _ in range(askers):
        admission = admit(breaker, now=now, policy=POLICY)
        breaker, allowed = admission.breaker, allowed + admission.allowed
    assert allowed == 1

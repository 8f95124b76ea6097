import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.back_pressure import Fullness


def _middle() -> float:
    return 0.5


def _refused(times: int, *, start: Fullness | None = None, now: float = 0.0) -> list[float]:
    """The waits after so many refusals, each asked at the end of the wait before."""
    state, waits = start or Fullness(), []
    for _ in range(times):
        state = state.refused(now, _middle)
        waits.append(state.until - now)
        now = state.until
    return waits


def test_waits_grow_from_fifteen_seconds_to_two_minutes() -> None:
    waits = _refused(10)
    assert waits[0] == 15
    assert waits == sorted(waits)
    assert waits[-1] == 120


@given(refusals=st.integers(0, 10_000), random=st.floats(0, 1, exclude_max=True))
def test_a_wait_is_jittered_by_a_quarter_and_never_out_of_bounds(refusals: int, random: float) -> None:
    state = Fullness(refusals=refusals).refused(1000.0, lambda: random)
    assert 0.75 * 15 <= state.until - 1000.0 <= 1.25 * 120
    assert state.refusals == refusals + 1


def test_shortly_after_a_callback_it_is_asked_again_quickly_and_then_backs_off_from_the_beginning() -> None:
    waits = _refused(12, start=Fullness().freed(0.0))
    quick = [wait for wait in waits if wait < 10]
    assert quick == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
    assert waits[len(quick) :] == pytest.approx(_refused(12 - len(quick)))


def test_a_runner_that_another_client_took_is_asked_for_within_twenty_seconds() -> None:
    # Full for an hour, then one of ours ends there and somebody else takes the runner.
    state, now = Fullness(), 0.0
    while now < 3600:
        state = state.refused(now, _middle)
        now = state.until
    state = state.freed(now)
    waits = []
    for _ in range(7):
        state = state.refused(now, lambda: 0.999)
        waits.append(state.until - now)
        now = state.until
    assert max(waits) <= 20


def test_a_callback_ends_every_wait() -> None:
    state = Fullness().refused(0.0, _middle).freed(3.0)
    assert (state.until, state.refusals, state.signs) == (0.0, 0, 1)


def test_a_callback_promises_one_runner_and_no_more() -> None:
    state = Fullness().freed(0.0).accepted()
    assert state.until == 0.0
    assert state.refused(0.1, _middle).until > 10
    two = Fullness().freed(0.0).freed(0.1).accepted()
    assert two.refused(0.2, _middle).until < 1

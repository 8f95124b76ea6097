from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.backoff import full_jitter


def test_the_limit_doubles_with_each_attempt_until_the_cap() -> None:
    limits = [full_jitter(attempt, base=0.5, cap=8.0, random=lambda: 1.0) for attempt in range(7)]

    assert limits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_the_wait_is_drawn_from_the_whole_range() -> None:
    assert full_jitter(3, base=0.5, cap=8.0, random=lambda: 0.25) == 1.0
    assert full_jitter(3, base=0.5, cap=8.0, random=lambda: 0.0) == 0.0


@given(
    attempt=st.integers(min_value=0, max_value=10**9),
    base=st.floats(min_value=0.001, max_value=100),
    cap=st.floats(min_value=0.001, max_value=10_000),
    draw=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_a_wait_is_never_negative_nor_beyond_the_cap(
    attempt: int, base: float, cap: float, draw: float
) -> None:
    assert 0 <= full_jitter(attempt, base=base, cap=cap, random=lambda: draw) <= cap

"""A sender that trickles is found out; one that pauses is not."""

import pytest

from poddispatchd.runner.download_limits import TransferRate, longest_transfer


def test_a_byte_every_five_seconds_is_too_slow_after_one_window() -> None:
    rate = TransferRate(1024, 60.0)
    assert [rate.is_too_low(1, 5.0) for _ in range(12)] == [False] * 11 + [True]


def test_a_pause_within_a_window_is_made_up_for_by_what_comes_then() -> None:
    rate = TransferRate(1024, 60.0)
    assert not rate.is_too_low(0, 50.0)
    assert rate.left == 10.0
    assert not rate.is_too_low(60 * 1024, 10.0)


def test_what_came_in_an_earlier_window_does_not_count() -> None:
    rate = TransferRate(1024, 60.0)
    assert not rate.is_too_low(10**9, 60.0)
    assert rate.is_too_low(1, 60.0)


def test_any_rate_is_accepted_when_none_is_asked_for() -> None:
    assert not TransferRate(0, 60.0).is_too_low(0, 600.0)


@pytest.mark.parametrize(
    ("size", "minimum", "seconds"), [(0, 1000, 60.0), (10_000, 1000, 70.0), (10**12, 0, float("inf"))]
)
def test_a_whole_result_may_take_longer_the_larger_it_is(size: int, minimum: int, seconds: float) -> None:
    assert longest_transfer(size, minimum=minimum, allowance=60.0) == seconds

"""Submissions stay below a manager's rate limit, and wait for it only when it is near."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.back_pressure import Pace

_MINUTE = 60.0


def _sent(wanted: list[float], per_minute: int) -> list[float]:
    """When submissions go out that are wanted at these moments, one after the other."""
    pace, sent = Pace(per_minute), []
    now = 0.0
    for moment in sorted(wanted):
        now = max(now, moment)
        while (opening := pace.opening(now)) > now:
            now = opening
        pace.posted(now)
        sent.append(now)
    return sent


_GAPS = st.lists(st.floats(0, 90) | st.floats(0, 1) | st.just(0.0), max_size=120)


def _moments(gaps: list[float]) -> list[float]:
    now, moments = 1000.0, []
    for gap in gaps:
        now += gap
        moments.append(now)
    return moments


@given(gaps=_GAPS, per_minute=st.integers(1, 40))
def test_no_minute_holds_more_than_the_limit(gaps: list[float], per_minute: int) -> None:
    sent = _sent(_moments(gaps), per_minute)
    for first, next_after_the_limit in zip(sent, sent[per_minute:], strict=False):
        assert next_after_the_limit - first >= _MINUTE - 1e-6


@given(gaps=_GAPS, per_minute=st.integers(1, 40))
def test_nothing_waits_while_a_fifth_of_the_limit_is_unused(gaps: list[float], per_minute: int) -> None:
    pace, now = Pace(per_minute), 0.0
    sent: list[float] = []
    for moment in _moments(gaps):
        now = max(now, moment)
        recent = sum(one + _MINUTE > now for one in sent)
        if recent < max(1, int(per_minute * 0.8)):
            assert pace.opening(now) <= now
        while (opening := pace.opening(now)) > now:
            now = opening
        pace.posted(now)
        sent.append(now)


def test_a_burst_goes_at_once_and_what_follows_is_spread_over_the_minute() -> None:
    sent = _sent([0.0] * 100, 100)
    assert sent[:80] == [0.0] * 80
    gaps = [later - earlier for earlier, later in pairwise(sent[79:])]
    assert gaps == pytest.approx([_MINUTE / 21] * 20)
    assert max(gaps) < 3


def test_after_a_quiet_minute_a_burst_goes_at_once_again() -> None:
    assert _sent([0.0] * 100 + [130.0] * 80, 100)[100:] == [130.0] * 80


def test_whoever_always_has_tasks_uses_the_whole_limit() -> None:
    sent = _sent([0.0] * 1000, 100)
    assert sent[-1] <= 10 * _MINUTE


def test_without_a_limit_nothing_ever_waits() -> None:
    assert _sent([5.0] * 1000, 0) == [5.0] * 1000


def test_of_one_submission_a_minute_the_second_waits_for_its_minute() -> None:
    pace = Pace(1)
    assert pace.opening(0.0) <= 0.0
    pace.posted(0.0)
    assert pace.opening(59.0) == _MINUTE
    assert pace.opening(_MINUTE) <= _MINUTE


def test_two_go_as_they_come_while_neither_has_to_wait_for_the_rate_limit() -> None:
    pace = Pace(10)
    for _ in range(6):
        assert pace.lets_two_go(1000.0)
        pace.posted(1000.0)
    assert pace.lets_two_go(1000.0)
    pace.posted(1000.0)
    assert not pace.lets_two_go(1000.0)
    assert pace.lets_two_go(1000.0 + _MINUTE)
    assert Pace(0).lets_two_go(1000.0)

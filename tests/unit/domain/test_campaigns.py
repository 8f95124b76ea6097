"""Which videos a campaign names, and when it will probably be done."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from poddispatchd.domain.campaigns import expected_end, parse_videos
from poddispatchd.domain.time_windows import TimeWindows, parse_windows

_NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
_NIGHTS = TimeWindows(parse_windows("20:00-06:00"), ZoneInfo("UTC"))


def test_ids_and_ranges_are_taken_in_their_order_each_once() -> None:
    assert parse_videos("7, 1,5-8 ,1") == [7, 1, 5, 6, 8]


@pytest.mark.parametrize("text", ["0", "0-3", "9223372036854775808", "1,2-9223372036854775808"])
def test_an_id_that_no_video_can_have_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"no video can have the id (0|9223372036854775808)"):
        parse_videos(text)


@pytest.mark.parametrize(
    "text", ["", "a", "1,,2", "9-5", "1-", "-3", "1;2", "1-100001", "1-99999,200000-200001"]
)
def test_what_is_no_list_of_videos_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no id|ends before|more than"):
        parse_videos(text)


def _ends(every: timedelta, count: int, last: datetime) -> list[datetime]:
    return [last - number * every for number in range(count)]


def test_it_ends_as_often_as_it_did_lately() -> None:
    ends = _ends(timedelta(minutes=10), 13, _NOW)

    assert expected_end(_NOW, ends, 6, None) == _NOW + timedelta(hours=1)


def test_a_standstill_until_now_counts() -> None:
    ends = _ends(timedelta(minutes=10), 13, _NOW - timedelta(hours=2))

    assert expected_end(_NOW, ends, 6, None) == _NOW + timedelta(hours=2)


def test_only_its_hours_count_before_and_after() -> None:
    # The night before: one every hour from 20:00 to 06:00. It is noon, and 15 are left.
    ends = _ends(timedelta(hours=1), 11, datetime(2026, 3, 3, 6, tzinfo=UTC))

    assert expected_end(_NOW, ends, 15, _NIGHTS) == datetime(2026, 3, 5, 1, tzinfo=UTC)


def test_few_ends_tell_nothing_and_without_anything_left_it_is_done() -> None:
    assert expected_end(_NOW, _ends(timedelta(hours=1), 4, _NOW), 3, None) is None
    assert expected_end(_NOW, [], 0, None) == _NOW


def test_what_would_take_years_is_not_said() -> None:
    ends = _ends(timedelta(hours=2), 5, _NOW)

    assert expected_end(_NOW, ends, 100_000, None) is None
    assert expected_end(_NOW, ends, 100_000, _NIGHTS) is None

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.time_windows import TimeWindows, Window, format_windows, parse_windows

_PARIS = ZoneInfo("Europe/Paris")
_MINUTE = timedelta(minutes=1)

_zones = st.sampled_from(
    [
        ZoneInfo(name)
        for name in (
            "Europe/Paris",
            "America/New_York",
            "America/St_Johns",  # half an hour off
            "Australia/Lord_Howe",  # its clocks change by half an hour
            "America/Santiago",  # they change at midnight
            "Africa/Casablanca",  # and there for a month each year
            "Pacific/Apia",  # a whole day was skipped
            "Indian/Reunion",
        )
    ]
)
_days = st.frozensets(st.integers(0, 6), min_size=1)
_windows = st.builds(Window, _days) | st.builds(
    lambda days, opens, length: Window(days, opens, opens + length),
    _days,
    st.integers(0, 24 * 60 - 1),
    st.integers(1, 24 * 60 - 1),
)
_near_changes = st.sampled_from(
    [
        datetime(2026, 3, 29, 1, tzinfo=UTC),  # Paris
        datetime(2026, 10, 25, 1, tzinfo=UTC),
        datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York
        datetime(2026, 11, 1, 6, tzinfo=UTC),
        datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe
        datetime(2026, 10, 3, 15, tzinfo=UTC),
        datetime(2026, 4, 5, 3, tzinfo=UTC),  # Santiago
        datetime(2026, 9, 6, 4, tzinfo=UTC),
        datetime(2011, 12, 30, 10, tzinfo=UTC),  # Apia
    ]
)
_moments = st.builds(
    lambda change, minutes: change + minutes * _MINUTE, _near_changes, st.integers(-3 * 24 * 60, 3 * 24 * 60)
)


def _latest_shown(moment: datetime, zone: ZoneInfo) -> datetime:
    """The latest time that the clocks of a zone have shown so far: it never goes back."""
    shown = ((moment - minutes * _MINUTE).astimezone(zone).replace(tzinfo=None) for minutes in range(130))
    return max(shown)


@given(_zones, st.lists(_windows, min_size=1, max_size=3), _moments)
def test_a_window_is_open_from_the_time_that_the_clock_first_shows(
    zone: ZoneInfo, windows: list[Window], now: datetime
) -> None:
    shown = _latest_shown(now, zone)
    midnights = [
        datetime.combine((shown - timedelta(days=back)).date(), datetime.min.time()) for back in range(3)
    ]
    expected = any(
        midnight + window.opens * _MINUTE <= shown < midnight + window.closes * _MINUTE
        for window in windows
        for midnight in midnights
        if midnight.weekday() in window.days
    )

    assert TimeWindows(tuple(windows), zone).is_open(now) == expected


@given(_zones, st.integers(0, 1439), st.integers(0, 1439), _moments)
def test_of_two_windows_that_follow_each_other_exactly_one_is_open(
    zone: ZoneInfo, one: int, other: int, now: datetime
) -> None:
    if one == other:
        return
    first, second = sorted((one, other))
    day = TimeWindows((Window(opens=first, closes=second),), zone)
    night = TimeWindows((Window(opens=second, closes=first + 24 * 60),), zone)

    assert day.is_open(now) != night.is_open(now)


@given(_zones, st.lists(_windows, min_size=1, max_size=3), _moments)
def test_what_is_said_of_the_next_opening_and_closing_comes_true(
    zone: ZoneInfo, listed: list[Window], now: datetime
) -> None:
    windows = TimeWindows(tuple(listed), zone)

    opens = windows.opens_at(now)
    assert opens is not None
    assert windows.is_open(opens)
    if opens == now:
        closes = windows.closes_at(now)
        assert closes is None or not windows.is_open(closes)
        assert closes is None or windows.is_open(closes - _MINUTE)
    else:
        assert not windows.is_open(opens - _MINUTE)
        assert windows.closes_at(now) is None


@given(st.lists(_windows, min_size=1, max_size=4))
def test_windows_survive_being_written(windows: list[Window]) -> None:
    assert parse_windows(format_windows(windows)) == tuple(windows)


@pytest.mark.parametrize(
    ("evening", "hours"), [("2026-03-28", 10), ("2026-10-24", 12), ("2026-06-01", 11), ("2026-12-31", 11)]
)
def test_a_night_is_as_long_as_the_clocks_make_it(evening: str, hours: int) -> None:
    night = TimeWindows(parse_windows("20:00-07:00"), _PARIS)
    begins = datetime.fromisoformat(f"{evening}T20:00").replace(tzinfo=_PARIS).astimezone(UTC)

    assert night.opens_at(begins - timedelta(hours=3)) == begins
    assert night.closes_at(begins) == begins + timedelta(hours=hours)


def test_a_window_that_the_clock_skips_is_not_open_on_that_day() -> None:
    windows = TimeWindows(parse_windows("sun 02:00-03:00"), _PARIS)
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)

    assert windows.opens_at(before) == datetime(2026, 4, 5, 0, tzinfo=UTC)


def test_a_window_that_opens_at_a_skipped_time_opens_with_the_change() -> None:
    windows = TimeWindows(parse_windows("02:30-06:00"), _PARIS)

    assert windows.opens_at(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_time_that_is_shown_twice_counts_the_first_time() -> None:
    windows = TimeWindows(parse_windows("20:00-02:30"), _PARIS)

    assert windows.closes_at(datetime(2026, 10, 24, 22, tzinfo=UTC)) == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )


def test_friday_night_ends_on_saturday() -> None:
    nights = TimeWindows(parse_windows("mon-fri 20:00-07:00"), _PARIS)

    assert nights.is_open(datetime(2026, 11, 28, 3, tzinfo=_PARIS))  # a Saturday
    assert not nights.is_open(datetime(2026, 11, 28, 21, tzinfo=_PARIS))
    assert nights.opens_at(datetime(2026, 11, 28, 21, tzinfo=_PARIS)) == datetime(
        2026, 11, 30, 20, tzinfo=_PARIS
    )


@pytest.mark.parametrize("text", ["00:00-24:00", "mon-sun", "00:00-12:00; 12:00-24:00"])
def test_a_window_without_end_never_closes(text: str) -> None:
    always = TimeWindows(parse_windows(text), _PARIS)
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)

    assert always.opens_at(now) == now
    assert always.closes_at(now) is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (" 8:00 - 18:30 ", "08:00-18:30"),
        ("Mon-Fri 20:00-07:00;sat , sun", "mon-fri 20:00-07:00; sat-sun"),
        ("fri-mon 22:00-24:00", "mon,fri-sun 22:00-24:00"),
        ("tue", "tue"),
    ],
)
def test_windows_are_read_as_people_write_them(text: str, written: str) -> None:
    assert format_windows(parse_windows(text)) == written


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write hours as"),
        ("20:00", "write hours as"),
        ("20:00-07:00;", "write hours as"),
        ("20h-7h", "write hours as"),
        ("lundi 20:00-07:00", "write hours as"),
        ("lun 20:00-07:00", "days are mon, tue"),
        ("mon-wed-fri", "days are mon, tue"),
        ("24:00-07:00", "there is no time 24:00"),
        ("20:00-25:00", "there is no time 25:00"),
        ("20:60-21:00", "there is no time 20:60"),
        ("08:00-08:00", "never open: write 00:00-24:00"),
        ("00:00-00:00", "never open: write 00:00-24:00"),
    ],
)
def test_what_are_no_windows_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_windows(text)

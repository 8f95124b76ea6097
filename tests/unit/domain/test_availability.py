from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.availability import (
    ALWAYS,
    Availability,
    Openings,
    Pause,
    closed_everywhere,
    next_pause,
    pause_at,
)
from poddispatchd.domain.time_windows import TimeWindows, parse_windows

_PARIS = ZoneInfo("Europe/Paris")
_NOW = datetime(2026, 11, 30, 12, tzinfo=_PARIS)  # a Monday
_HOUR = timedelta(hours=1)


def _windows(text: str) -> TimeWindows:
    return TimeWindows(parse_windows(text), _PARIS)


def _at(day: int, hour: int) -> datetime:
    return datetime(2026, 11, 30, hour, tzinfo=_PARIS) + timedelta(days=day)


_NIGHTS = Availability({"transcription": _windows("20:00-07:00")}, {"gpu": _windows("mon-fri 18:00-23:00")})

_texts = st.sampled_from(["20:00-07:00", "mon-fri 08:00-18:00", "sat,sun", "12:30-12:31", "sun 02:00-03:00"])
_availabilities = st.builds(
    Availability,
    st.dictionaries(st.just("encoding"), _texts.map(_windows), max_size=1),
    st.dictionaries(st.just("gpu"), _texts.map(_windows), max_size=1),
)
_pauses = st.lists(
    st.builds(
        lambda begins, length: Pause(
            _NOW + begins * _HOUR, None if length is None else _NOW + (begins + length) * _HOUR
        ),
        st.integers(-50, 50),
        st.none() | st.integers(1, 200),
    ),
    max_size=3,
)


def _may(availability: Availability, pauses: list[Pause], moment: datetime) -> bool:
    windows = [*availability.task_types.values(), *availability.runner_managers.values()]
    return all(each.is_open(moment) for each in windows) and pause_at(pauses, moment) is None


@given(_availabilities, _pauses, st.integers(0, 14 * 24 * 60))
def test_openings_are_the_times_in_which_every_window_is_open_and_no_pause_holds(
    availability: Availability, pauses: list[Pause], minutes: int
) -> None:
    moment = _NOW.astimezone(UTC) + timedelta(minutes=minutes)
    openings = availability.openings("encoding", "gpu", _NOW.astimezone(UTC), pauses=pauses)

    assert (openings.next(minutes * 60.0) == minutes * 60.0) == _may(availability, pauses, moment)


@given(_availabilities, _pauses)
def test_the_moment_that_is_told_is_the_first_at_which_a_task_may_begin(
    availability: Availability, pauses: list[Pause]
) -> None:
    opens = availability.opens_at("encoding", "gpu", _NOW, pauses=pauses)

    if opens is None:
        assert not any(_may(availability, pauses, _NOW + hours * _HOUR) for hours in range(300))
    else:
        assert _may(availability, pauses, opens)
        assert opens == _NOW or not _may(availability, pauses, opens - timedelta(minutes=1))


def test_without_windows_and_pauses_everything_is_open() -> None:
    assert Availability().opens_at("encoding", "gpu", _NOW) == _NOW
    assert Availability().openings("encoding", "gpu", _NOW) == ALWAYS
    assert Availability().is_unlimited


def test_a_task_needs_the_window_of_its_type_and_that_of_the_manager() -> None:
    assert _NIGHTS.opens_at("transcription", "gpu", _NOW) == _at(0, 20)
    assert _NIGHTS.openings("transcription", "gpu", _at(0, 21)).ends[0] == 2 * 3600
    assert _NIGHTS.opens_at("encoding", "gpu", _NOW) == _at(0, 18)
    assert _NIGHTS.opens_at("transcription", "another", _NOW) == _at(0, 20)
    assert _NIGHTS.opens_at("transcription", "gpu", _at(4, 23)) == _at(7, 20)  # over the weekend


def test_windows_that_are_never_open_together_never_open() -> None:
    both = Availability({"encoding": _windows("20:00-07:00")}, {"gpu": _windows("08:00-18:00")})

    assert both.opens_at("encoding", "gpu", _NOW) is None
    assert both.openings("encoding", "gpu", _NOW) == Openings((), ())


def test_a_pause_of_weeks_ends_all_the_same() -> None:
    long = Pause(_NOW - _HOUR, _NOW + timedelta(days=40))

    assert Availability().opens_at("encoding", "gpu", _NOW, pauses=[long]) == long.ends
    assert _NIGHTS.opens_at("encoding", "gpu", _NOW, pauses=[Pause(_NOW)]) is None


def test_of_pauses_that_overlap_the_one_that_ends_last_is_told() -> None:
    short, long = Pause(_NOW - _HOUR, _NOW + _HOUR, "disks"), Pause(_NOW, _NOW + 3 * _HOUR, "kernel")
    endless, coming = Pause(_NOW - 2 * _HOUR), Pause(_NOW + 5 * _HOUR)

    assert pause_at([short, long], _NOW) == long
    assert pause_at([short, endless, long], _NOW) == endless
    assert pause_at([short, long], _NOW + 3 * _HOUR) is None
    assert next_pause([short, coming, long], _NOW) == coming


def test_a_type_is_closed_when_it_is_so_at_every_manager() -> None:
    one, other = {"encoding": _at(0, 20), "studio": None}, {"encoding": _at(0, 18), "transcription": None}

    assert closed_everywhere([one, other]) == {"encoding": _at(0, 18)}
    assert closed_everywhere([one]) == one
    assert closed_everywhere([]) == {}


def test_the_next_opening_of_none_is_never() -> None:
    assert Openings((), ()).next(5.0) == inf
    assert Openings((10.0, 30.0), (20.0, 40.0)).next(20.0) == 30.0
    assert Openings((10.0, 30.0), (20.0, 40.0)).next(12.0) == 12.0

"""Rows that appear behind later ones, and how long they are waited for."""

from poddispatchd.clock import Clock
from poddispatchd.maintenance.known_rows import KnownRows


class _Clock(Clock):
    at = 0.0

    def monotonic(self) -> float:
        return self.at


def test_a_row_behind_those_that_were_seen_is_looked_for() -> None:
    known = KnownRows(10, _Clock())
    known.saw(12, 13)
    assert (known.after, known.seen) == (10, [12, 13])
    known.saw(11)
    assert (known.after, known.seen) == (10, [12, 13, 11])


def test_rows_from_before_are_none_of_those_behind() -> None:
    known = KnownRows(10, _Clock())
    known.saw(3, 10)
    assert known.seen == []


def test_what_was_seen_long_ago_is_not_kept_and_nothing_before_it_is_waited_for() -> None:
    clock = _Clock()
    known = KnownRows(10, clock)
    known.saw(12)
    clock.at = 60.0
    known.saw(11, 14)
    clock.at = 119.0
    known.saw(12)
    assert known.after == 10
    clock.at = 120.0
    known.saw()
    assert (known.after, known.seen) == (12, [14])

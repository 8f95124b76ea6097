"""The order in which files are deleted that may be slow."""

from poddispatchd.clock import Clock
from poddispatchd.runtime.last_tried import LastTried


class _Chance(Clock):
    """A clock that gives this number when it is asked for one at random."""

    def __init__(self, number: float) -> None:
        self._number = number

    def random(self) -> float:
        return self._number


def test_what_was_tried_in_vain_comes_last_and_the_others_stay_in_their_order() -> None:
    tried = LastTried(_Chance(0.0))
    tried.begin(["a"])
    tried.begin(["c"])
    tried.end(["c"], failed=["c"])
    tried.begin(["b"])
    tried.end(["b"])
    assert tried.in_turn(["a", "b", "c", "d"]) == ["b", "d", "a", "c"]


def test_processes_that_remember_nothing_do_not_all_begin_with_the_same() -> None:
    """Single passes tried the one that hangs first each time, and came to no other."""
    names = ["a", "b", "c", "d"]
    assert [LastTried(_Chance(chance)).in_turn(names)[0] for chance in (0.0, 0.3, 0.5, 0.99)] == names
    assert LastTried(_Chance(0.5)).in_turn(names) == ["c", "d", "a", "b"]

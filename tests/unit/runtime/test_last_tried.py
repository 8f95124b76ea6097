"""The order in which files are deleted that may be slow."""

from poddispatchd.clock import Clock
from poddispatchd.runtime.last_tried import LastTried


class _Minutes(Clock):
    """Each look at it is a minute later; asked for a number at random, it gives this one."""

    def __init__(self, chance: float = 0.0) -> None:
        self._chance = chance
        self._passed = 0.0

    def monotonic(self) -> float:
        self._passed += 60.0
        return self._passed

    def random(self) -> float:
        return self._chance


def test_what_was_tried_in_vain_comes_last_and_the_longest_ago_first_of_them() -> None:
    tried = LastTried(_Minutes())
    for name in ("d", "b", "a"):
        tried.begin([name])
        tried.end([name], failed=[name])

    assert tried.in_turn(["a", "b", "c", "d", "e"]) == ["c", "e", "d", "b", "a"]


def test_what_hung_was_tried_in_vain_and_what_went_well_is_as_new() -> None:
    tried = LastTried(_Minutes())
    tried.begin(["a", "b"])
    assert tried.in_turn(["a", "b", "c"]) == ["c", "a", "b"]

    tried.begin(["a", "b"])
    tried.end(["a", "b"], failed=["b"])
    assert tried.in_turn(["b", "a", "c"]) == ["a", "c", "b"]


def test_what_is_gone_is_forgotten() -> None:
    tried = LastTried(_Minutes())
    tried.begin(["a"])
    tried.in_turn(["b"])

    assert tried.in_turn(["a", "b"]) == ["a", "b"]


def test_processes_that_remember_nothing_do_not_all_begin_with_the_same() -> None:
    """Single passes tried the one that hangs first each time, and came to no other."""
    names = ["a", "b", "c", "d"]
    assert [LastTried(_Minutes(chance)).in_turn(names)[0] for chance in (0.0, 0.3, 0.5, 0.99)] == names
    assert LastTried(_Minutes(0.5)).in_turn(names) == ["c", "d", "a", "b"]

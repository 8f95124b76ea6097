from poddispatchd.clock import Clock
from poddispatchd.runtime.last_tried import LastTried


class _Minutes(Clock):
    """Each look at it is a minute later."""

    def __init__(self) -> None:
        self._passed = 0.0

    def monotonic(self) -> float:
        self._passed += 60.0
        return self._passed


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

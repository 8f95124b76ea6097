"""In which order those who wait are served."""

from poddispatchd.web.round_robin import RoundRobin


def test_whoever_has_much_waiting_holds_up_nobody_else() -> None:
    turns: RoundRobin[str] = RoundRobin()
    for number in range(3):
        turns.add("many", f"many {number}")
    turns.add("one", "one 0")
    taken = [turns.take(), turns.take()]
    turns.add("late", "late 0")
    while turns:
        taken.append(turns.take())
    assert taken == ["many 0", "one 0", "many 1", "late 0", "many 2"]

"""What is read out of a Python file without executing it, and what is left alone."""

from pathlib import PurePosixPath

import pytest

from poddispatchd.config.literals import Unreadable, read_assignments

_PATH = PurePosixPath("/srv/pod/custom/settings_local.py")


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("X: int = 3", 3),
        ("X = -3", -3),
        ("X = not 0", True),
        ("X = 2 + 3", 5),
        ("X = 60 * 5", 300),
        ("X = 'a' + 'b'", "ab"),
        ("X = ['a'] + ['b']", ["a", "b"]),
        ("Y = 'x'\nX = f'{Y}.mp4'", "x.mp4"),
        ("Y = ['a', 'b']\nX = Y[1]", "b"),
        ("Y = {'a': {'b': 1}}\nX = Y['a']['b']", 1),
        ("X = os.path.join(os.path.dirname(__file__), 'media')", "/srv/pod/custom/media"),
        ("X = Path(__file__).resolve().parent / 'media'", "/srv/pod/custom/media"),
        ("X = str(Path('/srv'))", "/srv"),
        ("X = _('Title')", "Title"),
        ("def f():\n    X = 1\nX = 2", 2),
        ("X = env('A')\nX = 2", 2),
        ("X = [1]\nX.count(1)", [1]),
        ("X = 1\nmodule.X = 2", 1),
        ("X = 1\nUNKNOWN[0] = 2", 1),
    ],
)
def test_what_needs_no_execution_is_read(source: str, value: object) -> None:
    assert read_assignments(source, _PATH).values["X"] == value


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("X = Y", "line 1: Y is not known here"),
        ("X = -'a'", "line 1: '-'a'' would have to be executed"),
        ("X = 2 ** 3", "line 1: a calculation would have to be executed"),
        ("X = Path(3)", "line 1: a path was expected"),
        ("X = [1][2]", "line 1: it has no item 2"),
        ("X = {}['a']", "line 1: it has no item 'a'"),
        ("X = {'a': 1}['a', 'b']", "line 1: a key of a dictionary is no simple value"),
        ("X = [1]['a']", "line 1: it has no item 'a'"),
        ("Y = {'a': env('A')}\nX = Y['a']", "line 2: line 1: it comes from the environment"),
        ("X = {[1]: 2}", "line 1: a key of a dictionary is no simple value"),
        ("X = print(1)", "line 1: print(…) would have to be executed"),
        ("X = 1\nif True:\n    X = 2", "line 3 sets it under a condition or changes it"),
        ("X = 1\nX += 1", "line 2 sets it under a condition or changes it"),
        ("X, Y = 1, 2", "line 1 sets it under a condition or changes it"),
        ("X = [1]\nX[0] = 2", "line 2 changes it"),
        ("X = [1]\nX.append(2)", "line 2 changes it with append()"),
    ],
)
def test_what_only_python_would_know_is_told_and_not_guessed(source: str, why: str) -> None:
    found = read_assignments(source, _PATH)
    assert (found.unreadable["X"], "X" in found.values) == (why, False)


def test_one_unreadable_item_does_not_spoil_the_others() -> None:
    found = read_assignments("X = {'a': env('A'), 'b': 1}\nX['c'] = 2\nX['d'] = env('D')\ndel X['b']", _PATH)
    value = found.values["X"]
    assert isinstance(value, dict)
    assert (value["c"], isinstance(value["a"], Unreadable), isinstance(value["d"], Unreadable)) == (
        2,
        True,
        True,
    )
    assert isinstance(value["b"], Unreadable)

"""How the suite gives out its tests."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from poddispatchd.config.model import LogSettings
from poddispatchd.observability.logs import configure_logging
from tests import conftest
from tests.plugins.logs import logging_as_before

_WORKERS, _WAITING, _OTHERS = 4, 20, 380


def _items() -> list[Any]:
    folder = Path(conftest.__file__).parent
    return [
        SimpleNamespace(path=folder / ("acceptance" if number < _WAITING else "unit") / f"test_{number}.py")
        for number in range(_WAITING + _OTHERS)
    ]


def _waits(item: Any) -> bool:  # noqa: ANN401 - it stands for pytest's
    return bool(item.path.parent.name == "acceptance")


def test_half_of_the_workers_begin_with_the_tests_that_wait_while_the_others_compute() -> None:
    """xdist gives each an equal run of the list."""
    items = _items()
    spread = conftest._spread(items, _WORKERS)
    share = len(spread) // _WORKERS
    runs = [spread[number * share : (number + 1) * share] for number in range(_WORKERS)]
    half = _WAITING // 2
    assert sorted(map(id, spread)) == sorted(map(id, items))
    assert [sum(map(_waits, run)) for run in runs] == [half, 0, half, 0]
    assert all(map(_waits, [*runs[0][:half], *runs[2][:half]]))


def test_what_waits_longest_is_begun_first() -> None:
    """Begun last, one test kept all workers waiting but its own."""
    folder = Path(conftest.__file__).parent
    named = [folder / name for name in conftest.LONGEST]
    items = [SimpleNamespace(path=path) for path in reversed(named)] + _items()

    spread = conftest._spread(items, _WORKERS)

    assert [path for path in named if not path.is_file()] == []
    share = len(spread) // _WORKERS
    assert [spread[0].path, spread[2 * share].path] == named[:2]


def test_every_worker_knows_how_tests_are_given_out(request: pytest.FixtureRequest) -> None:
    """Its own options do not say it: for long nothing was shared out, and one had all that wait."""
    known: dict[str, Any] | None = getattr(request.config, "workerinput", None)
    assert known is None or "steals" in known


def test_each_worker_begins_to_import_with_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parent / "domain"
    orders: list[list[str]] = []
    for number in range(_WORKERS):
        orders.append([])
        monkeypatch.setattr(conftest, "import_module", orders[-1].append)
        conftest._import_in_turn([str(folder)], number, _WORKERS)
    assert {frozenset(order) for order in orders} == {
        frozenset(f"tests.unit.domain.{path.stem}" for path in folder.glob("test_*.py"))
    }
    assert len({order[0] for order in orders}) == _WORKERS


def test_a_worker_imports_no_more_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(conftest, "import_module", imported.append)
    conftest._import_in_turn([f"{__file__}::test_anything"], 1, _WORKERS)
    assert imported == ["tests.unit.test_suite"]


def _fail() -> None:
    drawn = "the value of a variable"
    raise KeyError(len(drawn))


def _written() -> list[str]:
    """How an exception is logged; the first line begins with the time."""
    said = io.StringIO()
    with redirect_stdout(said):
        try:
            _fail()
        except KeyError:
            structlog.get_logger("test").exception("it failed")
    return said.getvalue().splitlines()[1:]


def test_after_a_test_that_sets_logging_up_an_exception_is_written_as_before() -> None:
    """With the variables of its frames it took longer than most tests, in all that its worker did then."""
    before = _written()
    with logging_as_before():
        configure_logging(LogSettings(format="json"), environ={}, stream=io.StringIO())
    assert _written() == before
    assert before[0] == "Traceback (most recent call last):"


def test_no_test_puts_the_defaults_of_structlog_in_the_place_of_ours() -> None:
    tests = Path(conftest.__file__).parent
    texts = {path.relative_to(tests).as_posix(): path.read_text() for path in tests.rglob("*.py")}
    naming = {name for name, text in texts.items() if "structlog.reset_defaults" in text}
    assert naming == {"plugins/logs.py", "unit/test_suite.py"}

"""The shape of the package: what is lost a line at a time."""

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_MODULES = sorted((_ROOT / "poddispatchd").rglob("*.py"))

_MOST_LINES = 300
_LONGER = {"poddispatchd/sandbox/pod/seed.py"}
"""The rows of a whole Pod: data."""

_MOST_PARAMETERS = 6
_MORE = {
    # Commands: options that a person gives.
    "poddispatchd/cli/campaigns.py:create",
    "poddispatchd/sandbox/fake_runner_manager/__main__.py:main",
    # Rows with many columns.
    "poddispatchd/sandbox/pod/world.py:add_dressing",
    "poddispatchd/sandbox/pod/world.py:add_task",
    "poddispatchd/sandbox/pod/world.py:add_video",
    # What a test puts in place of the network, the clock and the dice.
    "poddispatchd/runner/download.py:download_result",
    "poddispatchd/web/listener.py:listening",
    "poddispatchd/web/listener.py:serving",
}
"""What takes more all the same."""


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


def _functions() -> Iterator[tuple[str, ast.arguments]]:
    """Every function with its place; a method is named without its class."""
    for path in _MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{_name(path)}:{node.name}", node.args


def _parameters(arguments: ast.arguments) -> list[str]:
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def test_a_module_has_one_job_and_few_lines() -> None:
    long = {path for path in _MODULES if len(path.read_text(encoding="utf-8").splitlines()) > _MOST_LINES}
    assert {_name(path) for path in long} == _LONGER


def test_a_function_takes_few_things() -> None:
    """A constructor may take more, by name: it tells what a job uses."""
    many = {place for place, arguments in _functions() if len(_parameters(arguments)) > _MOST_PARAMETERS}
    assert {place for place in many if not place.endswith(":__init__")} == _MORE


def test_what_a_job_uses_is_given_to_it_by_name() -> None:
    crowded = [
        place
        for place, arguments in _functions()
        if place.endswith(":__init__") and len(arguments.posonlyargs + arguments.args) - 1 > _MOST_PARAMETERS
    ]
    assert crowded == []

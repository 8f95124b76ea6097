"""The shape of the package: what is lost a line at a time."""

import ast
from collections.abc import Iterator

from tests.unit.sources import sources

_MOST_LINES = 300
_LONGER = {"sandbox/pod/seed.py"}
"""The rows of a whole Pod: data."""

_MOST_PARAMETERS = 6
_MORE = {
    # Commands: options that a person gives.
    "cli/campaigns.py:create",
    "sandbox/fake_runner_manager/__main__.py:main",
    # Rows with many columns.
    "sandbox/pod/world.py:add_dressing",
    "sandbox/pod/world.py:add_task",
    "sandbox/pod/world.py:add_video",
}
"""What takes more all the same."""


def _functions() -> Iterator[tuple[str, ast.arguments]]:
    """Every function with its place; a method is named without its class."""
    for source in sources():
        for node in source.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{source.name}:{node.name}", node.args


def _parameters(arguments: ast.arguments) -> list[str]:
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def test_a_module_has_one_job_and_few_lines() -> None:
    assert {source.name for source in sources() if source.text.count("\n") > _MOST_LINES} == _LONGER


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

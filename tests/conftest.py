"""What every test can ask for; the fixtures themselves lie in ``tests/plugins``."""

import gc
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.shared import SHARED

# Until all is collected, nothing is garbage; looking for it takes a quarter of that time.
gc.disable()

# A run compiles these hundreds of modules once, not again for every worker and every process that it starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The tests' server speaks no TLS: nobody makes the context of an offer that it would refuse.
os.environ["PGSSLMODE"] = "disable"

_COLLECTED_AFTER = (20_000, 10, 10)
"""Objects: a test makes more than Python's 700 before anything of it is garbage."""

_TESTS = Path(__file__).parent
_WAITING = tuple(
    f"{_TESTS}/{folder}/" for folder in ("acceptance", "integration/chaos", "integration/recovery")
)
"""Where tests wait more than they compute: for daemons, and for the ends of time limits."""

LONGEST = (
    *(f"acceptance/test_{name}.py" for name in ("chaos_short", "suspend", "losses", "pooled", "restart")),
    *(f"acceptance/test_{name}.py" for name in ("fuzz_short", "why_waiting")),
    *(f"integration/recovery/test_{name}.py" for name in ("bouncer", "links", "failing_statements")),
    *(f"acceptance/test_{name}.py" for name in ("refused_statements", "poor_role", "secrets")),
    *(f"acceptance/test_{name}.py" for name in ("outgoing_events", "signals", "ended_sessions")),
    *(f"acceptance/test_{name}.py" for name in ("handed_sockets", "campaigns")),
)
"""Those of them that hold a test of more than six seconds, the longest first."""

pytest_plugins = [
    "tests.plugins.logs",
    "tests.plugins.once_a_run",
    "tests.plugins.postgres",
    "tests.plugins.shared_world",
    "tests.plugins.world",
]

# How long an example takes is the machine's matter: nothing in the suite is judged by its time. Every run
# looks for what was just broken, with other examples each time; `make test-thorough` for what is rare.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=1000)
# `make mutation` tries the same examples on every mutant.
settings.register_profile("mutation", deadline=None, max_examples=25, derandomize=True, database=None)
settings.load_profile("quick")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """What was imported and collected stays: the collector of garbage looks at none of it, then or later."""
    workerinput: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    if workerinput is not None:
        number = int(workerinput["workerid"].removeprefix("gw"))
        _import_in_turn(session.config.args, number, workerinput["workercount"])
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(*_COLLECTED_AFTER)


def _import_in_turn(arguments: Sequence[str], number: int, workers: int) -> None:
    """Import the tests, each worker from another one on: it compiles these, and then reads what others did.

    In a fresh checkout they would all compile all of them, at the same time: the longer part of their start.
    """
    given = [Path(argument.partition("::")[0]).resolve() for argument in arguments]
    found = {path for place in given for path in (place.rglob("test_*.py") if place.is_dir() else [place])}
    paths = sorted(path for path in found if path.is_relative_to(_TESTS) and path.suffix == ".py")
    first = len(paths) * number // workers
    for path in (*paths[first:], *paths[:first]):
        # What cannot be imported is told when it is collected.
        with suppress(Exception, pytest.skip.Exception):
            import_module(".".join(path.relative_to(_TESTS.parent).with_suffix("").parts))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what starts whole daemons as slow, and leave out what has no cases here.

    Where there is no recorded material, the tests that replay it have none.
    """
    slow = (f"{_TESTS}/acceptance/", f"{_TESTS}/systemd/")
    for item in items:
        if str(item.path).startswith(slow):
            item.add_marker(pytest.mark.slow)
    if SHARED is None:
        empty = [item for item in items if _has_no_case(item)]
        items[:] = [item for item in items if item not in empty]
        config.hook.pytest_deselected(items=empty)
    workerinput: dict[str, int] | None = getattr(config, "workerinput", None)
    if workerinput is not None and workerinput["steals"]:
        # Side by side, so that one worker parses the package, and not all of them.
        items.sort(key=lambda item: not _reads_the_package(item.getparent(pytest.Module)))
        items[:] = _spread(items, workerinput["workercount"])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a new xdist worker how tests are given out: its own options do not say it."""
    node.workerinput["steals"] = node.config.getoption("dist") == "worksteal"  # type: ignore[attr-defined]  # xdist has no types


@cache
def _reads_the_package(module: pytest.Module | None) -> bool:
    """Whether the tests of a module look at the package as text (``tests/unit/sources.py``)."""
    if module is None:
        return False
    return any(
        getattr(value, "__module__", "") == "tests.unit.sources" for value in vars(module.obj).values()
    )


def _spread(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Let every other worker begin with what waits most, while the others compute.

    xdist gives each worker an equal run of the list, and then what is left at the ends of others' runs: what
    waits long lies at no end, where it would keep all others waiting.
    """
    waiting = [item for item in items if str(item.path).startswith(_WAITING)]
    # What is begun last is short: else all that are ready wait for the one that is not.
    ranks = {f"{_TESTS}/{name}": rank for rank, name in enumerate(LONGEST)}
    waiting.sort(key=lambda item: ranks.get(str(item.path), len(ranks)))
    others = iter([item for item in items if not str(item.path).startswith(_WAITING)])
    shares = (workers + 1) // 2
    spread: list[pytest.Item] = []
    for number in range(workers):
        own = waiting[number // 2 :: shares] if number % 2 == 0 else []
        room = max(0, (len(items) - len(spread)) // (workers - number) - len(own))
        spread += [*own, *islice(others, room)]
    return [*spread, *others]


def _has_no_case(item: pytest.Item) -> bool:
    marks = item.iter_markers("skip")
    return any(str(mark.kwargs.get("reason", "")).startswith("got empty parameter set") for mark in marks)

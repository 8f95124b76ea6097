"""What every test can ask for; the fixtures themselves lie in ``tests/plugins``."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.shared import SHARED

_TESTS = Path(__file__).parent

pytest_plugins = ["tests.plugins.postgres", "tests.plugins.shared_world", "tests.plugins.world"]

# How long an example takes is the machine's matter: nothing in the suite is judged by its time.
settings.register_profile("untimed", deadline=None)
# What `make unit` asks for: enough to find what was just broken; `make test` looks for more.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what starts whole daemons as slow, and leave out what has no cases here.

    Where there is no recorded material, the tests that replay it have none.
    """
    for item in items:
        if item.path.is_relative_to(_TESTS / "acceptance") or item.path.is_relative_to(_TESTS / "systemd"):
            item.add_marker(pytest.mark.slow)
    if SHARED is not None:
        return
    empty = [item for item in items if _has_no_case(item)]
    items[:] = [item for item in items if item not in empty]
    config.hook.pytest_deselected(items=empty)


def _has_no_case(item: pytest.Item) -> bool:
    marks = item.iter_markers("skip")
    return any(str(mark.kwargs.get("reason", "")).startswith("got empty parameter set") for mark in marks)

"""What every test can ask for; the fixtures themselves lie in ``tests/plugins``."""

import pytest
from hypothesis import settings

from tests.shared import SHARED

pytest_plugins = ["tests.plugins.postgres", "tests.plugins.shared_world", "tests.plugins.world"]

# How long an example takes is the machine's matter: nothing in the suite is judged by its time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that replay recorded material where there is none: they have no cases there."""
    if SHARED is not None:
        return
    empty = [item for item in items if _has_no_case(item)]
    items[:] = [item for item in items if item not in empty]
    config.hook.pytest_deselected(items=empty)


def _has_no_case(item: pytest.Item) -> bool:
    marks = item.iter_markers("skip")
    return any(str(mark.kwargs.get("reason", "")).startswith("got empty parameter set") for mark in marks)

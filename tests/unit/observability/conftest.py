from collections.abc import Iterator

import pytest

from poddispatchd.observability import logs
from poddispatchd.observability.redaction import Redactor
from tests.plugins.logs import logging_as_before


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging belongs to the process: give it back as it was."""
    monkeypatch.setattr(logs, "_REDACTOR", Redactor())
    with logging_as_before():
        yield

import logging
from collections.abc import Iterator

import pytest
import structlog

from poddispatchd.observability import logs
from poddispatchd.observability.redaction import Redactor


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging belongs to the process: give it back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in ("aiohttp.access", "asyncio")}
    monkeypatch.setattr(logs, "_REDACTOR", Redactor())
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    logging.getLogger("asyncio").removeFilter(logs._is_no_echo)
    logging.captureWarnings(False)
    structlog.reset_defaults()

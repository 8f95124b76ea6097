"""The command line: parse, call, print."""

import sys


def import_structlog() -> None:
    """Import structlog as if rich were not installed; before anything else imports it.

    structlog imports rich wherever it is installed, for tracebacks that are never shown here: a fifth of the
    daemon's start and 8 MB of its memory. A None makes that import fail, as if rich were not there.
    """
    if {"structlog", "rich"} & sys.modules.keys():
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # what the import system takes for "not there"
    try:
        import structlog  # noqa: F401 - imported now, so that nobody imports it with rich later
    finally:
        del sys.modules["rich"]

"""The command line: parse, call, print."""

import sys

if not {"structlog", "rich"} & sys.modules.keys():
    # structlog imports rich wherever it is installed, for tracebacks that are never shown here: a fifth of
    # the daemon's start and 8 MB of its memory. A None makes that import fail, as if rich were not there.
    sys.modules["rich"] = None  # type: ignore[assignment]  # what the import system takes for "not there"
    try:
        import structlog  # noqa: F401 - imported now, so that nobody imports it with rich later
    finally:
        del sys.modules["rich"]

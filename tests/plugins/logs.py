"""How tests log that say nothing about it, and how it comes to be so again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from poddispatchd.observability import logs

_SET_UP = (None, *logs._NOISY, logs._REPEATED)
"""Loggers whose levels change with ours; None is the root."""


def log_plainly() -> None:
    """Write an exception without the variables of its frames: to draw them takes longer than most tests."""
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            *structlog.get_config()["processors"][:-1],
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Whoever sets logging up within sets it up for the process, which is the tests': it is put back."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in _SET_UP}
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger("asyncio").removeFilter(logs._is_no_echo)
        logging.captureWarnings(False)
        log_plainly()


log_plainly()

"""Signals, each as what it asks of the daemon."""

import asyncio
import signal
from collections.abc import Callable
from functools import partial

import structlog

from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)


def handle_signals(*, stop: Callable[[], None], hung_up: Callable[[], None]) -> None:
    """Have the running event loop handle the signals of the process.

    Args:
        stop: for SIGTERM and SIGINT.
        hung_up: for SIGHUP: the configuration is to be read again.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, hung_up)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        # logrotate and others send them to whatever is a daemon, and Python would end by them. A handler, not
        # SIG_IGN: the command after an import would inherit that.
        loop.add_signal_handler(number, partial(log.info, Event.SIGNAL_IGNORED, signal=number.name))

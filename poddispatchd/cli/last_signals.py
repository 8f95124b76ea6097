"""Signals that come when a command has done its work already."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_R = TypeVar("_R")


async def ends_quietly(coroutine: Coroutine[None, None, _R]) -> _R:
    """Do the work of a command; signals that it handles in the event loop mean nothing after its end.

    An event loop that is closed closes the pipe first through which it is told of them: Python complains of
    that on standard error. A moment later they end the process, with another exit status.
    """
    try:
        return await coroutine
    finally:
        _ignore_handled(asyncio.get_running_loop())


def _ignore_handled(loop: asyncio.AbstractEventLoop) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    for number in _HANDLED:
        if loop.remove_signal_handler(number):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)

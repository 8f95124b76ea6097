"""Asking a file system that may be slow, without making anything else wait for it."""

import asyncio
import os
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from threading import Thread

_AT_ONCE = 8
"""Questions asked at once: each of them has a thread of its own until it is answered."""


class Presence(Enum):
    """Whether a source file is there."""

    THERE = auto()
    MISSING = auto()
    TREE_MISSING = auto()
    """It is not, and neither is anything else: the media tree is not mounted."""
    UNKNOWN = auto()
    """The file system did not answer in time, or answered with an error."""


class Disk:
    """Asks whether files are there, each in a daemon thread: a hanging NFS holds up nothing else.

    The event loop's own pool of threads is not used: a few hanging questions would keep imports from it.
    """

    def __init__(self, root: Path, *, patience: float) -> None:
        self._root = root
        self._patience = patience
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._hanging = 0

    async def look(self, path: Path) -> Presence:
        """Whether there is a file at ``path``, which is under the root; within ``patience`` seconds."""
        if self._hanging >= _AT_ONCE:
            return Presence.UNKNOWN
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
                return await self._ask(path)
        except TimeoutError:
            return Presence.UNKNOWN

    async def _ask(self, path: Path) -> Presence:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Presence] = loop.create_future()

        def deliver(presence: Presence) -> None:
            self._turns.release()
            if answer.cancelled():
                self._hanging -= 1
            else:
                answer.set_result(presence)

        def ask() -> None:
            presence = _presence(self._root, path)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(deliver, presence)

        Thread(target=ask, name="source file", daemon=True).start()
        try:
            return await answer
        except asyncio.CancelledError:
            self._hanging += 1
            raise


def _presence(root: Path, path: Path) -> Presence:
    try:
        if path.is_file():
            return Presence.THERE
        with os.scandir(root) as entries:
            return Presence.TREE_MISSING if next(entries, None) is None else Presence.MISSING
    except FileNotFoundError:
        return Presence.TREE_MISSING
    except OSError:
        return Presence.UNKNOWN

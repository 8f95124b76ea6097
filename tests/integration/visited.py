"""Which modules of the package some work passes through: what whoever follows it has to open."""

import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType

import poddispatchd
from poddispatchd.database.pool import Database

_ROOT = f"{Path(poddispatchd.__file__).parent}/"

_LEFT_OUT = ("/sandbox/", "/database/known_types.py")
"""The manager's side; and what a connection asks of the types of a statement that it never had: which of the
connections of a pool has which statement a busy machine decides."""


@contextmanager
def visited() -> Iterator[set[str]]:
    """The modules of which a function runs, by their paths, also in threads that begin meanwhile.

    What is to be left out can be taken out of the set: begin early, for threads are kept and used again.
    """
    modules: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        is_ours = file.startswith(_ROOT) and not any(name in file for name in _LEFT_OUT)
        if event == "call" and is_ours and not frame.f_code.co_name.startswith("<"):
            modules.add(file.removeprefix(_ROOT))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield modules
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def passes(modules: set[str], *names: str) -> list[str]:
    """Those of the modules that are named, or lie in a room that is."""
    return sorted(module for module in modules if module.startswith(names))


async def connect_all(database: Database, number: int) -> None:
    """Make all connections of a pool: how many of them work needs at once a busy machine decides."""
    async with AsyncExitStack() as stack:
        for _ in range(number):
            await stack.enter_async_context(database.connection())

"""Waiting for the database no longer than a peer waits for us."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from poddispatchd.errors import DatabaseUnavailableError

ANSWER_WITHIN = 8.0
"""Seconds until an answer, whatever the database does: managers wait 15 s and then do not call again."""

_Result = TypeVar("_Result")

_abandoned: set["asyncio.Task[object]"] = set()
# The event loop itself holds tasks only weakly.


async def within(seconds: float, work: Coroutine[object, object, _Result]) -> _Result:
    """What work gives, unless it takes too long; then it is cancelled, and not even that is waited for.

    Raises:
        DatabaseUnavailableError: it took too long.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            _abandoned.add(task)
            task.add_done_callback(_forget)
    if not task.done():
        raise DatabaseUnavailableError("The database is too slow to record the callback.")
    return task.result()


def _forget(task: "asyncio.Task[object]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()

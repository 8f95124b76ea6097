"""Commits that wait for a standby server: told while whoever wants one waits for it, and knows nothing.

A server with ``synchronous_standby_names`` confirms no commit while that standby is gone. To a client this
looks like any slow statement, for as long as a command may take.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from poddispatchd.database.pool import Database
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal import scheduling

_LOOK_EVERY = 2.0
"""Seconds. Two looks in a row must find one: a standby that is there confirms within milliseconds."""


@asynccontextmanager
async def waits_told(
    database: Database,
    tell: Callable[[str], None],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Within this block say once, in words, that a commit of this role waits for a standby server.

    Args:
        database: the one to ask, when it is open.
        tell: is given the words.
        sleep: waits for so many seconds.
    """
    watching = asyncio.create_task(_watch(database, tell, sleep), name="commits that wait")
    try:
        yield
    finally:
        # Once may not be enough, see ``supervisor``, which commands have no other need of.
        while not watching.done():
            watching.cancel()
            await asyncio.wait([watching], timeout=_LOOK_EVERY)


async def _watch(
    database: Database, tell: Callable[[str], None], sleep: Callable[[float], Awaitable[object]]
) -> None:
    hung = False
    while True:
        await sleep(_LOOK_EVERY)
        if not database.is_open:
            continue
        before = hung
        try:
            async with database.connection() as connection:
                hung = await scheduling.commits_wait(connection, seconds=_LOOK_EVERY)
        except PoddispatchdError:
            hung = False  # whoever is at work meets it as well, and tells
        if hung and before:
            tell(scheduling.COMMITS_WAIT)
            return

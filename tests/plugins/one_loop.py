"""All tests of a process share an event loop, and each of them leaves it empty.

What belongs to a loop can so outlive a test: sessions of the database, which cost more than most tests.
"""

import asyncio
from collections.abc import Generator

import pytest

_LOOP = pytest.StashKey[asyncio.AbstractEventLoop]()


@pytest.fixture(scope="session", autouse=True)
async def event_loop_of_the_run(pytestconfig: pytest.Config) -> asyncio.AbstractEventLoop:
    """Make the loop, and make it known."""
    loop = pytestconfig.stash[_LOOP] = asyncio.get_running_loop()
    return loop


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Cancel what a test has left running, as the end of a loop of its own would."""
    try:
        yield
    finally:
        loop = item.config.stash.get(_LOOP, None)
        if loop is not None and not loop.is_closed() and (left := asyncio.all_tasks(loop)):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

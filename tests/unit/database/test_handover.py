"""What is given to somebody who gives up in the same moment is lost to nobody."""

import asyncio

import pytest

from poddispatchd.database.handover import Handover


async def _waiting(queue: Handover[str]) -> "asyncio.Task[str | None]":
    task = asyncio.create_task(queue.wait(asyncio.get_running_loop().time() + 60))
    await asyncio.sleep(0)  # its first step comes before ours
    return task


async def _gives_up_as_it_comes(first: "asyncio.Task[str | None]") -> None:
    """It has not run since something was given to it: its time is over in the same turn of the event loop."""
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_comes_as_the_one_who_waits_gives_up_goes_back() -> None:
    unwanted: list[str] = []
    queue = Handover(unwanted.append)
    first = await _waiting(queue)

    assert queue.give("a connection")
    await _gives_up_as_it_comes(first)

    assert unwanted == ["a connection"]


async def test_word_to_look_elsewhere_that_comes_as_the_one_who_waits_gives_up_reaches_the_next() -> None:
    queue = Handover[str](lambda _: None)
    first, second = await _waiting(queue), await _waiting(queue)

    assert queue.give(None)
    await _gives_up_as_it_comes(first)

    assert await second is None


async def test_who_has_given_up_is_given_nothing() -> None:
    queue = Handover[str](lambda _: None)
    first, second = await _waiting(queue), await _waiting(queue)
    await _gives_up_as_it_comes(first)

    assert queue.give("a connection")
    assert await second == "a connection"
    assert not queue.give("another one")

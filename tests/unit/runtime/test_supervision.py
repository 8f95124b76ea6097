"""Stopping work for certain: what is cancelled ends, and what must not be cut off is not."""

import asyncio

import pytest

from poddispatchd.runtime import supervision
from poddispatchd.runtime.supervision import cancel_surely, unless


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_AGAIN", 0.01)


async def forgetful(lost: int) -> str:
    """Loses so many cancellations, as ``asyncio.wait_for`` of Python 3.11 does now and then."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            lost -= 1
            if lost < 0:
                raise


async def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(forgetful(lost)) for lost in (0, 1, 3)]
    await asyncio.sleep(0)
    await cancel_surely(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_ended_by_itself_or_in_an_error_needs_no_cancelling() -> None:
    async def fails() -> None:
        raise ValueError("a bug")

    done, failed = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fails())
    await asyncio.wait({done, failed})
    await cancel_surely(done, failed)
    assert not done.cancelled()


async def test_work_that_is_not_stopped_gives_its_result() -> None:
    assert await unless(asyncio.Event(), asyncio.sleep(0, "result")) == "result"


async def test_an_error_of_the_work_is_not_hidden() -> None:
    async def fails() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await unless(asyncio.Event(), fails())


async def test_a_stop_cuts_the_work_off_even_if_it_loses_its_cancellation() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    assert await unless(stop, forgetful(1)) is None


async def test_work_is_cut_off_after_its_time() -> None:
    assert await unless(asyncio.Event(), forgetful(0), within=0.01) is None

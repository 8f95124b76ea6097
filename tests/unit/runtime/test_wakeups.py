import asyncio
from collections.abc import Callable

import pytest

from poddispatchd.domain.lifecycle import Decision
from poddispatchd.runtime.wakeups import Wakeup, Wakeups
from poddispatchd.tasks import transitions
from poddispatchd.tasks.transitions import ring_for


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What the event loop is to do later; no time passes."""
    timers: list[Callable[[], None]] = []

    def call_later(seconds: float, ring: Callable[[float], None], rest: float) -> object:
        assert 0 < seconds <= 60
        timers.append(lambda: ring(rest))
        return object()

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    return timers


async def test_what_can_wait_rings_at_once_and_then_once_for_all_that_comes_meanwhile(
    timers: list[Callable[[], None]],
) -> None:
    wake = Wakeup()
    wake.ring_within(60)
    assert await wake.wait(0)
    for _ in range(3):
        wake.ring_within(60)
    assert not await wake.wait(0)
    [over] = timers
    over()
    assert await wake.wait(0)
    assert wake.rings == 2


async def test_what_cannot_wait_is_not_held_up_by_what_can() -> None:
    wake = Wakeup()
    for _ in range(2):
        wake.ring_within(60)
    assert await wake.wait(0)
    wake.ring()
    assert await wake.wait(0)


async def test_results_that_come_together_are_followed_by_one_more_look_at_the_queue(
    monkeypatch: pytest.MonkeyPatch, timers: list[Callable[[], None]]
) -> None:
    """Who heard of the end has looked: each result was followed by a second look that found nothing."""
    monkeypatch.setattr(transitions, "_GATHERED", 60.0)
    wakeups = Wakeups()
    for _ in range(5):
        ring_for(Decision.IMPORT, wakeups)
    assert (wakeups.importer.rings, wakeups.dispatcher.rings) == (5, 1)
    assert await wakeups.dispatcher.wait(0)
    [over] = timers
    over()
    assert await wakeups.dispatcher.wait(0)
    assert wakeups.dispatcher.rings == 2

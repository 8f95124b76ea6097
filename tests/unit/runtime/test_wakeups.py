from poddispatchd.runtime.wakeups import Wakeup


async def test_what_can_wait_rings_at_once_and_then_once_for_all_that_comes_meanwhile() -> None:
    wake = Wakeup()
    wake.ring_within(0.01)
    assert await wake.wait(0)
    for _ in range(3):
        wake.ring_within(0.01)
    assert not await wake.wait(0)
    assert await wake.wait(10)
    assert wake.rings == 2


async def test_what_cannot_wait_is_not_held_up_by_what_can() -> None:
    wake = Wakeup()
    for _ in range(2):
        wake.ring_within(60)
    assert await wake.wait(0)
    wake.ring()
    assert await wake.wait(0)

"""Handing mail over: a stop cuts none off that a server is taking, nor waits for one that hangs."""

import asyncio

import pytest

from poddispatchd.notify import mail
from poddispatchd.notify.mail import _to_its_end
from poddispatchd.runtime import supervisor


async def test_a_mail_that_is_being_handed_over_survives_being_cancelled_again_and_again() -> None:
    """The second cancellation of a stop reached the mail itself: it was sent again after the next start."""
    begun, answer, sent = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hand_over() -> None:
        begun.set()
        await answer.wait()
        sent.set()

    sending = asyncio.create_task(_to_its_end(hand_over()))
    await begun.wait()
    for _ in range(3):
        sending.cancel()
        await asyncio.sleep(0)
    answer.set()
    await asyncio.wait({sending})
    assert sent.is_set()
    assert sending.cancelled()


async def test_a_mail_that_hangs_does_not_hold_up_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_FINISHED_WITHIN", 0.01)
    sending = asyncio.create_task(_to_its_end(asyncio.sleep(3600)))
    await asyncio.sleep(0)
    sending.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait({sending})
    assert sending.cancelled()


async def test_a_mail_that_is_given_up_at_a_stop_is_tidied_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cancelled at every turn of the event loop, and so was what it did to leave nothing behind."""
    monkeypatch.setattr(mail, "_FINISHED_WITHIN", 0.01)
    monkeypatch.setattr(supervisor, "_AGAIN", 60.0)
    tidied = False

    async def hangs() -> None:
        nonlocal tidied
        try:
            await asyncio.sleep(3600)
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            tidied = True

    sending = asyncio.create_task(_to_its_end(hangs()))
    await asyncio.sleep(0)
    sending.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait({sending})
    assert tidied

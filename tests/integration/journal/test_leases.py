"""Who schedules: those with the lock of a session and those with a lease exclude each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.journal import scheduling
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_RIVALS = 6
_ROUNDS = 15


@pytest.fixture
async def sessions(pod_database: PodDatabase) -> AsyncIterator[list[Connection]]:
    """Some sessions on a database with our schema."""
    async with opened(pod_database) as database:
        await migration.upgrade(database)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pod_database.connection()) for _ in range(_RIVALS)]


async def test_of_all_who_ask_at_once_one_begins_a_term(sessions: list[Connection]) -> None:
    for round_ in range(_ROUNDS):
        asked = [
            scheduling.take_lead(session, f"direct {number}")
            if number % 2
            else scheduling.take_lease(session, f"pooled {number}", seconds=60)
            for number, session in enumerate(sessions)
        ]
        terms = await asyncio.gather(*asked)
        assert [term for term in terms if term is not None] == [round_ + 1]
        winner = next(number for number, term in enumerate(terms) if term is not None)
        if winner % 2:
            await scheduling.give_up_lead(sessions[winner])
        else:
            await scheduling.end_lease(sessions[winner], round_ + 1)


async def test_a_lease_keeps_everybody_away_until_it_runs_out(sessions: list[Connection]) -> None:
    holder, other, direct, *_ = sessions
    assert await scheduling.take_lease(holder, "holder", seconds=60) == 1
    left = await scheduling.lease_left(other)
    assert left is not None
    assert 0 < left <= 60
    assert await scheduling.take_lease(other, "other", seconds=60) is None
    assert await scheduling.take_lead(direct, "direct") is None
    # Nor did it keep the lock: that would keep every lease away.
    assert await other.fetchval("SELECT pg_try_advisory_lock(hashtextextended('poddispatchd.scheduler', 0))")
    await scheduling.give_up_lead(other)

    assert await scheduling.renew_lease(holder, 1, seconds=0)
    assert await scheduling.take_lead(direct, "direct") == 2
    assert await scheduling.lease_left(other) is None


async def test_a_lease_that_ran_out_goes_on_unless_somebody_else_has_begun(
    sessions: list[Connection],
) -> None:
    holder, other, *_ = sessions
    assert await scheduling.take_lease(holder, "holder", seconds=0) == 1
    assert await scheduling.renew_lease(holder, 1, seconds=60)
    assert await scheduling.take_lease(other, "other", seconds=60) is None
    assert await scheduling.renew_lease(holder, 1, seconds=0)
    assert await scheduling.take_lease(other, "other", seconds=60) == 2
    assert not await scheduling.renew_lease(holder, 1, seconds=60)
    await scheduling.end_lease(holder, 1)
    assert await scheduling.take_lease(holder, "holder", seconds=60) is None


async def test_no_lease_begins_while_a_session_has_the_lock(sessions: list[Connection]) -> None:
    direct, pooled, *_ = sessions
    assert await scheduling.take_lead(direct, "direct") == 1
    assert await scheduling.take_lease(pooled, "pooled", seconds=60) is None
    await scheduling.give_up_lead(direct)
    assert await scheduling.take_lease(pooled, "pooled", seconds=60) == 2


async def test_a_daemon_takes_its_own_lease_again_after_it_lost_its_connection(
    sessions: list[Connection],
) -> None:
    before, after, *_ = sessions
    assert await scheduling.take_lease(before, "one", seconds=60) == 1
    assert await scheduling.take_lease(after, "one", seconds=60) == 2
    assert await scheduling.take_lead(before, "one") == 3

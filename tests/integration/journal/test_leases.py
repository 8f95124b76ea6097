"""Who schedules: one daemon by a lease, and none while one of an older release holds its lock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.journal import scheduling
from tests.integration.journal import older_release
from tests.integration.journal.writing import lease_left
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_RIVALS = 6
_ROUNDS = 15


async def _take(connection: Connection, instance: str, *, seconds: float) -> int | None:
    look = await scheduling.take_lease(connection, instance, seconds=seconds, schema=migration.LATEST)
    return look.term


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
            older_release.take_lead(session, f"direct {number}")
            if number % 2
            else _take(session, f"pooled {number}", seconds=30)
            for number, session in enumerate(sessions)
        ]
        terms = await asyncio.gather(*asked)
        assert [term for term in terms if term is not None] == [round_ + 1]
        winner = next(number for number, term in enumerate(terms) if term is not None)
        if winner % 2:
            await older_release.give_up_lead(sessions[winner])
        else:
            await scheduling.end_lease(sessions[winner], round_ + 1, f"pooled {winner}")


async def test_a_lease_keeps_everybody_away_until_it_runs_out(sessions: list[Connection]) -> None:
    holder, other, direct, *_ = sessions
    assert await _take(holder, "holder", seconds=30) == 1
    left = await lease_left(other)
    assert left is not None
    assert 0 < left <= 30
    assert await _take(other, "other", seconds=30) is None
    assert await older_release.take_lead(direct, "direct") is None
    # Nor did it keep the lock: that would keep every lease away.
    assert await other.fetchval("SELECT pg_try_advisory_lock(hashtextextended('poddispatchd.scheduler', 0))")
    await older_release.give_up_lead(other)

    assert await scheduling.renew_lease(holder, 1, "holder", seconds=0) == migration.LATEST
    assert await older_release.take_lead(direct, "direct") == 2
    assert await lease_left(other) is None


async def test_a_lease_from_the_future_keeps_nobody_away(sessions: list[Connection]) -> None:
    """The server's clock was an hour ahead when its holder died, and was set right since."""
    holder, other, *_ = sessions
    assert await _take(holder, "holder", seconds=3600) == 1
    assert await _take(other, "other", seconds=30) == 2
    assert await scheduling.renew_lease(holder, 1, "holder", seconds=30) is None


async def test_a_lease_that_ran_out_goes_on_unless_somebody_else_has_begun(
    sessions: list[Connection],
) -> None:
    holder, other, *_ = sessions
    assert await _take(holder, "holder", seconds=0) == 1
    assert await scheduling.renew_lease(holder, 1, "holder", seconds=30)
    assert await _take(other, "other", seconds=30) is None
    assert await scheduling.renew_lease(holder, 1, "holder", seconds=0) == migration.LATEST
    assert await _take(other, "other", seconds=30) == 2
    assert not await scheduling.renew_lease(holder, 1, "holder", seconds=30)
    await scheduling.end_lease(holder, 1, "holder")
    assert await _take(holder, "holder", seconds=30) is None


async def test_no_lease_begins_while_a_session_has_the_lock(sessions: list[Connection]) -> None:
    direct, pooled, *_ = sessions
    assert await older_release.take_lead(direct, "direct") == 1
    assert await _take(pooled, "pooled", seconds=30) is None
    await older_release.give_up_lead(direct)
    assert await _take(pooled, "pooled", seconds=30) == 2


async def test_a_daemon_takes_its_own_lease_again_after_it_lost_its_connection(
    sessions: list[Connection],
) -> None:
    before, after, *_ = sessions
    assert await _take(before, "one", seconds=30) == 1
    assert await _take(after, "one", seconds=30) == 2
    assert await _take(before, "one", seconds=30) == 3


async def test_no_term_begins_on_a_schema_that_a_newer_release_has_made(sessions: list[Connection]) -> None:
    one, *_ = sessions
    await one.execute("INSERT INTO poddispatchd.schema_version (version) VALUES ($1)", migration.LATEST + 1)
    look = await scheduling.take_lease(one, "one", seconds=30, schema=migration.LATEST)
    assert (look.term, look.schema_version) == (None, migration.LATEST + 1)


async def test_a_renewal_tells_the_version_of_the_schema(sessions: list[Connection]) -> None:
    one, *_ = sessions
    assert await _take(one, "one", seconds=30) == 1
    await one.execute("INSERT INTO poddispatchd.schema_version (version) VALUES ($1)", migration.LATEST + 1)
    assert await scheduling.renew_lease(one, 1, "one", seconds=30) == migration.LATEST + 1


async def test_whoever_gives_a_lease_back_tells_those_that_stand_by(sessions: list[Connection]) -> None:
    holder, listener, *_ = sessions
    heard = asyncio.get_running_loop().create_future()
    await listener.add_listener("poddispatchd_task", lambda *notice: heard.set_result(notice[-1]))
    assert await _take(holder, "holder", seconds=30) == 1
    await scheduling.end_lease(holder, 1, "holder")
    async with asyncio.timeout(5):
        assert await heard == "leader resigned"

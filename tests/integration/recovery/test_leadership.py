"""A leased term by the daemon's own clock: over when it says so, whatever has been heard of the database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from poddispatchd.database import migration
from poddispatchd.runtime.leadership import LEASE, Leadership
from tests.integration.dispatch.scene import HandClock
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def connection(pod_database: PodDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to a database with our schema."""
    async with opened(pod_database) as database:
        await migration.upgrade(database)
    async with pod_database.connection() as connection:
        yield connection


async def test_a_lease_that_is_not_renewed_ends_by_our_own_clock(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    clock = HandClock()
    leadership = Leadership(instance="one", clock=clock)
    assert await leadership.attend(connection, leased=True)
    clock.advance(LEASE - 1)
    assert leadership.term == 1
    clock.advance(1)
    assert leadership.term is None


async def test_a_renewed_lease_goes_on_under_its_term(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    clock = HandClock()
    leadership = Leadership(instance="one", clock=clock)
    await leadership.attend(connection, leased=True)
    for _ in range(3):
        clock.advance(LEASE - 1)
        assert not await leadership.attend(connection, leased=True)
        assert leadership.term == 1


async def test_a_lock_needs_no_renewal(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    clock = HandClock()
    leadership = Leadership(instance="one", clock=clock)
    await leadership.attend(connection, leased=False)
    clock.advance(3600)
    assert (leadership.term, leadership.next_look(25.0)) == (1, 25.0)


async def test_a_standby_looks_again_when_the_lease_of_the_other_ends(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    leader = Leadership(instance="one", clock=HandClock())
    standby = Leadership(instance="other", clock=HandClock())
    await leader.attend(connection, leased=True)
    assert leader.next_look(25.0) < LEASE / 2
    for leased in (True, False):
        assert not await standby.attend(connection, leased=leased)
        assert LEASE - 2 < standby.next_look(25.0) <= LEASE + 0.2
    await leader.resign(connection)
    assert leader.term is None
    assert await standby.attend(connection, leased=True)
    assert standby.term == 2

"""A leased term by the daemon's own clock: over when it says so, whatever has been heard of the database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import asyncpg
import pytest

from poddispatchd.database import migration
from poddispatchd.errors import SchemaChangedError, SchemaNewerError
from poddispatchd.journal import scheduling
from poddispatchd.runtime.leadership import LEASE, Leadership
from tests.integration.dispatch.scene import HandClock
from tests.integration.journal.writing import lease_left
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
    assert await leadership.attend(connection, hears=True)
    clock.advance(LEASE - 1)
    assert leadership.term == 1
    clock.advance(1)
    assert leadership.term is None


async def test_a_renewed_lease_goes_on_under_its_term(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    clock = HandClock()
    leadership = Leadership(instance="one", clock=clock)
    await leadership.attend(connection, hears=True)
    for _ in range(3):
        clock.advance(LEASE - 1)
        assert not await leadership.attend(connection, hears=True)
        assert leadership.term == 1


async def test_a_standby_looks_again_when_the_lease_of_the_other_ends(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    leader = Leadership(instance="one", clock=HandClock())
    standby = Leadership(instance="other", clock=HandClock())
    await leader.attend(connection, hears=True)
    assert 2 <= leader.next_look() < LEASE / 2
    assert not await standby.attend(connection, hears=True)
    assert LEASE - 2 < standby.next_look() <= LEASE + 0.2
    await leader.resign(connection)
    assert leader.term is None
    assert await standby.attend(connection, hears=True)
    assert standby.term == 2


async def test_a_standby_that_hears_nothing_looks_often_enough_to_take_over_soon(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    leader, standby = (Leadership(instance=name, clock=HandClock()) for name in ("one", "other"))
    await leader.attend(connection, hears=False)
    await standby.attend(connection, hears=False)
    assert standby.next_look() <= 2.5


async def test_who_has_resigned_takes_no_term_any_more(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    leader = Leadership(instance="one", clock=HandClock())
    await leader.attend(connection, hears=True)
    await leader.resign(connection)
    assert not await leader.attend(connection, hears=True)
    assert leader.term is None


async def test_who_has_resigned_looks_no_more_often_than_before(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """It looked without a pause, and kept a core busy until the daemon had ended what it did."""
    leader = Leadership(instance="one", clock=HandClock())
    await leader.attend(connection, hears=True)
    await leader.resign(connection)
    assert leader.next_look() > 2


async def test_who_could_not_give_the_lease_back_looks_no_more_often_either(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    clock = HandClock()
    leader = Leadership(instance="one", clock=clock)
    await leader.attend(connection, hears=True)
    leader.withdraw()
    clock.advance(10)
    assert not await leader.attend(connection, hears=True)
    assert leader.next_look() > 2


class _SlowConnection:
    """While a statement is on its way, the daemon resigns over another connection."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", resign: Callable[[], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._resign = resign

    async def fetchval(self, query: str, *values: object) -> object:
        await self._resign()
        return await self._connection.fetchval(query, *values)

    async def fetchrow(self, query: str, *values: object) -> object:
        await self._resign()
        return await self._connection.fetchrow(query, *values)


@pytest.mark.parametrize("is_leader", [True, False], ids=["a renewal", "a beginning"])
async def test_a_lease_that_is_on_its_way_when_the_daemon_resigns_ends_at_once(
    pod_database: PodDatabase, connection: "asyncpg.Connection[asyncpg.Record]", is_leader: bool
) -> None:
    leader, standby = (Leadership(instance=name, clock=HandClock()) for name in ("one", "other"))
    if is_leader:
        await leader.attend(connection, hears=True)
    async with pod_database.connection() as elsewhere:
        slow = _SlowConnection(connection, lambda: leader.resign(elsewhere))
        assert not await leader.attend(cast("asyncpg.Connection[asyncpg.Record]", slow), hears=True)
    assert leader.term is None
    assert await lease_left(connection) is None
    assert await standby.attend(connection, hears=True)


async def test_a_daemon_that_withdraws_begins_no_term_though_it_has_no_connection_to_resign_with(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    leader = Leadership(instance="one", clock=HandClock())
    leader.withdraw()
    assert not await leader.attend(connection, hears=True)
    assert leader.term is None


async def test_a_leader_hands_over_when_a_newer_release_has_upgraded_the_schema(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    leader = Leadership(instance="one", clock=HandClock())
    await leader.attend(connection, hears=True)
    await connection.execute(
        "INSERT INTO poddispatchd.schema_version (version) VALUES ($1)", migration.LATEST + 1
    )
    with pytest.raises(SchemaNewerError, match="install the newer poddispatchd"):
        await leader.attend(connection, hears=True)
    assert leader.term is None
    # The newer one need not wait for the end of the lease.
    assert await lease_left(connection) is None


async def test_a_standby_stops_on_a_newer_schema_too(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    standby = Leadership(instance="one", clock=HandClock())
    await connection.execute(
        "INSERT INTO poddispatchd.schema_version (version) VALUES ($1)", migration.LATEST + 1
    )
    with pytest.raises(SchemaNewerError):
        await standby.attend(connection, hears=True)
    assert standby.term is None


@pytest.mark.parametrize("is_leader", [True, False], ids=["a leader", "a standby"])
async def test_a_schema_that_a_restore_has_taken_away_is_told_with_what_mends_it(
    pod_database: PodDatabase, connection: "asyncpg.Connection[asyncpg.Record]", is_leader: bool
) -> None:
    """The words were that a table is undefined, and the daemon waited for it until somebody restarted it."""
    leadership = Leadership(instance="one", clock=HandClock())
    if is_leader:
        await leadership.attend(connection, hears=True)
    await connection.execute("DROP SCHEMA poddispatchd CASCADE")
    async with opened(pod_database) as database, database.connection() as guarded:
        with pytest.raises(SchemaChangedError, match="restart poddispatchd, which makes it anew"):
            await leadership.attend(guarded, hears=True)


async def test_nobody_begins_a_term_on_the_schema_of_an_older_backup(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """The daemon that found it there held the lease, while each of its statements failed."""
    await connection.execute("DELETE FROM poddispatchd.schema_version WHERE version = $1", migration.LATEST)
    with pytest.raises(SchemaChangedError, match="restart poddispatchd, which upgrades it"):
        await Leadership(instance="one", clock=HandClock()).attend(connection, hears=True)
    assert await lease_left(connection) is None


async def test_a_clock_of_the_server_that_was_set_back_keeps_nobody_from_scheduling(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """The lease of a daemon that had died ran for up to ten minutes more, and every task waited."""
    await Leadership(instance="dead", clock=HandClock()).attend(connection, hears=True)
    await connection.execute(
        "UPDATE poddispatchd.leader SET lease_expires_at = lease_expires_at + interval '5 minutes'"
    )
    assert await Leadership(instance="other", clock=HandClock()).attend(connection, hears=True)


async def test_an_emptied_table_ends_the_term_and_begins_a_later_one(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """By a dump without our rows, or a TRUNCATE: nobody could ever schedule again."""
    leadership = Leadership(instance="one", clock=HandClock())
    await leadership.attend(connection, hears=True)
    before = leadership.term
    assert before is not None
    await connection.execute("TRUNCATE poddispatchd.leader")
    assert not (await scheduling.scheduler(connection)).is_held
    assert (await scheduling.leader(connection)).term == 0

    assert await leadership.attend(connection, hears=True)

    assert leadership.term is not None
    assert leadership.term > before
    # Nothing of the term before is written any more.
    assert await scheduling.renew_lease(connection, before, "one", seconds=LEASE) is None


async def test_a_term_that_the_server_has_forgotten_is_not_shared_with_whoever_begins_it_again(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """A standby took over that had not heard of it, behind a pooler: two renewed one lease for ever."""
    leader = Leadership(instance="one", clock=HandClock())
    other = Leadership(instance="other", clock=HandClock())
    await leader.attend(connection, hears=True)
    await connection.execute(
        "UPDATE poddispatchd.leader SET term = term - 1, instance = NULL, lease_expires_at = NULL"
    )
    await other.attend(connection, hears=True)
    assert other.term == leader.term

    await leader.attend(connection, hears=True)

    assert (leader.term, other.term) == (None, 1)


async def test_a_term_that_another_one_has_begun_again_is_not_ended_by_whoever_had_it_first(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """It stopped before it heard of that, and gave the lease of the other one back."""
    leader = Leadership(instance="one", clock=HandClock())
    other = Leadership(instance="other", clock=HandClock())
    await leader.attend(connection, hears=True)
    await connection.execute(
        "UPDATE poddispatchd.leader SET term = term - 1, instance = NULL, lease_expires_at = NULL"
    )
    await other.attend(connection, hears=True)
    assert other.term == leader.term

    await leader.resign(connection)

    assert await lease_left(connection) is not None
    assert not await Leadership(instance="third", clock=HandClock()).attend(connection, hears=True)

"""Connections go from one user to the next, as long as nothing went wrong with them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from poddispatchd.database import connection_pool
from poddispatchd.database.connection_pool import ConnectionPool
from tests.plugins.postgres import PodDatabase

_SIZE = 2


@pytest.fixture
async def driver(pod_database: PodDatabase) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    dsn = pod_database.dsn.get_secret_value()
    async with asyncpg.create_pool(dsn, min_size=0, max_size=_SIZE) as pool:
        yield pool


@pytest.fixture
async def pool(driver: "asyncpg.Pool[asyncpg.Record]") -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(driver)
    yield pool
    await pool.close()


async def _used(pool: ConnectionPool, *, is_sound: bool = True, statement: str = "SELECT") -> int:
    """Use a connection; the process of the server at its other end."""
    connection = await pool.take(within=5)
    try:
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute(statement)
    finally:
        await pool.give_back(connection, is_sound=is_sound)
    return pid


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the driver, the server or a timer changes it
            await asyncio.sleep(0)


async def test_what_was_used_without_an_error_is_used_again_and_not_returned_before(
    pool: ConnectionPool, driver: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    assert await _used(pool) == await _used(pool)
    assert (driver.get_idle_size(), pool.in_use) == (0, 0)


async def test_what_met_an_error_is_returned(
    pool: ConnectionPool, driver: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    await _used(pool, is_sound=False)
    assert driver.get_idle_size() == 1


async def test_nobody_begins_in_a_transaction_that_another_one_left(pool: ConnectionPool) -> None:
    await _used(pool, statement="BEGIN")
    connection = await pool.take(within=5)
    assert not connection.is_in_transaction()
    await pool.give_back(connection, is_sound=True)


async def test_whoever_waits_gets_the_first_one_that_is_given_back(pool: ConnectionPool) -> None:
    held = [await pool.take(within=5) for _ in range(_SIZE)]
    waiting = asyncio.create_task(_used(pool))
    await _until(lambda: pool._waiting)
    await pool.give_back(held.pop(), is_sound=True)
    assert await waiting
    await pool.give_back(held.pop(), is_sound=True)


async def test_one_that_was_lost_while_nobody_used_it_is_replaced(
    pool: ConnectionPool, pod_database: PodDatabase
) -> None:
    first = await _used(pool)
    async with pod_database.connection() as other:
        await other.fetchval("SELECT pg_terminate_backend($1, 5000)", first)
    idle = pool._idle[0][0]
    await _until(lambda: connection_pool._is_lost(idle))
    assert await _used(pool) != first


@pytest.mark.parametrize("silent", [False, True])
async def test_none_of_before_an_expiry_is_used_again(pool: ConnectionPool, silent: bool) -> None:
    """Neither one that nobody used then, nor one that somebody did, who met no error."""
    held = await pool.take(within=5)
    pids = {await _used(pool), await held.fetchval("SELECT pg_backend_pid()")}
    await pool.expire(silent=silent)
    await pool.give_back(held, is_sound=True)
    assert not {await _used(pool), await _used(pool)} & pids
    assert pool.in_use == 0


async def test_one_that_nobody_uses_for_a_while_is_returned(
    pool: ConnectionPool, driver: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_pool, "_KEPT_FOR", 0.0)
    await _used(pool)
    await _until(driver.get_idle_size)
    assert pool._idle == []
    assert await _used(pool)


async def test_one_that_was_used_often_is_returned_so_that_the_driver_renews_it(
    pool: ConnectionPool, driver: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_pool, "_MOST_USES", 2)
    await _used(pool)
    assert driver.get_idle_size() == 0
    await _used(pool)
    assert driver.get_idle_size() == 1


async def test_a_pool_that_is_closed_keeps_none(pool: ConnectionPool) -> None:
    """One that is given back while it closes included, or it would wait for it until its time is over."""
    await _used(pool)
    held = await pool.take(within=5)
    closing = asyncio.create_task(pool.close())
    await _until(lambda: pool._is_closing)
    await pool.give_back(held, is_sound=True)
    await closing
    assert pool.in_use == 0
    with pytest.raises(asyncpg.InterfaceError):
        await pool.take(within=5)

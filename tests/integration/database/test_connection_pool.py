"""Connections go from one user to the next, as long as nothing went wrong with them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from secrets import token_hex
from urllib.parse import urlsplit

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
        await other.fetchval("SELECT pg_terminate_backend($1)", first)
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


async def test_one_that_was_being_made_when_all_expired_is_not_kept(
    pool: ConnectionPool, driver: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """It may have begun on the server, or under the setting, because of which they expired."""
    making = asyncio.create_task(pool.take(within=5))
    await _until(lambda: pool._waiting)
    await pool.expire()
    await pool.give_back(await making, is_sound=True)
    assert pool._idle == []
    assert driver.get_size() == 0


async def test_whoever_waits_while_the_pool_is_closed_gets_none(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would close it."""
    monkeypatch.setattr(connection_pool, "_CLOSED_WITHIN", 0.01)
    held = [await pool.take(within=5) for _ in range(_SIZE)]
    waiting = asyncio.create_task(pool.take(within=5))
    await _until(lambda: pool._waiting)
    await pool.close()
    for each in held:
        await pool.give_back(each, is_sound=False)
    with pytest.raises(asyncpg.InterfaceError):
        await waiting
    assert pool.in_use == 0


async def test_nothing_is_left_taken_whatever_happens_to_whoever_uses_it(
    pool: ConnectionPool, driver: "asyncpg.Pool[asyncpg.Record]", pod_database: PodDatabase
) -> None:
    """Cancelled at any moment, the server gone in the middle, all expired at once: by a fixed seed."""
    random, users = Random(2), set[asyncio.Task[object]]()

    async def use(way: float, other: "asyncpg.Connection[asyncpg.Record]") -> None:
        connection = await pool.take(within=5)
        is_sound = False
        try:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            if way < 0.1:
                await other.execute(f"SELECT pg_terminate_backend({pid})")
            elif way < 0.2:
                await connection.execute("BEGIN")
            elif way < 0.3:
                await connection.execute("SELECT 1 / 0")
            elif way < 0.4:
                with suppress(TimeoutError):
                    await connection.execute("SELECT pg_sleep(1)", timeout=0.001)
            await connection.execute("SELECT")
            is_sound = True
        finally:
            await pool.give_back(connection, is_sound=is_sound)

    async with pod_database.connection() as other:
        for _ in range(150):
            user = asyncio.create_task(use(random.random(), other))
            users.add(user)
            asyncio.get_running_loop().call_later(random.choice((0.0, 0.001, 0.003, 5.0)), user.cancel)
            if random.random() < 0.1:
                await pool.expire(silent=random.random() < 0.5)
            if random.random() < 0.5:
                await asyncio.wait({user})
        await asyncio.gather(*users, return_exceptions=True)
    assert (pool.in_use, pool._waiting) == (0, 0)
    await pool.expire(silent=True)
    await _until(lambda: not pool._returning)
    assert pool._uses == {}
    held = [await pool.take(within=5) for _ in range(_SIZE)]
    for each in held:
        await pool.give_back(each, is_sound=False)
    assert driver.get_idle_size() == _SIZE


# --- a server without room -------------------------------------------------------------------------------


_NARROW = (
    "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'narrow_%' AND datname = current_database()"
)


@asynccontextmanager
async def _narrow(pod_database: PodDatabase, room: int) -> AsyncIterator[ConnectionPool]:
    """A pool of a role that the server gives so many connections."""
    role = f"narrow_{token_hex(4)}"
    address = urlsplit(pod_database.dsn.get_secret_value())
    async with pod_database.connection() as owner:
        await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'narrow' CONNECTION LIMIT {room}")
        try:
            dsn = address._replace(netloc=f"{role}:narrow@{address.netloc.rpartition('@')[2]}").geturl()
            pool = ConnectionPool(await asyncpg.create_pool(dsn, min_size=0, max_size=4))
            try:
                yield pool
            finally:
                await pool.close()
        finally:
            await owner.execute(f"DROP ROLE {role}")


async def test_where_the_server_has_no_room_for_more_those_that_there_are_serve_all(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wanted one more was refused, again and again, although another one was free a moment later."""
    async with _narrow(pod_database, 1) as pool:
        pids = await asyncio.gather(*(_used(pool) for _ in range(30)))
        assert len(set(pids)) == 1
        # Also one that lies in the driver's pool, below those that are still to be made.
        monkeypatch.setattr(connection_pool, "_FULL_FOR", 0.0)
        await asyncio.gather(*(_used(pool) for _ in range(30)))
        pool._return_idle()
        await asyncio.gather(*pool._returning)
        assert set(await asyncio.gather(*(_used(pool) for _ in range(30)))) == set(pids)


async def test_whoever_wants_a_connection_waits_no_longer_for_unused_ones_than_for_any(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that is silent by now kept those who asked for unused connections, whatever their limit was."""

    async def endless(_: ConnectionPool) -> None:
        await asyncio.Event().wait()

    async with _narrow(pod_database, 1) as pool:
        held = await pool.take(within=5)
        monkeypatch.setattr(ConnectionPool, "_gather", endless)
        waiting = asyncio.create_task(pool.take(within=0.2))
        done, _ = await asyncio.wait([waiting], timeout=10)
        assert done
        assert isinstance(waiting.exception(), TimeoutError)
        await pool.give_back(held, is_sound=True)


async def test_whoever_waits_for_a_connection_that_is_lost_makes_another_one(
    pod_database: PodDatabase,
) -> None:
    async with _narrow(pod_database, 1) as pool:
        held = await pool.take(within=5)
        waiting = [asyncio.create_task(_used(pool)) for _ in range(3)]
        await _until(lambda: len(pool._queue) == 3)
        waiting[0].cancel()
        held.terminate()
        async with pod_database.connection() as owner:
            while await owner.fetchval(_NARROW):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        await pool.give_back(held, is_sound=False)
        assert len(set(await asyncio.gather(*waiting[1:]))) == 1


async def test_without_any_connection_a_full_server_is_told(pod_database: PodDatabase) -> None:
    async with _narrow(pod_database, 0) as pool:
        refused = await asyncio.gather(*(pool.take(within=5) for _ in range(5)), return_exceptions=True)
        assert {type(each) for each in refused} == {asyncpg.TooManyConnectionsError}
        assert not pool.in_use


async def test_a_full_server_is_asked_for_more_connections_after_a_while(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_pool, "_FULL_FOR", 0.0)
    async with _narrow(pod_database, 1) as pool:
        held = await pool.take(within=5)
        waiting = asyncio.create_task(_used(pool))
        await _until(lambda: pool._queue)
        async with pod_database.connection() as owner:
            role = await held.fetchval("SELECT current_user")
            await owner.execute(f"ALTER ROLE {role} CONNECTION LIMIT 2")
        assert await _used(pool) != await held.fetchval("SELECT pg_backend_pid()")
        await pool.give_back(held, is_sound=True)
        assert await waiting

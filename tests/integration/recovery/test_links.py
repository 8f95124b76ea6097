"""Links to the database that break, each in its own way: found out, left, and never hammered."""

import asyncio
import gc
import socket
import time
from urllib.parse import urlsplit

import pytest

from chaos.proxy import Proxy, through
from poddispatchd.database import pool as pool_module
from poddispatchd.database.pool import Database
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.runtime import database_session as session_module
from poddispatchd.runtime import leadership
from tests.integration.recovery.side import side
from tests.plugins.postgres import PodDatabase


@pytest.fixture
def probes_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes every moment, and little time for them; what follows from them is as always."""
    monkeypatch.setattr(session_module, "_PROBE_EVERY", 0.2)
    monkeypatch.setattr(leadership, "_STANDBY_EVERY", 0.2)
    monkeypatch.setattr(session_module, "_PROBE_TIMEOUT", 0.5)


@pytest.mark.slow
async def test_another_daemon_schedules_within_ten_seconds_of_the_leaders_death(
    pod_database: PodDatabase,
) -> None:
    async with side(pod_database.dsn, "leader") as leader, side(pod_database.dsn, "standby") as standby:
        assert (leader.session.term, standby.session.term) == (1, None)
        leader.proxy.cut()  # what a kill does to its connections
        assert await standby.until(leads=True) < 10
        assert standby.session.term == 2
        await leader.until(up=False)
        assert leader.session.term is None
        leader.proxy.heal()
        await leader.until(up=True)
        assert leader.session.term is None


@pytest.mark.usefixtures("probes_often")
async def test_a_half_open_link_is_found_out_and_its_lock_taken_back_at_once(
    pod_database: PodDatabase,
) -> None:
    """The server held the lock of the vanished connection until its own keep-alives: nobody scheduled."""
    async with side(pod_database.dsn, "only") as daemon:
        assert daemon.session.term == 1
        daemon.proxy.half_open()
        assert await daemon.until(up=False, leads=False) < 5
        assert await daemon.until(up=True, leads=True) < 10
        assert daemon.session.term == 2


@pytest.mark.usefixtures("probes_often")
async def test_a_lost_session_of_ours_is_not_mistaken_for_another_daemons(pod_database: PodDatabase) -> None:
    async with side(pod_database.dsn, "first") as first, side(pod_database.dsn, "second") as second:
        assert (first.session.term, second.session.term) == (1, None)
        second.proxy.half_open()
        await second.until(up=False)
        await second.until(up=True)
        await asyncio.sleep(0.5)
        assert (first.session.is_up, first.session.term, second.session.term) == (True, 1, None)


@pytest.mark.usefixtures("probes_often")
async def test_a_half_open_pool_is_left_too(pod_database: PodDatabase) -> None:
    """Each of its connections cost a statement a minute, one after the other."""
    async with side(pod_database.dsn, "only") as daemon:
        async with daemon.database.connection() as first, daemon.database.connection() as second:
            assert {await first.fetchval("SELECT 1"), await second.fetchval("SELECT 1")} == {1}

        async def waits() -> None:
            async with daemon.database.connection() as connection:
                held.set()
                await go_on.wait()
                await connection.fetchval("SELECT 1")

        held, go_on = asyncio.Event(), asyncio.Event()
        waiting = asyncio.create_task(waits())
        await held.wait()
        daemon.proxy.half_open()
        go_on.set()
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailableError):
            await waiting
        await daemon.until(up=True)
        async with daemon.database.connection() as first, daemon.database.connection() as second:
            assert {await first.fetchval("SELECT 1"), await second.fetchval("SELECT 1")} == {1}
        assert time.monotonic() - begun < 15


@pytest.mark.usefixtures("probes_often")
async def test_connections_that_nobody_answers_are_closed_without_a_word(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool leaves those it does not trust to tasks of its own: each failed a minute later, in the log."""
    monkeypatch.setattr("poddispatchd.database.pool._COMMAND_TIMEOUT", 1.0)
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    async with side(pod_database.dsn, "only") as daemon:
        for is_broken in (False, True):
            if is_broken:
                daemon.proxy.half_open()
                await daemon.until(up=False)
                await daemon.until(up=True)
            async with daemon.database.connection() as first, daemon.database.connection() as second:
                assert {await first.fetchval("SELECT 1"), await second.fetchval("SELECT 1")} == {1}
        closing = [one for one in asyncio.all_tasks() if "Connection.close" in repr(one)]
        assert closing
        await asyncio.wait(closing, timeout=10)
        assert all(one.done() for one in closing)
    del closing
    gc.collect()
    assert "Task exception was never retrieved" not in told


@pytest.mark.usefixtures("probes_often")
async def test_a_stalled_link_is_found_out_and_used_again_when_it_flows(pod_database: PodDatabase) -> None:
    async with side(pod_database.dsn, "only") as daemon:
        daemon.proxy.stall()
        assert await daemon.until(up=False) < 5
        daemon.proxy.heal()
        await daemon.until(up=True, leads=True)
        assert await daemon.database.fetch("SELECT 1")


@pytest.mark.slow
async def test_a_database_that_is_away_is_asked_for_ever_more_rarely(pod_database: PodDatabase) -> None:
    async with side(pod_database.dsn, "only") as daemon:
        await daemon.until(leads=True)
        before = daemon.proxy.accepted
        daemon.proxy.cut()
        await daemon.until(up=False)
        await asyncio.sleep(4.0)
        assert 1 <= daemon.proxy.accepted - before <= 25
        for wake in (
            daemon.wakeups.dispatcher,
            daemon.wakeups.inbox,
            daemon.wakeups.reconciler,
            daemon.wakeups.importer,
        ):
            await wake.wait(0)
        daemon.proxy.heal()
        await daemon.until(up=True)
        # Whatever happened meanwhile is looked for by everyone.
        for wake in (
            daemon.wakeups.dispatcher,
            daemon.wakeups.inbox,
            daemon.wakeups.reconciler,
            daemon.wakeups.importer,
        ):
            assert await wake.wait(5)


async def test_the_kernel_watches_both_ends_of_every_connection(pod_database: PodDatabase) -> None:
    database = Database(pod_database.dsn)
    await database.open()
    try:
        dedicated = await database.dedicated_connection()
        async with database.connection() as pooled:
            for connection in (dedicated, pooled):
                shown = {
                    name: await connection.fetchval(f"SHOW {name}")
                    for name in ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
                }
                assert shown == {
                    "tcp_keepalives_idle": "8",
                    "tcp_keepalives_interval": "4",
                    "tcp_keepalives_count": "3",
                }
                transport = connection._raw._transport  # type: ignore[union-attr]  # asyncpg tells it nowhere else
                held = transport.get_extra_info("socket")
                assert held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        await dedicated.close()
    finally:
        await database.close()


async def test_no_bug_is_logged_when_work_is_cancelled_while_its_dead_connection_is_given_back(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a daemon that stops: the error of the driver was nobody's, and came with a traceback."""
    monkeypatch.setattr(pool_module, "_CONNECT_TIMEOUT", 0.5)
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    async with Proxy(int(urlsplit(pod_database.dsn.get_secret_value()).port or 0)) as proxy:
        database = Database(through(pod_database.dsn, proxy.port))
        await database.open()
        asks = asyncio.Event()

        async def work() -> None:
            async with database.connection() as connection:
                asks.set()
                await connection.fetchval("SELECT pg_sleep(60)")

        working = asyncio.create_task(work())
        await asks.wait()
        proxy.stall()
        await asyncio.wait([working], timeout=0.05)
        working.cancel()  # the statement: it is to be cancelled at the server, which does not answer
        await asyncio.wait([working], timeout=0.05)
        working.cancel()  # what waits for that
        await asyncio.wait([working])
        assert working.cancelled()
        await database.close()
    gc.collect()
    assert not [words for words in told if "never retrieved" in words]

"""Behind PgBouncer: what is found out about it, what is done without, and who schedules."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import asyncpg
import pytest
from structlog.testing import capture_logs

from chaos.pgbouncer import pgbouncer
from poddispatchd.database import migration, poolers
from poddispatchd.database.connections import GuardedConnection
from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, Task, TaskPk, TaskStatus, TaskType, VideoId
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError, RowLockedError
from poddispatchd.journal import scheduling, submissions
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.observability.events import Event
from poddispatchd.runtime import leadership
from poddispatchd.runtime.database_session import CHANNEL
from tests.integration.journal.writing import add_intent, lease_left
from tests.integration.recovery.side import Side, side
from tests.plugins.postgres import PodDatabase

_MODES = ("session", "transaction")

_LOCKS = (
    "SELECT FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@asynccontextmanager
async def _opened(dsn: SecretStr, *, pool_size: int = 3) -> AsyncIterator[Database]:
    database = Database(dsn, pool_size=pool_size)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def _take(connection: Connection, instance: str, *, seconds: float = 60) -> int | None:
    look = await scheduling.take_lease(connection, instance, seconds=seconds, schema=migration.LATEST)
    return look.term


async def _pooling(dsn: SecretStr) -> Pooling:
    async with _opened(dsn) as database:
        connection = await database.dedicated_connection()
        try:
            return await database.pooling_of(connection)
        finally:
            await connection.close()


@pytest.fixture
def short_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that run out soon; what follows from them is as always."""
    monkeypatch.setattr(leadership, "LEASE", 2.0)
    monkeypatch.setattr(leadership, "_RENEW_EVERY", 0.5)
    monkeypatch.setattr(leadership, "_STANDBY_EVERY", 1.0)


# --- what is found out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", _MODES)
async def test_the_mode_of_a_pooler_is_found_out(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    async with pgbouncer(pod_database.dsn, tmp_path, mode) as bouncer:
        assert await _pooling(bouncer.dsn) == mode


@pytest.mark.parametrize(
    "settings", [{"default_pool_size": 1}, {"server_round_robin": 1, "min_pool_size": 5}]
)
async def test_transactions_are_found_to_be_pooled_whatever_the_pool(
    pod_database: PodDatabase, tmp_path: Path, settings: dict[str, object]
) -> None:
    async with pgbouncer(pod_database.dsn, tmp_path, "transaction", **settings) as bouncer:
        assert await _pooling(bouncer.dsn) is Pooling.TRANSACTION


async def test_neither_postgresql_nor_a_plain_proxy_before_it_is_a_pooler(pod_database: PodDatabase) -> None:
    assert await _pooling(pod_database.dsn) is Pooling.NONE
    async with side(pod_database.dsn, "only") as daemon:
        assert daemon.proxy.accepted > 0
        assert daemon.session.pooling is Pooling.NONE


class _Unlucky:
    """Another client that gets another server each time only because someone else has the first one."""

    def __init__(self, connection: object, rival: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = cast("asyncpg.Connection[asyncpg.Record]", connection)
        self._rival = rival

    async def fetchval(self, query: str) -> object:
        async with self._rival.transaction():
            await self._rival.execute("SELECT 1")
            return await self._connection.fetchval(query)

    async def execute(self, query: str, *arguments: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's name
        return await self._connection.execute(query, *arguments, timeout=timeout)


async def test_a_pooler_is_not_trusted_with_sessions_because_of_a_coincidence(
    pod_database: PodDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers that were seen look like those of session mode: only the missing notification tells."""
    monkeypatch.setattr(poolers, "_ECHO_TIMEOUT", 0.5)
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        bouncer.client() as one,
        bouncer.client() as other,
        bouncer.client() as rival,
    ):
        unlucky = _Unlucky(other, rival)
        mine = await one.fetchval("SELECT pg_backend_pid()")
        assert await unlucky.fetchval("SELECT pg_backend_pid()") != mine
        assert await one.fetchval("SELECT pg_backend_pid()") == mine
        other_side = GuardedConnection(cast("asyncpg.Connection[asyncpg.Record]", unlucky))
        assert not await poolers.keeps_sessions(GuardedConnection(one), other_side)


async def test_statement_mode_is_refused_in_words(pod_database: PodDatabase, tmp_path: Path) -> None:
    async with pgbouncer(pod_database.dsn, tmp_path, "statement") as bouncer:
        with pytest.raises(ConfigurationError, match="statement mode") as caught:
            await Database(bouncer.dsn).open()
        assert "pool_mode" in str(caught.value)


async def test_a_pooler_without_a_server_for_us_is_told_in_words(
    pod_database: PodDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poddispatchd.database.pool._PREPARE_TIMEOUT", 0.3)
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "session", default_pool_size=1) as bouncer,
        _opened(bouncer.dsn) as database,
    ):
        with pytest.raises(DatabaseUnavailableError, match="pooler in session mode needs a server for each"):
            await database.dedicated_connection()


async def test_a_pooler_that_takes_the_place_of_postgresql_is_noticed(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    """The same address leads elsewhere from one moment to the next."""
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        side(pod_database.dsn, "only") as daemon,
    ):
        assert (daemon.session.pooling, daemon.session.term) == (Pooling.NONE, 1)
        with capture_logs() as logs:
            daemon.proxy._far_port = bouncer.port
            daemon.proxy.cut()
            await daemon.until(up=False)
            daemon.proxy.heal()
            await daemon.until(up=True, leads=True)
        assert (daemon.session.pooling, daemon.session.term) == (Pooling.TRANSACTION, 2)
        [found] = [entry for entry in logs if entry["event"] == Event.POOLER_CHANGED]
        assert (found["pooling"], found["log_level"]) == ("transaction", "warning")
        await asyncio.gather(*(daemon.database.fetch("SELECT $1::bigint", number) for number in range(50)))


# --- what is done without --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", _MODES)
async def test_more_clients_than_servers_are_served(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    servers = 2 if mode == "transaction" else 6
    async with (
        pgbouncer(pod_database.dsn, tmp_path, mode, default_pool_size=servers) as bouncer,
        _opened(bouncer.dsn, pool_size=5) as database,
    ):

        async def works(number: int) -> object:
            async with database.transaction() as connection:
                await connection.execute("SELECT pg_sleep(0.001)")
                return await connection.fetchval("SELECT $1::bigint + 1", number)

        found = await asyncio.gather(*(works(number) for number in range(100)))
        assert found == [number + 1 for number in range(100)]
        lone = await asyncio.gather(*(database.fetchrow("SELECT $1::text[]", [str(n)]) for n in range(100)))
        assert [row[0] for row in lone if row is not None] == [[str(number)] for number in range(100)]


async def test_nothing_of_ours_is_left_on_a_server_that_others_use_too(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with pgbouncer(pod_database.dsn, tmp_path, "transaction", default_pool_size=1) as bouncer:
        async with bouncer.client() as other:
            before = await other.fetch("SELECT name, setting FROM pg_settings ORDER BY name")
            server = await other.fetchval("SELECT pg_backend_pid()")
        async with side(bouncer.dsn, "only") as daemon:
            await daemon.database.fetch("SELECT $1::text", "x")
            async with daemon.database.transaction() as connection:
                await connection.fetchval("SELECT 1")
                assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "20s"
            async with bouncer.client() as other:
                assert await other.fetchval("SELECT pg_backend_pid()") == server
                assert await other.fetch("SELECT name, setting FROM pg_settings ORDER BY name") == before
                assert await other.fetch("SELECT name FROM pg_prepared_statements") == []
                assert await other.fetch("SELECT pg_listening_channels()") == []
                assert await other.fetch(_LOCKS) == []


@pytest.mark.parametrize("mode", _MODES)
async def test_notifications_wake_the_dispatcher_where_sessions_are_kept(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    async with pgbouncer(pod_database.dsn, tmp_path, mode) as bouncer, side(bouncer.dsn, "only") as daemon:
        is_kept = mode == "session"
        assert (daemon.session.pooling, daemon.session.listening) == (mode, is_kept)
        wake = daemon.wakeups.dispatcher
        await wake.wait(0)
        async with pod_database.connection() as other:
            await other.execute(f"NOTIFY {CHANNEL}")
        assert await wake.wait(5 if is_kept else 0.5) == is_kept


@pytest.mark.parametrize("mode", _MODES)
async def test_a_pooler_that_is_restarted_is_found_again(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    async with pgbouncer(pod_database.dsn, tmp_path, mode) as bouncer, side(bouncer.dsn, "only") as daemon:
        await daemon.until(leads=True)
        await bouncer.stop()
        await daemon.until(up=False, leads=False)
        await bouncer.start()
        await daemon.until(up=True, leads=True)
        assert daemon.session.pooling == mode
        assert await daemon.database.fetch("SELECT 1")


# --- who schedules ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize(("loss", "within"), [("cut", 10.0), ("stall", 30.0)])
async def test_another_daemon_takes_over_from_a_leader_that_is_gone(
    pod_database: PodDatabase, tmp_path: Path, mode: str, loss: str, within: float
) -> None:
    async with AsyncExitStack() as stack:
        bouncer = await stack.enter_async_context(pgbouncer(pod_database.dsn, tmp_path, mode))
        leader = await stack.enter_async_context(side(bouncer.dsn, "leader"))
        standby = await stack.enter_async_context(side(bouncer.dsn, "standby"))
        assert (leader.session.term, standby.session.term) == (1, None)
        getattr(leader.proxy, loss)()
        begun = time.monotonic()
        while standby.session.term is None:
            assert time.monotonic() - begun < within
            await asyncio.sleep(0.01)
        # Never two at once, whatever the old one knows of the loss.
        assert (leader.session.term, standby.session.term) == (None, 2)


@pytest.mark.parametrize("mode", _MODES)
async def test_a_leader_that_stops_lets_another_one_lead(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    async with pgbouncer(pod_database.dsn, tmp_path, mode) as bouncer, pod_database.connection() as direct:
        async with side(bouncer.dsn, "first") as first:
            assert first.session.term == 1
            assert await lease_left(direct) is not None
        assert await lease_left(direct) is None
        async with side(bouncer.dsn, "second") as second:
            assert second.session.term == 2


async def test_a_leader_that_reconnects_schedules_again_at_once(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        side(bouncer.dsn, "only") as daemon,
    ):
        daemon.proxy.cut()
        await daemon.until(up=False, leads=False)
        daemon.proxy.heal()
        await daemon.until(up=True)
        assert daemon.session.term == 2


async def test_a_leader_learns_at_its_next_renewal_that_it_is_none(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        side(bouncer.dsn, "old") as old,
    ):
        assert old.session.term == 1
        async with pod_database.connection() as direct:
            await direct.execute(
                "UPDATE poddispatchd.leader SET term = 5, instance = 'another',"
                " lease_expires_at = now() + interval '50 seconds'"
            )
        with capture_logs() as logs:
            await old.until(leads=False)
        assert Event.LEADER_LOST in [entry["event"] for entry in logs]
        assert old.session.is_up


async def test_of_many_daemons_behind_a_pooler_one_schedules(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        bouncer = await stack.enter_async_context(
            pgbouncer(pod_database.dsn, tmp_path, "transaction", default_pool_size=4)
        )
        async with _opened(bouncer.dsn) as database:
            await migration.upgrade(database)
        daemons = await asyncio.gather(
            *(stack.enter_async_context(side(bouncer.dsn, f"daemon {number}")) for number in range(5))
        )
        assert [daemon.session.term for daemon in daemons if daemon.session.term is not None] == [1]


@pytest.mark.usefixtures("short_terms")
async def test_a_scheduler_stays_one_while_it_waits_for_what_a_stalled_one_has_locked(
    pod_database: PodDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one stalls as it stores an answer, the new one posts the same intent again."""
    monkeypatch.setattr("poddispatchd.runtime.database_session._PROBE_TIMEOUT", 1.0)
    monkeypatch.setattr(
        "poddispatchd.database.pool.LIMITS", "SET LOCAL idle_in_transaction_session_timeout = '6s'"
    )
    task = Task(
        TaskPk(1), TaskType.ENCODING, TaskStatus.PENDING, None, None, VideoId(1), None, datetime.now(UTC)
    )
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        side(bouncer.dsn, "old") as old,
        side(bouncer.dsn, "new") as new,
    ):
        assert (old.session.term, new.session.term) == (1, None)
        async with old.database.connection() as connection:
            intent = await add_intent(connection, task, ManagerId(1))
        stored = asyncio.Event()

        async def store() -> None:
            async with old.database.transaction() as connection:
                await submissions.close_intent(connection, intent, SubmissionState.ACCEPTED)
                old.proxy.stall()
                stored.set()
                await asyncio.Event().wait()

        async def post_again() -> bool:
            while True:
                try:
                    async with new.database.connection() as connection:
                        return await submissions.repost(connection, intent, term=2)
                except RowLockedError:
                    continue

        storing = asyncio.create_task(store())
        await stored.wait()
        await new.until(leads=True)
        posting = asyncio.create_task(post_again())
        await _is_alone(new, old, leadership.LEASE + 1)
        assert not posting.done()
        # Whoever stalls in a transaction loses it.
        assert await posting
        assert new.session.term == 2
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)


async def _until_lease_is(daemon: Side, *, blocked: bool) -> None:
    async with asyncio.timeout(20):
        while daemon.session.is_up and (daemon.session.lease_problem is not None) != blocked:
            daemon.session.suspect()
            await asyncio.sleep(0.05)
    assert daemon.session.is_up


@pytest.mark.parametrize("mode", _MODES)
async def test_a_lease_whose_row_is_held_is_told_and_is_no_lost_database_behind_a_pooler_either(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    """Nothing bounded the wait there: the whole database was called lost, and callbacks were refused."""
    async with (
        pgbouncer(pod_database.dsn, tmp_path, mode) as bouncer,
        side(bouncer.dsn, "only") as daemon,
        pod_database.connection() as other,
    ):
        await daemon.until(leads=True)
        with capture_logs() as lines:
            async with other.transaction():
                await other.execute("SELECT FROM poddispatchd.leader FOR UPDATE")
                await _until_lease_is(daemon, blocked=True)
            await _until_lease_is(daemon, blocked=False)
        await daemon.until(leads=True)
        assert Event.DATABASE_DOWN not in [line["event"] for line in lines]


# --- some behind a pooler, some not ----------------------------------------------------------------------


async def _is_alone(leader: Side, standby: Side, seconds: float) -> None:
    """Nobody else comes to schedule meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert leader.session.term is not None
        assert standby.session.term is None
        standby.session.suspect()
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("short_terms")
async def test_a_daemon_behind_a_pooler_respects_the_lock_of_one_that_is_not(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        side(pod_database.dsn, "direct") as direct,
        side(bouncer.dsn, "pooled") as pooled,
    ):
        await _is_alone(direct, pooled, 1.5)
        direct.proxy.cut()
        assert await pooled.until(leads=True) < 5
        assert (direct.session.term, pooled.session.term) == (None, 2)
        direct.proxy.heal()
        await direct.until(up=True)
        await _is_alone(pooled, direct, leadership.LEASE + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("short_terms")
async def test_a_daemon_that_is_not_behind_a_pooler_respects_the_lease_of_one_that_is(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        side(bouncer.dsn, "pooled") as pooled,
        side(pod_database.dsn, "direct") as direct,
    ):
        await _is_alone(pooled, direct, leadership.LEASE + 1)
        async with pod_database.connection() as looking:
            # It waits without the lock: whoever has that keeps every lease away.
            assert await looking.fetch(_LOCKS) == []
        pooled.proxy.stall()
        assert await direct.until(leads=True) < 5
        assert (direct.session.term, pooled.session.term) == (2, None)
        pooled.proxy.heal()
        await pooled.until(up=True)
        await _is_alone(direct, pooled, 1.5)


async def test_a_lease_that_ran_out_fences_its_holder_as_soon_as_another_term_begins(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        _opened(bouncer.dsn) as database,
        pod_database.connection() as direct,
    ):
        await migration.upgrade(database)
        async with database.connection() as pooled:
            assert await _take(pooled, "old", seconds=0) == 1
            assert await _take(direct, "new") == 2
            assert not await scheduling.renew_lease(pooled, 1, "old", seconds=60)
            assert await _take(pooled, "old") is None
            assert await submissions.open_submissions(pooled) == []


@pytest.mark.parametrize("mode", _MODES)
async def test_a_row_that_another_session_holds_is_not_waited_for_behind_a_pooler_either(
    pod_database: PodDatabase, tmp_path: Path, mode: str
) -> None:
    async with (
        pgbouncer(pod_database.dsn, tmp_path, mode) as bouncer,
        _opened(bouncer.dsn) as database,
        pod_database.connection() as other,
    ):
        await other.execute("CREATE TABLE held AS SELECT 1 AS id")
        async with other.transaction():
            await other.execute("SELECT FROM held FOR UPDATE")
            with pytest.raises(RowLockedError):
                async with database.transaction() as connection:
                    await connection.execute("UPDATE held SET id = 2")
            # Nor by a statement of its own, which was given a minute, and then the database up.
            for call in ("execute", "fetch", "fetchrow", "fetchval"):
                with pytest.raises(RowLockedError):
                    async with database.connection() as connection:
                        await getattr(connection, call)("UPDATE held SET id = 2")
            with pytest.raises(RowLockedError):
                async with database.connection() as connection:
                    await connection.executemany("UPDATE held SET id = $1", [(2,)])
        async with database.connection() as connection:
            assert await connection.fetchval("UPDATE held SET id = 2 RETURNING id") == 2
        assert await other.fetchval("SELECT id FROM held") == 2


async def test_a_transaction_is_of_its_usual_isolation_behind_a_pooler_too(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    async with pod_database.connection() as other:
        name = await other.fetchval("SELECT quote_ident(current_database())")
        await other.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    async with (
        pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer,
        _opened(bouncer.dsn) as database,
        database.transaction() as connection,
    ):
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"


async def test_a_parameter_that_the_pooler_does_not_pass_on_is_told_with_what_helps(
    pod_database: PodDatabase, tmp_path: Path
) -> None:
    """Where Pod's tables are in another schema a search_path was proposed, and then refused: nothing more."""
    async with pgbouncer(pod_database.dsn, tmp_path, "transaction") as bouncer:
        dsn = SecretStr(f"{bouncer.dsn.get_secret_value()}?search_path=university")
        with pytest.raises(DatabaseUnavailableError, match=r"search_path: .* ALTER DATABASE … SET"):
            async with _opened(dsn):
                pass

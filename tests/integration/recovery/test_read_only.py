"""A switch-over: the server that we are connected to becomes a read-only standby, and comes back."""

import asyncio
from collections.abc import Iterable, Mapping

import asyncpg
from structlog.testing import capture_logs

from poddispatchd.observability.events import Event
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.recovery.side import Side, side
from tests.plugins.postgres import PodDatabase


async def test_sessions_of_a_read_only_server_are_dropped_and_made_again_until_it_can_be_written(
    pod_database: PodDatabase,
) -> None:
    """It was taken for a bug: the sessions were kept for ever, by a daemon that called itself ready."""
    setting = f'ALTER DATABASE "{pod_database.name}" SET default_transaction_read_only'
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with side(pod_database.dsn, "one") as daemon, pod_database.connection() as other:
        with capture_logs() as logs:
            await other.execute(f"{setting} = on")
            await other.execute(cut)
            await daemon.until(up=False)
            await _until_told(daemon)
            term = daemon.session.term
            await other.execute("SET default_transaction_read_only = off")
            await other.execute(f"{setting} = off")
            await daemon.until(up=True, leads=True)
        assert term is None
        assert Event.SERVICE_CRASHED not in [entry["event"] for entry in logs]
        _each_reason_is_told_once(logs, "it is read-only")


async def test_the_log_says_why_the_database_stays_away_and_not_only_that_it_went(
    pod_database: PodDatabase, postgres: PostgresServer
) -> None:
    """After a changed password the only line was "The database closed the connection.", all night."""
    setting = f'ALTER DATABASE "{pod_database.name}" ALLOW_CONNECTIONS'
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
    async with side(pod_database.dsn, "one") as daemon:
        administration = await asyncpg.connect(postgres.dsn().get_secret_value())
        try:
            with capture_logs() as logs:
                await administration.execute(f"{setting} false")
                await administration.execute(cut, pod_database.name)
                await daemon.until(up=False)
                async with asyncio.timeout(20):
                    while "accepting" not in (daemon.session.problem or ""):  # noqa: ASYNC110 - it tells nobody
                        await asyncio.sleep(0.02)
                await administration.execute(f"{setting} true")
                await daemon.until(up=True, leads=True)
        finally:
            await administration.execute(f"{setting} true")
            await administration.close()
        _each_reason_is_told_once(logs, "accepting connections")


def _each_reason_is_told_once(logs: Iterable[Mapping[str, object]], reason: str) -> None:
    told = [str(entry["error"]) for entry in logs if entry["event"] == Event.DATABASE_DOWN]
    assert len(told) == len(set(told))
    assert any(reason in words for words in told)


async def _until_told(daemon: Side) -> None:
    async with asyncio.timeout(20):
        while "it is read-only" not in (daemon.session.problem or ""):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)

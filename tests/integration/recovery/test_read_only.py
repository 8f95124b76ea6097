"""A switch-over: the server that we are connected to becomes a read-only standby, and comes back."""

import asyncio

from structlog.testing import capture_logs

from poddispatchd.observability.events import Event
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
        events = [entry["event"] for entry in logs]
        assert Event.SERVICE_CRASHED not in events
        assert events.count(Event.DATABASE_DOWN) == 1


async def _until_told(daemon: Side) -> None:
    async with asyncio.timeout(20):
        while "it is read-only" not in (daemon.session.problem or ""):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)

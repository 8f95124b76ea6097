"""Certificates that nobody renews are told before they end: of managers, of the database, and ours for it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession
from structlog.testing import capture_logs

from poddispatchd.app.database_checks import certificate_findings
from poddispatchd.app.findings import CheckLevel
from poddispatchd.config.model import RunnersSettings
from poddispatchd.config.notification import EventsSettings, MailSettings
from poddispatchd.database.pool import Database
from poddispatchd.maintenance.certificate_watch import CertificateWatch
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.notify.certificates import event_certificate_end, mail_certificate_end
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session
from tests.integration.certificates import Authority
from tests.integration.database.tls_front import TlsFront
from tests.integration.dispatch.scene import HandClock
from tests.integration.notify.bench import mail_settings, postbox
from tests.integration.runner.raw_server import RawServer, reply
from tests.plugins.postgres import PodDatabase
from tests.unit.runner.managers import manager

_HEALTHY = [
    reply(body=b'{"version": "1.7.1", "health_check": "api/health"}'),
    reply(body=b'{"status": "healthy"}'),
]
_NOTHING = QueueStats(counts={}, oldest_pending={}, running_on={})
_HOUR, _DAY = 3600.0, 86400.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority("a private one")
    (tmp_path / "ca.pem").write_bytes(made.certificate)
    return made


@pytest.fixture
async def front(pod_database: PodDatabase, authority: Authority, tmp_path: Path) -> AsyncIterator[TlsFront]:
    """The database behind TLS: its server's certificate ends in ten days, ours in three."""
    (tmp_path / "ours").mkdir()
    authority.server(tmp_path / "ours", ends=3)
    async with TlsFront(pod_database.dsn, authority.server(tmp_path, ends=10)) as made:
        yield made


def _verified(front: TlsFront, tmp_path: Path) -> Database:
    ours = tmp_path / "ours" / "server.pem"
    verified = f"sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}"
    return Database(front.dsn(f"{verified}&sslcert={ours}&sslkey={ours}"))


def _days_left(metrics: Metrics) -> dict[str, int]:
    """What the metrics say, by the last value of their labels."""
    found = {}
    for line in metrics.exposition().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if "certificate_end_timestamp_seconds{" in name:
            end = float(value)
            left = 0.0 if end == 0 else end - datetime.now(UTC).timestamp()
            found[name.partition('="')[2].rstrip('"}')] = round(left / _DAY)
    return found


async def test_metrics_have_their_ends_and_the_log_tells_the_near_ones_once_a_day(
    front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    database, metrics, clock = _verified(front, tmp_path), Metrics(), HandClock()
    await database.open()
    clock.stop()
    registry = ManagerRegistry(clock, metrics)
    settings = RunnersSettings(ca_file=tmp_path / "ca.pem")
    async with (
        RawServer(_HEALTHY, tls=authority.server(tmp_path, ends=40)) as server,
        open_session(settings) as session,
    ):
        client = RunnerClient(session, request_timeout=15.0)
        registry.refresh([manager(server.url)], {}, {})
        await client.health(manager(server.url))
        watch = CertificateWatch(
            database=database, registry=registry, client=client, others={}, metrics=metrics, clock=clock
        )
        with capture_logs() as lines:
            await watch.look(_NOTHING)
            # A single pass makes no connection for it, and tells nothing every three minutes.
            none_yet = {"rm1": 0, "client": 0, "server": 0, "mail": 0, "events": 0}
            assert (_days_left(metrics), lines) == (none_yet, [])
            clock.advance(60.0)
            for _ in range(26):
                await watch.look(_NOTHING)
                clock.advance(_HOUR)
    await database.close()
    assert _days_left(metrics) == {"rm1": 40, "client": 3, "server": 10, "mail": 0, "events": 0}
    told = [str(line["of"]) for line in lines if line["event"] == Event.CERTIFICATE_ENDS]
    assert (
        sorted(told)
        == ["the database's server"] * 2 + ["this daemon as a client of the database (sslcert)"] * 2
    )


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_those_of_the_mail_server_and_of_the_endpoint_of_events_are_told_too(
    pod_database: PodDatabase, authority: Authority, tmp_path: Path, security: str
) -> None:
    """They ended unseen: nobody was told of failures any more, and nobody was told that."""
    metrics, clock = Metrics(), HandClock()
    clock.stop()
    ca_file = str(tmp_path / "ca.pem")
    (tmp_path / "mail").mkdir()
    context = authority.server(tmp_path / "mail", ends=6)
    box = postbox(starttls=context) if security == "starttls" else postbox(tls=context)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session(RunnersSettings()))
        server = await stack.enter_async_context(box)
        endpoint = await stack.enter_async_context(RawServer([], tls=authority.server(tmp_path, ends=40)))
        login = {"username": "x", "password": "y"}
        mail = MailSettings.read(
            mail_settings(server, host="localhost", security=security, ca_file=ca_file, **login)
        )
        events = EventsSettings.read({"url": endpoint.url, "ca_file": ca_file})
        watch = CertificateWatch(
            database=Database(pod_database.dsn),
            registry=ManagerRegistry(clock, metrics),
            client=RunnerClient(session, request_timeout=15.0),
            others={
                "mail": lambda: mail_certificate_end(mail),
                "events": lambda: event_certificate_end(events),
            },
            metrics=metrics,
            clock=clock,
        )
        clock.advance(60.0)
        lines = stack.enter_context(capture_logs())
        await watch.look(_NOTHING)
        assert _days_left(metrics) == {"mail": 6, "events": 40, "client": 0, "server": 0}
    # Neither can be had any more: what was known goes on to be told.
    clock.advance(_DAY + _HOUR)
    with capture_logs() as more:
        await watch.look(_NOTHING)
    assert _days_left(metrics) == {"mail": 6, "events": 40, "client": 0, "server": 0}
    told = [str(line["of"]) for line in [*lines, *more] if line["event"] == Event.CERTIFICATE_ENDS]
    assert (told, server.logins) == (["the mail server"] * 2, 0)


async def test_nobody_is_connected_to_who_shows_no_certificate() -> None:
    """An endpoint without TLS had a connection each hour, on which nothing was ever asked."""
    async with RawServer([]) as endpoint:
        url = endpoint.url
    # It is gone: whoever connected to it would be told so.
    assert await event_certificate_end(EventsSettings.read({"url": url})) is None


def _of_the_database(
    database: Database, session: ClientSession, metrics: Metrics, clock: HandClock
) -> CertificateWatch:
    return CertificateWatch(
        database=database,
        registry=ManagerRegistry(clock, metrics),
        client=RunnerClient(session, request_timeout=15.0),
        others={},
        metrics=metrics,
        clock=clock,
    )


async def test_certificates_are_told_as_well_where_no_other_connection_can_be_had(
    front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    """Under a limit of just what a daemon wants, or once the certificate had ended, nothing was ever told."""
    database, metrics, clock = _verified(front, tmp_path), Metrics(), HandClock()
    await database.open()
    front.context = authority.server(tmp_path, begins=-2, ends=-1)
    async with open_session(RunnersSettings()) as session:
        watch = _of_the_database(database, session, metrics, clock)
        clock.advance(60.0)
        with capture_logs() as lines:
            await watch.look(_NOTHING)
    await database.close()
    assert _days_left(metrics) == {"client": 3, "server": 10, "mail": 0, "events": 0}
    assert [line["event"] for line in lines] == [Event.CERTIFICATE_ENDS] * 2


async def test_where_no_certificate_counts_no_connection_is_made_for_them(front: TlsFront) -> None:
    database, metrics, clock = Database(front.dsn("sslmode=require")), Metrics(), HandClock()
    await database.open()
    async with open_session(RunnersSettings()) as session:
        watch = _of_the_database(database, session, metrics, clock)
        clock.advance(60.0)
        before = front.taken
        await watch.look(_NOTHING)
    await database.close()
    assert front.taken == before
    assert _days_left(metrics) == {"client": 0, "server": 0, "mail": 0, "events": 0}


async def test_a_certificate_that_nobody_verifies_may_end(front: TlsFront) -> None:
    """sslmode=require, and what Debian has PostgreSQL make for itself."""
    ends = await Database(front.dsn("sslmode=require")).certificate_ends()
    assert (ends.server, ends.client) == (None, None)


async def test_check_says_the_days_that_are_left_of_those_of_the_database(
    front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    database = _verified(front, tmp_path)
    server, client = await certificate_findings(database)
    assert (server.severity, client.severity) == (CheckLevel.NOTE, CheckLevel.NOTE)
    assert server.words.startswith("The certificate of its server ends in 9 days, at ")
    assert client.words.startswith("Our certificate for it ends in 2 days, at ")
    front.context = authority.server(tmp_path, ends=31)
    server, _ = await certificate_findings(database)
    assert (server.severity, "ends in 30 days" in server.words) == (CheckLevel.FINE, True)

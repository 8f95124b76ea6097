"""PostgreSQL over TLS: what is wrong with a certificate is told with what mends it, and waited for."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    PoddispatchdError,
)
from poddispatchd.observability.events import Event
from tests.integration.certificates import Authority, refusing
from tests.integration.database.tls_front import TlsFront
from tests.integration.recovery.side import session_at
from tests.plugins.postgres import PodDatabase

_RENEW = "has expired, or that of an authority which signed it: renew it there"


@pytest.fixture
def authority() -> Authority:
    return Authority("the DBA's")


@pytest.fixture
def verified(tmp_path: Path, authority: Authority) -> str:
    """The query of an address by which the certificate is looked at."""
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    return f"sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}"


@asynccontextmanager
async def _front(pod_database: PodDatabase, context: ssl.SSLContext) -> AsyncIterator[TlsFront]:
    async with TlsFront(pod_database.dsn, context) as front:
        yield front


async def _refused(dsn: SecretStr) -> tuple[PoddispatchdError, PoddispatchdError]:
    """How a start is refused at this address, and how a daemon that runs is."""
    database = Database(dsn)
    with pytest.raises(PoddispatchdError) as at_the_start:
        await database.open()
    with pytest.raises(PoddispatchdError) as while_running:
        await database.dedicated_connection()
    said = f"{at_the_start.value}{while_running.value}"
    assert "_ssl.c" not in said
    assert (dsn.get_secret_value().partition("//postgres:")[2].partition("@")[0] or "?") not in said
    return at_the_start.value, while_running.value


async def test_a_server_with_a_certificate_of_its_authority_is_used(
    pod_database: PodDatabase, authority: Authority, verified: str, tmp_path: Path
) -> None:
    between = Authority("between", signed_by=authority)
    for context in (
        authority.server(tmp_path),
        between.server(tmp_path, chain=between.certificate),
    ):
        async with _front(pod_database, context) as front:
            database = Database(front.dsn(verified))
            await database.open()
            assert await database.fetchrow("SELECT 1") is not None
            await database.close()


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"begins": -2, "ends": -1}, _RENEW),
        ({"begins": 1, "ends": 2}, "is not valid yet: the clock of this machine"),
        ({"host": "db.example.org"}, "put a name that it holds into database.dsn"),
    ],
)
async def test_a_certificate_that_is_not_to_be_believed_is_told_and_waited_for(
    pod_database: PodDatabase,
    authority: Authority,
    verified: str,
    certificate: dict[str, object],
    words: str,
) -> None:
    """It was called no PostgreSQL address, and the daemon ended over it for good."""
    folder = Path(verified.rpartition("=")[2]).parent
    context = authority.server(folder, **certificate)  # type: ignore[arg-type]  # passed on
    async with _front(pod_database, context) as front:
        for refused in await _refused(front.dsn(verified)):
            assert type(refused) is DatabaseUnavailableError
            assert "the certificate of its server" in str(refused)
            assert words in str(refused)


async def test_a_certificate_of_somebody_else_or_without_those_between_is_told_with_what_is_to_be_trusted(
    pod_database: PodDatabase, authority: Authority, verified: str, tmp_path: Path
) -> None:
    between = Authority("between", signed_by=authority)
    for context in (Authority("another one").server(tmp_path), between.server(tmp_path)):
        async with _front(pod_database, context) as front:
            for refused in await _refused(front.dsn(verified)):
                assert type(refused) is DatabaseUnavailableError
                assert "set sslrootcert in database.dsn to the certificate of its authority" in str(refused)
                assert "have the server send those between them" in str(refused)


async def test_a_server_without_tls_is_told_as_such(pod_database: PodDatabase, verified: str) -> None:
    dsn = SecretStr(f"{pod_database.dsn.get_secret_value()}?{verified}")
    for refused in await _refused(dsn):
        assert type(refused) is DatabaseUnavailableError
        assert "its server takes no TLS, and sslmode in database.dsn asks for it" in str(refused)


async def test_a_server_with_old_tls_alone_is_told_as_such(
    authority: Authority, verified: str, tmp_path: Path
) -> None:
    context = authority.server(tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with refusing(context, is_postgresql=True) as port:
        dsn = SecretStr(f"postgresql://x@localhost:{port}/x?{verified}&ssl_min_protocol_version=TLSv1.3")
        for refused in await _refused(dsn):
            assert "let it speak TLS 1.2 or later" in str(refused)


async def test_a_server_that_does_not_take_our_certificate_is_told_as_such(
    authority: Authority, verified: str, tmp_path: Path
) -> None:
    """In TLS 1.3 that shows after the handshake: the connection was closed in the middle of operation."""
    Authority("another one").server(tmp_path)
    ours = (tmp_path / "server.pem").rename(tmp_path / "ours.pem")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = authority.server(tmp_path)
        context.maximum_version = version
        context.load_verify_locations(cadata=authority.certificate.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        with refusing(context, is_postgresql=True) as port:
            address = f"postgresql://x@localhost:{port}/x?{verified}&sslcert={ours}&sslkey={ours}"
            for refused in await _refused(SecretStr(address)):
                assert "does not take our certificate (tlsv1 alert unknown ca)" in str(refused)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "sslmode=verify-full&sslrootcert=/no/ca.pem",
            "sslrootcert: /no/ca.pem cannot be read (no such file",
        ),
        ("sslmode=require&sslrootcert=/", "sslrootcert: / is a directory"),
        ("sslmode=verify-full&sslrootcert=system", "name a file"),
        ("sslmode=require&sslcert=/no/client.crt", "sslcert: /no/client.crt cannot be read"),
        ("sslmode=verify-full&sslrootcert=/dev/null", "sslrootcert holds no certificate"),
        ("sslmode=require&sslcert=/dev/zero", "sslcert: /dev/zero cannot be used (it is not a regular file)"),
        ("sslmode=verify-fool", "`sslmode` parameter must be one of"),
        ("target_session_attrs=writable", "target_session_attrs must be any, primary, read-write"),
    ],
)
async def test_what_is_wrong_with_the_address_or_its_files_is_named_and_ends_the_start_alone(
    pod_database: PodDatabase, query: str, words: str
) -> None:
    """'No such file or directory', without its name; and a daemon that ran met a bug each time."""
    dsn = SecretStr(f"{pod_database.dsn.get_secret_value()}?{query}")
    at_the_start, while_running = await _refused(dsn)
    assert (type(at_the_start), type(while_running)) == (ConfigurationError, DatabaseUnavailableError)
    assert words in str(at_the_start)
    assert words in str(while_running)


async def test_parameters_of_libpq_that_the_server_does_not_know_are_to_be_taken_out(
    pod_database: PodDatabase,
) -> None:
    """The daemon waited for the database for ever."""
    dsn = SecretStr(f"{pod_database.dsn.get_secret_value()}?connect_timeout=3")
    with pytest.raises(ConfigurationError, match=r'database\.dsn: .*"connect_timeout".* take it out'):
        await Database(dsn).open()


async def test_a_certificate_that_expires_while_the_daemon_runs_is_waited_for(
    pod_database: PodDatabase, authority: Authority, verified: str, tmp_path: Path
) -> None:
    """Each new try was a bug with a traceback, in words that told nothing."""
    async with (
        _front(pod_database, authority.server(tmp_path)) as front,
        session_at(front.dsn(verified), "one") as session,
    ):
        with capture_logs() as logs:
            front.context = authority.server(tmp_path, begins=-2, ends=-1)
            front.cut()
            await session.until(problem=_RENEW)
            front.context = authority.server(tmp_path)
            await session.until(up=True, leads=True)
    assert Event.SERVICE_CRASHED not in [entry["event"] for entry in logs]
    told = [entry["error"] for entry in logs if entry["event"] == Event.DATABASE_DOWN]
    assert len(told) == len(set(told))

"""Certificates are judged by the authorities that are trusted now, and told with what to do."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Event as Signal

import pytest
from structlog.testing import capture_logs

from poddispatchd.config.model import RunnersSettings
from poddispatchd.errors import AnswerLostError, RunnerManagerMisconfiguredError
from poddispatchd.observability.events import Event
from poddispatchd.runner import authorities
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session
from tests.integration.certificates import Authority, refusing
from tests.integration.runner.raw_server import RawServer
from tests.integration.runner.test_client_on_the_wire import BODY, TAKEN
from tests.unit.runner.managers import manager


def _write(file: Path, certificates: bytes) -> None:
    file.write_bytes(certificates)


@pytest.fixture
def authority() -> Authority:
    return Authority("the one of the start")


@pytest.fixture
def ca_file(tmp_path: Path, authority: Authority) -> Path:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.certificate)
    return file


@pytest.fixture
async def client(ca_file: Path) -> AsyncIterator[RunnerClient]:
    """One that has read the file."""
    async with open_session(RunnersSettings(ca_file=ca_file)) as session:
        yield RunnerClient(session, request_timeout=5.0)


async def test_an_authority_that_was_put_into_the_file_meanwhile_is_trusted(
    client: RunnerClient, ca_file: Path, tmp_path: Path
) -> None:
    """The daemon kept tasks from it until it was started anew, while ``check`` called all well."""
    renewed = Authority("its successor")
    async with RawServer([TAKEN], tls=renewed.server(tmp_path)) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match="is not trusted"):
            await client.execute(manager(server.url), BODY)
        _write(ca_file, renewed.certificate)

        with capture_logs() as logs:
            taken = await client.execute(manager(server.url), BODY)

    assert taken.task_id == "rm1-1"
    assert len(server.requests) == 1
    assert [entry["event"] for entry in logs] == [Event.AUTHORITIES_CHANGED]


async def test_many_that_meet_it_at_once_have_the_file_read_once(
    client: RunnerClient, ca_file: Path, tmp_path: Path
) -> None:
    renewed = Authority("its successor")
    _write(ca_file, renewed.certificate)
    async with RawServer([TAKEN] * 4, tls=renewed.server(tmp_path)) as server:
        with capture_logs() as logs:
            taken = await asyncio.gather(*(client.execute(manager(server.url), BODY) for _ in range(4)))

    assert {answer.task_id for answer in taken} == {"rm1-1"}
    assert [entry["event"] for entry in logs] == [Event.AUTHORITIES_CHANGED]


async def test_a_file_that_is_spoilt_meanwhile_changes_nothing(
    client: RunnerClient, authority: Authority, ca_file: Path, tmp_path: Path
) -> None:
    _write(ca_file, b"-----BEGIN CERTIFICATE-----\nhalf of")
    async with RawServer([TAKEN], tls=Authority("another one").server(tmp_path)) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match=r"set runners\.ca_file"):
            await client.execute(manager(server.url), BODY)
    async with RawServer([TAKEN], tls=authority.server(tmp_path)) as server:
        await client.execute(manager(server.url), BODY)


async def test_a_file_that_cannot_be_read_in_time_keeps_nobody_waiting_for_ever(
    client: RunnerClient, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie on a file system that hangs."""
    hanging = Signal()
    monkeypatch.setattr(authorities, "_READ_WITHIN", 0.01)
    monkeypatch.setattr(authorities, "_mark", lambda _: hanging.wait())
    renewed = Authority("its successor")
    _write(ca_file, renewed.certificate)
    async with RawServer([TAKEN], tls=renewed.server(tmp_path)) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match="is not trusted"):
            await client.execute(manager(server.url), BODY)
    hanging.set()


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"begins": -2, "ends": -1}, "has expired"),
        ({"begins": 1, "ends": 2}, "clock of this machine"),
        ({"host": "other.example.org"}, "a name that it holds into the manager's URL"),
        ({"by_the_rules": False}, "have it made anew"),
    ],
)
async def test_a_certificate_that_its_authority_cannot_help_is_told_with_what_can(
    client: RunnerClient,
    authority: Authority,
    tmp_path: Path,
    certificate: dict[str, object],
    words: str,
) -> None:
    """Whatever was wrong, the words were to set ``runners.ca_file``."""
    connector = client._session.connector
    assert isinstance(connector, authorities.TrustingConnector)
    # As Pythons since 3.13 do by themselves.
    connector._authorities.context.verify_flags |= ssl.VERIFY_X509_STRICT
    tls = authority.server(tmp_path, **certificate)  # type: ignore[arg-type]  # passed on
    async with RawServer([TAKEN], tls=tls) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match=words) as refused:
            await client.execute(manager(server.url), BODY)

    assert "runners.ca_file" not in str(refused.value)


async def test_a_chain_without_what_is_between_is_told_with_what_the_server_lacks(
    client: RunnerClient, authority: Authority, tmp_path: Path
) -> None:
    """Whoever had the authority's certificate in ``runners.ca_file`` was told to put it there."""
    between = Authority("between", signed_by=authority)
    async with RawServer([TAKEN], tls=between.server(tmp_path)) as server:
        with pytest.raises(RunnerManagerMisconfiguredError, match="have the server send those between them"):
            await client.execute(manager(server.url), BODY)
    async with RawServer([TAKEN], tls=between.server(tmp_path, chain=between.certificate)) as server:
        await client.execute(manager(server.url), BODY)


async def test_a_server_with_old_tls_alone_is_told_as_such(
    client: RunnerClient, authority: Authority, tmp_path: Path
) -> None:
    """It was called down: 'TLS failed'."""
    connector = client._session.connector
    assert isinstance(connector, authorities.TrustingConnector)
    connector._authorities.context.minimum_version = ssl.TLSVersion.TLSv1_3
    tls = authority.server(tmp_path)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        refusing(tls) as port,
        pytest.raises(RunnerManagerMisconfiguredError, match="let its web server speak TLS 1"),
    ):
        await client.execute(manager(f"https://localhost:{port}"), BODY)


async def test_a_server_that_answers_http_with_tls_is_told_with_its_right_address(
    client: RunnerClient,
) -> None:
    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(alert, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(AnswerLostError, match="its URL should start with https://"):
            await client.execute(manager(f"http://localhost:{port}"), BODY)

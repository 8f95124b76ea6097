"""Certificates are judged by the authorities that are trusted now, and told with what to do."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Signal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from poddispatchd.config.model import RunnersSettings
from poddispatchd.errors import RunnerManagerMisconfiguredError
from poddispatchd.observability.events import Event
from poddispatchd.runner import authorities
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session
from tests.integration.runner.raw_server import RawServer
from tests.integration.runner.test_client_on_the_wire import BODY, TAKEN
from tests.unit.runner.managers import manager

_DAY = timedelta(days=1)
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
"""What the key of an authority is for."""


class Authority:
    """A private one, with a key of its own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = self._key.public_key()
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        own = self._builder(self._name, public, -1, 1)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        own = own.add_extension(_SIGNS, critical=True).add_extension(self._identifier, critical=False)
        self.certificate = own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: int, ends: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self._name, subject, key, x509.random_serial_number(), now + begins * _DAY, now + ends * _DAY
        )

    def server(
        self,
        tmp_path: Path,
        *,
        host: str = "localhost",
        begins: int = -1,
        ends: int = 1,
        by_the_rules: bool = True,
    ) -> ssl.SSLContext:
        """A server with a certificate of this authority for a host; days from now.

        ``by_the_rules``: with the identifier of its authority's key, as RFC 5280 asks.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a runner manager")])
        made = self._builder(name, key.public_key(), begins, ends)
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        if by_the_rules:
            signed_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
            made = made.add_extension(signed_by, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = tmp_path / "server.pem"
        file.write_bytes(
            private + made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


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

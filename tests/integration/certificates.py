"""Authorities that sign certificates, whatever is wrong with these."""

import socketserver
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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
    """A private one, with a key of its own; its certificate is its own, or signed by another one."""

    def __init__(self, name: str, *, signed_by: "Authority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public, signer = self._key.public_key(), signed_by or self
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        own = signer._builder(self._name, public, -1, 1)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        own = own.add_extension(_SIGNS, critical=True).add_extension(self._identifier, critical=False)
        self.certificate = own.sign(signer._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

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
        chain: bytes = b"",
    ) -> ssl.SSLContext:
        """A server with a certificate of this authority for a host; days from now.

        Args:
            tmp_path: where its file, ``server.pem``, is left.
            host: a name or an address.
            begins: from when on it counts.
            ends: until when.
            by_the_rules: with the identifier of its authority's key, as RFC 5280 asks.
            chain: certificates that the server sends with it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a runner manager")])
        made = self._builder(name, key.public_key(), begins, ends)
        made = made.add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
        if by_the_rules:
            signed_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
            made = made.add_extension(signed_by, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = tmp_path / "server.pem"
        file.write_bytes(
            private + made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + chain
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@contextmanager
def refusing(context: ssl.SSLContext, *, is_postgresql: bool = False) -> Iterator[int]:
    """The port of a server that refuses whoever comes, in the handshake or behind it, and says why.

    In a thread: asyncio's servers abort such a connection before the reason is sent.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if is_postgresql:
                self.request.recv(8)
                self.request.sendall(b"S")
            with self.request.dup() as left:
                with suppress(OSError), context.wrap_socket(self.request, server_side=True) as tls:
                    tls.recv(1)
                # What nobody has read would have the kernel throw the reason away.
                with suppress(OSError):
                    while left.recv(65536):
                        pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()

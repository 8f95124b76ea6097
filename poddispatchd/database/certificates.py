"""When the certificates end by which a connection to PostgreSQL is made."""

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from msgspec import Struct

from poddispatchd.database.connect_errors import files_of
from poddispatchd.domain.certificate_ends import ends_in

_USUAL = Path(".postgresql") / "postgresql.crt"
"""Where libpq, and the driver, look for a certificate that no address names; under the home directory."""

_LARGEST = 1_000_000


class CertificateEnds(Struct, frozen=True):
    """None: there is no such certificate, or it does not count.

    ``server``: of the server, where its address asks that it be verified; ``client``: our own.
    """

    server: datetime | None = None
    client: datetime | None = None


def ends_of(connection: "asyncpg.Connection[asyncpg.Record]", dsn: str) -> CertificateEnds:
    """The ends of the certificates of a connection that has just been made."""
    transport = getattr(connection, "_transport", None)  # asyncpg tells it nowhere else
    secured = None if transport is None else transport.get_extra_info("ssl_object")
    if secured is None:
        return CertificateEnds()
    server = None
    with suppress(KeyError, ValueError, OverflowError):
        # Empty where nobody has verified it: it may end then, and nothing changes.
        server = datetime.fromtimestamp(
            ssl.cert_time_to_seconds((secured.getpeercert() or {})["notAfter"]), UTC
        )
    return CertificateEnds(server, _client_end(files_of(dsn).get("sslcert", "")))


def _client_end(file: str) -> datetime | None:
    """When the certificate in a file ends, or in the one that is looked for without any."""
    try:
        with (Path(file) if file else Path.home() / _USUAL).open(
            encoding="ascii", errors="replace"
        ) as opened:
            # The first one is ours, those behind it are of who signed it.
            return next(iter(ends_in(opened.read(_LARGEST))), None)
    except (OSError, RuntimeError):
        return None

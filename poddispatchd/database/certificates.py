"""When the certificates end by which a connection to PostgreSQL is made."""

import errno
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import asyncpg
from msgspec import Struct

from poddispatchd.config.certificate_files import ends_in_file, require_file
from poddispatchd.database.connect_errors import UnusableFileError, files_of
from poddispatchd.database.services import asked
from poddispatchd.domain.certificate_ends import end_of_peer

_USUAL = {
    "sslrootcert": "root.crt",
    "sslcrl": "root.crl",
    "sslcert": "postgresql.crt",
    "sslkey": "postgresql.key",
}
"""Where libpq, and the driver, look for what no address names; in ``~/.postgresql``."""

_WITHOUT_TLS = "disable"
"""The value of ``sslmode`` with which the driver reads no file; with "allow" it reads ours."""


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
    return CertificateEnds(end_of_peer(secured), _client_end(files_of(dsn).get("sslcert", "")))


def require_files(dsn: str) -> None:
    """See whether the files of an address can be read at once: the driver reads them in the event loop.

    Those that are not there are its business.

    Raises:
        UnusableFileError: one would be waited for, or read, without an end.
    """
    if asked(dsn, "sslmode", "PGSSLMODE") == _WITHOUT_TLS:
        return
    for name, path in {**_usual_files(), **files_of(dsn)}.items():
        try:
            require_file(path)
        except IsADirectoryError:
            continue
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EFBIG):
                raise UnusableFileError(name, path, str(error.strerror)) from None


def _usual_files() -> dict[str, str]:
    with suppress(RuntimeError):  # nobody knows the home directory
        return {name: str(Path.home() / ".postgresql" / file) for name, file in _USUAL.items()}
    return {}


def _client_end(file: str) -> datetime | None:
    """When the certificate in a file ends, or in the one that is looked for without any."""
    try:
        # The first one is ours, those behind it are of who signed it.
        return next(iter(ends_in_file(Path(file or _usual_files()["sslcert"]))), None)
    except (OSError, KeyError):
        return None

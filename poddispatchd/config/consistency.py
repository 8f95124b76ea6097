"""Settings that are right one by one and wrong together, or that name a file which is not there."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from poddispatchd.config.keys import KeyPath
from poddispatchd.config.model import Settings
from poddispatchd.config.units import Address

_EVERYWHERE = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104 -- names the wildcard, binds nothing
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def contradictions(settings: Settings) -> Iterator[tuple[tuple[KeyPath, ...], str]]:
    """Every contradiction as the keys that take part in it and a sentence.

    What lies outside the configuration (the database, the media tree, runner managers) is the business of
    ``poddispatchd check``.
    """
    webhook, ops = settings.webhook.listen, settings.ops.listen
    if _clash(webhook, ops):
        yield (
            (("webhook", "listen"), ("ops", "listen")),
            f"webhook.listen ({webhook}) and ops.listen ({ops}) share a port: "
            "the second is private, give each its own",
        )
    if not settings.database.dsn.get_secret_value().strip().startswith(("postgresql://", "postgres://")):
        yield (
            (("database", "dsn"),),
            "database.dsn: write an address that starts with postgresql://, as postgresql://user@host/database",
        )
    if settings.runners.ca_file is not None:
        words = _unusable(settings.runners.ca_file)
        if words:
            yield (("runners", "ca_file"),), f"runners.ca_file: {settings.runners.ca_file} {words}"


def _clash(one: Address, other: Address) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    hosts = {one.host, other.host}
    return len(hosts) == 1 or bool(hosts & _EVERYWHERE) or hosts <= _HERE


def _unusable(file: Path) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        return "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""

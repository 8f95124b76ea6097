"""When certificates end, and what is said of it before they do."""

import re
import ssl
from binascii import a2b_base64
from contextlib import suppress
from datetime import UTC, datetime, timedelta

_RENEWED_BEFORE = timedelta(days=14)
"""Whatever renews certificates by itself has done it by then."""

_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
"""Tags of DER, the form in which certificates are written."""

_LONG = 0x80

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)


def is_near(end: datetime, now: datetime) -> bool:
    """Whether nobody can be expected to renew it any more without being told."""
    return end - now < _RENEWED_BEFORE


def words_of(end: datetime, now: datetime) -> str:
    """What follows ``its TLS certificate …``, without a full stop."""
    days = (end - now).days
    verb = "ended" if end < now else "ends in a day" if days == 1 else f"ends in {days} days"
    return f"{verb}, at {end:%Y-%m-%d %H:%M} UTC"


def end_of_peer(secured: ssl.SSLObject | None) -> datetime | None:
    """When the certificate of a connection's other side ends; None where nobody has verified it."""
    if secured is None:
        return None
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        # It is empty, or None, then: such a certificate may end, and nothing changes.
        peer = secured.getpeercert() or {}
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(peer["notAfter"])), UTC)
    return None


def ends_in(pem: str) -> list[datetime]:
    """When the certificates in a text end, in their order; without what is none."""
    found = []
    for each in _PEM.finditer(pem):
        try:
            end = end_of(a2b_base64(each[1]))
        except ValueError:
            continue
        if end is not None:
            found.append(end)
    return found


def end_of(der: bytes) -> datetime | None:
    """When a certificate ends; None for what is none.

    Python reads the fields of a certificate of peers that it has verified, and of a file those of authorities
    alone (``SSLContext.get_ca_certs``): neither ours for the database, nor one that is trusted by itself.
    The library cryptography would cost each daemon 8 MiB, of 60, for this one field.

    Args:
        der: the certificate, without the text around it that PEM has.
    """
    try:
        inside = _element(der, 0)[1]
        at = _element(der, inside)[1]
        if _element(der, at)[0] == _VERSION:
            at = _element(der, at)[2]
        for _ in ("serial number", "algorithm", "issuer"):
            at = _element(der, at)[2]
        begins = _element(der, at)[1]
        tag, begin, end = _element(der, _element(der, begins)[2])
        text = der[begin:end].decode("ascii")
        if tag == _UTC_TIME:
            # Two digits of the year: RFC 5280 has them begin with 1950.
            text = f"{'20' if text[:2] < '50' else '19'}{text}"
        elif tag != _GENERALIZED_TIME:
            return None
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return None


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of the element at a place, where its content begins, and where it ends."""
    tag, length, begin = der[at], der[at + 1], at + 2
    if length & _LONG:
        octets = length & ~_LONG
        length, begin = int.from_bytes(der[begin : begin + octets]), begin + octets
    if begin + length > len(der):
        raise ValueError
    return tag, begin, begin + length

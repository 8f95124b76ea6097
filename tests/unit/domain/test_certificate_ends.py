"""When certificates end, read from the certificates themselves."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.domain.certificate_ends import end_of, ends_in, is_near, words_of

_KEY = ec.generate_private_key(ec.SECP256R1())
_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _certificate(end: datetime, name: str = "pod") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        subject, subject, _KEY.public_key(), x509.random_serial_number(), end - timedelta(days=1), end
    )
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("year", [1950, 1999, 2026, 2049, 2050, 9999])
def test_both_forms_of_times_are_read(year: int) -> None:
    """RFC 5280 has four digits of the year from 2050 on."""
    end = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert end_of(_certificate(end, "x" * 60)) == end


@given(st.integers(0, 300))
def test_a_part_of_a_certificate_has_no_end(length: int) -> None:
    der = _certificate(_NOW)
    assert end_of(der[: min(length, len(der) - 1)]) is None


def test_the_ends_of_all_that_are_in_a_text_are_told_in_their_order_without_what_is_none() -> None:
    ends = [_NOW + timedelta(days=days) for days in (3, 1, 2)]
    first, second, third = (ssl.DER_cert_to_PEM_cert(_certificate(end)) for end in ends)
    broken = "-----BEGIN CERTIFICATE-----\nabcde\n-----END CERTIFICATE-----\n"
    empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"

    assert ends_in(f"# of ours\n{first}{broken}{second}{empty}\n# and theirs\n{third}") == ends


@given(st.binary(max_size=200))
def test_what_is_no_certificate_raises_nothing(der: bytes) -> None:
    end_of(der)


@pytest.mark.parametrize(
    ("left", "words", "near"),
    [
        (timedelta(days=30, hours=1), "ends in 30 days, at 2026-03-31 13:00 UTC", False),
        (timedelta(days=14), "ends in 14 days, at 2026-03-15 12:00 UTC", False),
        (timedelta(days=13, hours=23), "ends in 13 days, at 2026-03-15 11:00 UTC", True),
        (timedelta(days=1), "ends in a day, at 2026-03-02 12:00 UTC", True),
        (timedelta(hours=2), "ends in 0 days, at 2026-03-01 14:00 UTC", True),
        (-timedelta(hours=2), "ended, at 2026-03-01 10:00 UTC", True),
    ],
)
def test_the_days_that_are_left_are_said_and_the_last_fourteen_are_few(
    left: timedelta, words: str, *, near: bool
) -> None:
    assert (words_of(_NOW + left, _NOW), is_near(_NOW + left, _NOW)) == (words, near)

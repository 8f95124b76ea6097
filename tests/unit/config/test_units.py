import pytest
from hypothesis import given
from hypothesis import strategies as st

from poddispatchd.config.units import (
    Address,
    FileMode,
    format_duration,
    format_network,
    format_size,
    parse_duration,
    parse_mode,
    parse_network,
    parse_size,
)
from poddispatchd.config.validation import write_value


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_of_whole_seconds_survives_being_written(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=1, max_value=999))
def test_a_duration_of_milliseconds_survives_being_written(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.floats(min_value=0, max_value=10**7, allow_nan=False))
def test_any_duration_that_is_written_can_be_read_again(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5, abs=1e-6)


@given(st.integers(min_value=0, max_value=2**62))
def test_a_size_survives_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=0o777))
def test_a_mode_survives_being_written(mode: int) -> None:
    written = write_value(FileMode, parse_mode(f"{mode:03o}"))

    assert parse_mode(written) == mode


@given(st.sampled_from(["127.0.0.1", "::1", "localhost", "fe80::1%eth0"]), st.integers(0, 65535))
def test_an_address_survives_being_written(host: str, port: int) -> None:
    assert Address.parse(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize("value", [30, 30.5, True, None, "30", "-5s", "s", "5 weeks", "1e3s", [], "5s5m"])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="write a number with a unit"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["36500.1d", "999999d", "99999999999d", "9" * 400 + "s"])
def test_a_duration_with_no_date_at_its_end_is_refused(value: str) -> None:
    """``reconcile.stale_after: 999999d``, to mean never, ended ``check`` with a traceback."""
    assert parse_duration("36500d") == 36500 * 86400
    with pytest.raises(ValueError, match="write 36500d or less"):
        parse_duration(value)


@pytest.mark.parametrize("value", [5, "5", "5MB", "-1B", None, True, "MiB"])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="write a number with a unit"):
        parse_size(value)


@pytest.mark.parametrize("value", [0o644, 644, "64", "0888", "rw-r--r--", True])
def test_what_is_no_mode_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="octal"):
        parse_mode(value)


@pytest.mark.parametrize("value", [8765, "8765", ":8765", "host:", "host:99999", "host:-1", None, "a b:1"])
def test_what_is_no_address_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="write host:port"):
        Address.parse(value)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("192.0.2.0/24", "192.0.2.0/24"),
    ],
)
def test_an_ipv4_network_is_one_however_it_is_written(text: str, network: str) -> None:
    """A web server that was trusted as ``::ffff:10.0.0.1`` was not believed: it calls from 10.0.0.1."""
    assert format_network(parse_network(text)) == network

"""Whose request it is: a web server of ours is believed, and nobody else."""

from ipaddress import ip_network

import pytest

from poddispatchd.web.client_address import client_address, counted_as, is_trusted

_OURS = (ip_network("127.0.0.1"), ip_network("::1"), ip_network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # Who is no proxy of ours cannot say anything about itself.
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        # What ours appended is believed, what stood there before is not.
        ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["1.1.1.1, 127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        ("127.0.0.1", ["8.8.8.8, 203.0.113.9, 10.1.2.3, 10.4.5.6"], "203.0.113.9"),
        # Requests from our own machines.
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["10.1.2.3"], "10.1.2.3"),
        # Forms.
        ("127.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("127.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::1", ["2001:db8::7"], "2001:db8::7"),
        ("::1%lo", ["[2001:db8::7]]"], "2001:db8::7"),
        ("::ffff:127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        # Nonsense ends the search where it stands.
        ("127.0.0.1", ["203.0.113.9, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9, , 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["\xff" * 9000], "127.0.0.1"),
        ("127.0.0.1", [",".join(["10.0.0.1"] * 5000)], "10.0.0.1"),
        ("", ["203.0.113.9"], ""),
    ],
)
def test_the_last_address_that_is_not_ours_is_the_clients(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded, _OURS) == expected


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert client_address("127.0.0.1", ["203.0.113.9"], ()) == "127.0.0.1"
    assert not is_trusted("127.0.0.1", ())


@pytest.mark.parametrize(
    ("peer", "is_ours"), [("10.1.2.3", True), ("::1", True), ("203.0.113.9", False), ("", False)]
)
def test_a_web_server_of_ours_is_known_by_its_address(peer: str, is_ours: bool) -> None:
    assert is_trusted(peer, _OURS) is is_ours


def test_a_customer_with_a_network_of_its_own_counts_as_one() -> None:
    assert counted_as("2001:db8:1:2:3::1") == counted_as("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert counted_as("2001:db8:1:2::1") != counted_as("2001:db8:1:3::1")
    assert counted_as("::ffff:192.0.2.1") == "::ffff:192.0.2.1"
    assert counted_as("192.0.2.1") != counted_as("192.0.2.2")

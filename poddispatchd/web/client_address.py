"""From which address a request comes, behind web servers that pass it on."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Networks: TypeAlias = Collection[IPv4Network | IPv6Network]
_Address: TypeAlias = IPv4Address | IPv6Address

_MOST_HOPS = 16
"""Servers one behind the other; whatever stands further left was written by the client."""

_SUBSCRIBER = 64
"""Bits of an IPv6 address that a provider gives to one customer."""

_REMEMBERED = 4096
"""Addresses of which is known what they are counted under: clients come again and again."""


def client_address(peer: str, forwarded: Iterable[str], trusted: Networks) -> str:
    """The address of whoever made a request.

    Args:
        peer: the other end of the connection.
        forwarded: the values of the ``X-Forwarded-For`` headers, in their order. Each server appends whom it
            was asked by, so the last address that is not one of ours is the client's; what is left of it is
            what the client says about itself.
        trusted: the servers whose word is believed.
    """
    values = tuple(forwarded)
    believed = _parsed(peer) if values else None
    if believed is None:
        return peer
    # From the right, where our own servers have written.
    hops = [hop for value in values for hop in value[-4096:].split(",")][-_MOST_HOPS:]
    while hops and _is_in(believed, trusted):
        hop = _parsed(hops.pop())
        if hop is None:
            break
        believed = hop
    return str(believed)


def is_trusted(peer: str, trusted: Networks) -> bool:
    """Whether the other end of a connection is a web server of ours."""
    address = _parsed(peer)
    return address is not None and _is_in(address, trusted)


@lru_cache(_REMEMBERED)
def counted_as(address: str) -> str:
    """What connections of an address are counted under: of IPv6, everybody has 2**64 addresses."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _SUBSCRIBER), strict=False))
    return address


def _parsed(text: str) -> _Address | None:
    """An address as proxies write it: alone, with a port behind it, or in brackets (IPv6)."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_in(address: _Address, networks: Networks) -> bool:
    return any(address.version == network.version and address in network for network in networks)

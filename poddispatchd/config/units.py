"""Durations, sizes, file modes and addresses as people write them in ``config.yaml``."""

import re
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, NoReturn

from msgspec import Struct

from poddispatchd.config.validation import Written
from poddispatchd.domain.time_windows import Window, format_windows, parse_windows

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

_LONGEST = 36_500 * 86_400
"""Seconds: a moment that is longer ago, or away, is none that Python and PostgreSQL know for certain."""

_MAPPED = 96
"""Bits before an IPv4 address that is written as one of IPv6."""

_LARGEST = 2**62
"""Bytes."""


def parse_duration(value: object) -> float:
    """Seconds from ``30s``, ``5m``, ``2h``, ``60d`` or ``250ms``; a bare 0 needs no unit.

    Raises:
        ValueError: the text is not such a duration, or is one of more than a century.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
        return 0.0
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a number with a unit, as 30s, 5m, 2h or 60d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        raise ValueError(f"write {format_duration(_LONGEST)} or less")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration, as ``90s`` or ``2h``."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    # Never in powers of ten: what is written must be readable again.
    number, unit = (seconds * 1000, "ms") if 0 < seconds < 1 else (seconds, "s")
    return f"{number:.6f}".rstrip("0").rstrip(".") + unit


def parse_size(value: object) -> int:
    """Bytes from ``8MiB``, ``200GiB`` or ``512B``.

    Raises:
        ValueError: the text is not such a size, or larger than any disk.
    """
    match = (
        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)\s*", value)
        if isinstance(value, str)
        else None
    )
    if match is None:
        raise ValueError("write a number with a unit, as 512B, 64KiB, 8MiB or 200GiB")
    # Exactly: a float knows no single bytes from 8 PiB on, and few tenths.
    size = Decimal(match[1]) * _BYTES[match[2]]
    if size > _LARGEST:
        raise ValueError(f"write {format_size(_LARGEST)} or less")
    return int(size)


def format_size(size: int) -> str:
    """The shortest exact way to write a size, as ``8MiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def rounded_size(size: int) -> str:
    """A size for people, rounded down to whole MiB, or GiB from ten of them on."""
    unit = 30 if size >= 10 << 30 else 20
    return format_size(size >> unit << unit)


def parse_mode(value: object) -> int | None:
    """A file mode from ``"0644"`` or ``"0o644"``; ``null`` leaves the mode to the umask.

    Raises:
        ValueError: the text is not an octal file mode.
    """
    if value is None:
        return None
    match = re.fullmatch(r"(?:0o?)?([0-7]{3})", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write an octal file mode in quotes, as "0644"')
    return int(match[1], 8)


class Address(Struct, frozen=True):
    """Where a listener listens. ``port`` 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, value: object) -> "Address":
        """An address from ``127.0.0.1:8765``, ``[::1]:8765`` or ``localhost:8765``.

        Raises:
            ValueError: the text is not such an address.
        """
        if isinstance(value, cls):
            return value
        match = re.fullmatch(r"\[?([^\[\]\s]+?)\]?:(\d{1,5})", value) if isinstance(value, str) else None
        if match is None or int(match[2]) > 65535:
            raise ValueError("write host:port, as 127.0.0.1:8765")
        return cls(match[1], int(match[2]))


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """An address or a network from ``127.0.0.1``, ``10.0.0.0/8`` or ``2001:db8::/32``.

    Raises:
        ValueError: the text is none.
    """
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    try:
        network = ip_network(value) if isinstance(value, str) else _no_network()
    except ValueError:
        return _no_network()
    return _as_it_calls(network)


def _as_it_calls(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """An IPv4 network behind ``::ffff:`` as what it is, which whoever calls from it is taken for, too."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED))
    return network


def _no_network() -> NoReturn:
    raise ValueError("write an address or a network, as 127.0.0.1 or 10.0.0.0/8")


def format_network(network: IPv4Network | IPv6Network) -> str:
    """The shortest way to write a network: one address stands alone."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def read_windows(value: object) -> tuple[Window, ...]:
    """Hours of the week from ``20:00-07:00`` or ``mon-fri 18:00-08:00; sat,sun``.

    Raises:
        ValueError: it is no such text.
    """
    if isinstance(value, tuple) and all(isinstance(window, Window) for window in value):
        return value
    return parse_windows(value if isinstance(value, str) else "")


def _written_mode(mode: int | None) -> str | None:
    return None if mode is None else f"0{mode:03o}"


Network = Annotated[IPv4Network | IPv6Network, Written(parse_network, format_network)]
"""An address, or all of a network."""

Duration = Annotated[float, Written(parse_duration, format_duration)]
"""Seconds, written with a unit."""

Size = Annotated[int, Written(parse_size, format_size)]
"""Bytes, written with a unit."""

FileMode = Annotated[int | None, Written(parse_mode, _written_mode)]
"""Permission bits, written in octal."""

ListenAddress = Annotated[Address, Written(Address.parse, str)]
"""Where a listener listens."""

Windows = Annotated[tuple[Window, ...], Written(read_windows, format_windows)]
"""Hours of the week."""

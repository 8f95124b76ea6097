import socket
from pathlib import Path

import pytest

from poddispatchd.sandbox import ports


def test_free_ports_are_several_and_none_that_an_outgoing_connection_could_take() -> None:
    """A daemon once found the port that it was told taken, by another test's connection."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert max(found) < max(first_ephemeral, 32_768)


def test_a_port_that_somebody_listens_on_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    [taken, free] = ports.free_ports(2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        monkeypatch.setattr(ports, "_RANGE", (taken, free))
        assert ports.free_ports(1) == [free]
        monkeypatch.setattr(ports, "_RANGE", range(taken, taken + 1))
        with pytest.raises(RuntimeError, match="1 free ports cannot be found"):
            ports.free_ports(1)

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from poddispatchd.runtime.systemd import ServiceNotifier, watchdog_interval


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end of a real datagram socket."""
    # The path of a socket is at most 107 bytes, which pytest's own directories may exceed.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("notify")
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        yield listening


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[ServiceNotifier]:
    notifier = ServiceNotifier({}, monotonic_ns=lambda: 12_345_678_999)
    yield notifier
    notifier.close()


def received(manager: socket.socket) -> list[str]:
    datagrams = []
    while True:
        try:
            datagrams.append(manager.recv(65536).decode())
        except BlockingIOError:
            return datagrams


def test_every_notification_arrives_in_a_datagram_of_its_own(
    manager: socket.socket, notifier: ServiceNotifier
) -> None:
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()

    assert received(manager) == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_reloading_carries_the_monotonic_time_in_the_same_datagram(
    manager: socket.socket, notifier: ServiceNotifier
) -> None:
    notifier.reloading()
    notifier.ready()

    assert received(manager) == ["RELOADING=1\nMONOTONIC_USEC=12345678", "READY=1"]


def test_a_status_is_sent_only_when_it_changed(manager: socket.socket, notifier: ServiceNotifier) -> None:
    for text in ("3 running", "3 running", "4 running", "3 running"):
        notifier.status(text)

    assert received(manager) == ["STATUS=3 running", "STATUS=4 running", "STATUS=3 running"]


def test_a_status_cannot_smuggle_in_another_notification(
    manager: socket.socket, notifier: ServiceNotifier
) -> None:
    notifier.status("fine\nSTOPPING=1")

    assert received(manager) == ["STATUS=fine STOPPING=1"]


def test_a_status_is_utf_8_as_systemd_reads_it(manager: socket.socket, notifier: ServiceNotifier) -> None:
    # The library encodes as Latin-1: é came out as a lone byte, and a text with … was dropped in silence.
    notifier.status("base de données… 学")

    assert received(manager) == ["STATUS=base de données… 学"]


def test_a_status_with_half_a_character_is_sent_all_the_same(
    manager: socket.socket, notifier: ServiceNotifier
) -> None:
    notifier.status("bad \udce9")

    assert received(manager) == ["STATUS=bad ?"]


def test_abstract_sockets_work(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"poddispatchd-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notifier = ServiceNotifier({})
        notifier.ready()
        notifier.close()

        assert received(listening) == ["READY=1"]


def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = ServiceNotifier({})

    assert not notifier.ready()
    notifier.status("x")
    notifier.close()


@pytest.mark.parametrize("address", ["/nonexistent/notify", "relative", "/" + "x" * 200, "@", "vsock:2:1"])
def test_an_address_where_nobody_listens_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = ServiceNotifier({})

    assert not notifier.ready()
    notifier.close()


def test_a_service_manager_that_goes_away_is_no_error(
    manager: socket.socket, notifier: ServiceNotifier
) -> None:
    manager.close()

    notifier.ready()
    notifier.status("x")


def test_a_full_queue_holds_the_daemon_up_only_for_a_moment_and_the_status_is_sent_later(
    manager: socket.socket, notifier: ServiceNotifier
) -> None:
    while notifier.watchdog():
        pass
    notifier.status("3 running")
    received(manager)

    notifier.status("3 running")

    assert received(manager) == ["STATUS=3 running"]


def test_after_closing_nothing_is_sent(manager: socket.socket, notifier: ServiceNotifier) -> None:
    notifier.close()
    notifier.ready()
    notifier.close()

    assert received(manager) == []


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_sign_of_life_is_due_twice_in_the_time_that_systemd_allows(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_interval(environ) == seconds
    assert ServiceNotifier(environ).watchdog_interval == seconds

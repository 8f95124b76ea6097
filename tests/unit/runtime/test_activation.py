"""Sockets that systemd hands over: what is of no use is refused in words, all at once, and not kept."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from poddispatchd.errors import ConfigurationError
from poddispatchd.runtime import activation
from poddispatchd.runtime.activation import receive_sockets

_FIRST = 900
"""Instead of 3, where this process has files of its own."""


class _Handed:
    """Descriptors side by side, as a service manager leaves them."""

    def __init__(self) -> None:
        self._next = _FIRST

    def over(self, descriptor: int) -> None:
        os.dup2(descriptor, self._next)
        self._next += 1

    def environ(self, names: str = "", *, pid: int | None = None) -> dict[str, str]:
        return {
            "LISTEN_PID": str(pid or os.getpid()),
            "LISTEN_FDS": str(self._next - _FIRST),
            "LISTEN_FDNAMES": names,
            "HOME": "/",
        }

    def close(self) -> None:
        for number in range(_FIRST, self._next):
            with suppress(OSError):
                os.close(number)


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Handed]:
    monkeypatch.setattr(activation, "_FIRST", _FIRST)
    with closing(_Handed()) as handed:
        yield handed


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_whatever_cannot_be_used_is_told_at_once_and_given_back(handed: _Handed, tmp_path: Path) -> None:
    with ExitStack() as stack:
        good = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        datagrams = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        deaf = stack.enter_context(socket.socket())
        with (tmp_path / "file").open("wb") as file:
            for each in (good, file, unix, datagrams, deaf, good):
                handed.over(each.fileno())
        with pytest.raises(ConfigurationError) as caught:
            receive_sockets(handed.environ("webhook:webhook:webhook:webhook:webhook:other"), {"webhook"})

    no_listener = (
        "The socket that systemd hands over for the listener 'webhook' does not listen for connections: set "
        "ListenStream= and Accept=no in its socket unit."
    )
    assert caught.value.problems == (
        "systemd hands over file descriptor 901, which is no socket.",
        "The socket that systemd hands over for the listener 'webhook' is no TCP socket: set "
        "ListenStream=address:port in its socket unit, as 127.0.0.1:8765.",
        no_listener,
        no_listener,
        "systemd hands over a socket named 'other', which nothing here listens on: set "
        "FileDescriptorName=webhook in its socket unit.",
    )
    assert [number for number in range(_FIRST, _FIRST + 6) if _is_open(number)] == [901]


def test_sockets_are_taken_by_their_name_and_are_not_for_children(handed: _Handed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        handed.over(one.fileno())
        handed.over(two.fileno())
        environ = handed.environ("webhook:webhook")
        received = receive_sockets(environ, {"webhook"})

        taken = received.take("webhook")
        assert [each.getsockname() for each in taken] == [one.getsockname(), two.getsockname()]
        assert not any(each.get_inheritable() for each in taken)
        assert environ == {"HOME": "/"}
        assert received.take("webhook") == []
        for each in taken:
            each.close()


@pytest.mark.parametrize(("key", "value"), [("LISTEN_PID", "1"), ("LISTEN_FDS", "many"), ("LISTEN_PID", "")])
def test_what_is_meant_for_another_process_is_left_alone_and_told_to_no_child(
    handed: _Handed, key: str, value: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        handed.over(one.fileno())
        environ = {**handed.environ("webhook"), key: value}

        assert receive_sockets(environ, {"webhook"}).by_name == {}
        assert environ == {"HOME": "/"}
        assert _is_open(_FIRST)

"""Sockets that systemd hands over (socket activation), as sd_listen_fds_with_names(3) describes it."""

import os
import socket
from collections.abc import Collection, Iterable, MutableMapping

from msgspec import Struct, field

from poddispatchd.errors import ConfigurationError

_FIRST = 3
"""The first file descriptor that is handed over: 0 to 2 are the standard streams."""

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class ReceivedSockets(Struct):
    """Listening sockets by the name of their listener; whoever takes one closes it."""

    by_name: dict[str, list[socket.socket]] = field(default_factory=dict)

    def take(self, name: str) -> list[socket.socket]:
        """The sockets of a listener; empty when none were handed over."""
        return self.by_name.pop(name, [])

    def close(self) -> None:
        """Close what nobody has taken. The sockets themselves stay open in systemd."""
        for name in tuple(self.by_name):
            for each in self.take(name):
                each.close()


def receive_sockets(environ: MutableMapping[str, str], listeners: Collection[str]) -> ReceivedSockets:
    """Take over what systemd hands to this process; its variables are removed, children are not meant.

    Args:
        environ: the environment, for ``$LISTEN_PID``, ``$LISTEN_FDS`` and ``$LISTEN_FDNAMES``.
        listeners: the names that ``FileDescriptorName=`` of a socket unit may have.

    Raises:
        ConfigurationError: a socket cannot be used; nothing is taken over then.
    """
    pid, count, names = (environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return ReceivedSockets()
    numbers = range(_FIRST, _FIRST + int(count))
    named = names.split(":") if names else []
    received = ReceivedSockets()
    problems: list[str] = []
    # All of them, also behind one that is of no use: a person is told everything at once.
    for position, number in enumerate(numbers):
        name = named[position] if position < len(named) else ""
        try:
            os.set_inheritable(number, False)
            given = socket.socket(fileno=number)
        except OSError:
            problems.append(f"systemd hands over file descriptor {number}, which is no socket.")
            continue
        received.by_name.setdefault(name, []).append(given)
        problems.extend(_problems(name, given, listeners))
    if problems:
        received.close()
        raise ConfigurationError(*problems)
    return received


def _problems(name: str, given: socket.socket, listeners: Collection[str]) -> Iterable[str]:
    """What is wrong with a socket, each a sentence that says what to change in the socket unit."""
    if name not in listeners:
        known = " or ".join(sorted(listeners))
        yield f"systemd hands over a socket named {name!r}, which nothing here listens on: " + (
            f"set FileDescriptorName={known} in its socket unit."
            if listeners
            else "stop and disable its socket unit ('systemctl disable --now poddispatchd-webhook.socket'), "
            "a shadow (--dry-run) takes no callbacks."
        )
        return
    if given.family not in (socket.AF_INET, socket.AF_INET6):
        yield (
            f"The socket that systemd hands over for the listener {name!r} is no TCP socket: set "
            "ListenStream=address:port in its socket unit, as 127.0.0.1:8765."
        )
    elif (
        given.type != socket.SOCK_STREAM or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) > 0
    ):
        yield (
            f"The socket that systemd hands over for the listener {name!r} does not listen for connections: "
            "set ListenStream= and Accept=no in its socket unit."
        )

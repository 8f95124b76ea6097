"""Ports for servers that are told theirs beforehand, and start to listen later."""

import socket
from contextlib import ExitStack
from random import SystemRandom

_RANGE = range(20_000, 32_768)
"""Below those that Linux gives to outgoing connections and to servers without a port of their own: one of
these is soon somebody else's where many programs start at once."""

_TRIES = 200


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nobody listens now.

    Raises:
        RuntimeError: so many cannot be found.
    """
    random = SystemRandom()
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(ports) == count:
                return ports
            one = held.enter_context(socket.socket())
            port = random.choice(_RANGE)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    raise RuntimeError(f"{count} free ports cannot be found between {_RANGE.start} and {_RANGE.stop}.")

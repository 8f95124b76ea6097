"""The service manager's end of ``$NOTIFY_SOCKET``."""

import asyncio
import itertools
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.acceptance.process import ANNOUNCED_WITHIN

_numbers = itertools.count()


@dataclass(slots=True)
class Notifications:
    """A datagram socket, and every datagram that arrived at it."""

    socket: socket.socket
    address: str
    received: list[str] = field(default_factory=list)

    @classmethod
    def listen(cls) -> "Notifications":
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.setblocking(False)
        # In the abstract namespace: no path that could be too long.
        name = f"poddispatchd-test-{os.getpid()}-{next(_numbers)}"
        listening.bind(f"\0{name}")
        return cls(listening, f"@{name}")

    async def until(self, wanted: Callable[[str], bool]) -> str:
        """Wait for a datagram, the ones that arrived before included."""
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            for text in self.received:
                if wanted(text):
                    return text
            while True:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                self.received.append(data.decode())
                if wanted(self.received[-1]):
                    return self.received[-1]

    def drain(self) -> None:
        """Take in what is there."""
        while True:
            try:
                self.received.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return

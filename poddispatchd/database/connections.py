"""Single connections to PostgreSQL as we want them: watched by the kernel, and soon ended."""

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

_FAREWELL = 2.0
"""Seconds in which the other side can say that it has heard of the end of a connection."""

_KEEPALIVE = {"TCP_KEEPIDLE": 8, "TCP_KEEPINTVL": 4, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
"""Names of the socket module, which not every system has; asyncpg sets none of them."""


class DatabaseConnection(_Connection):
    """A connection whose end is certain."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's name
        """End it politely, or at once if nobody answers: that is no error, and takes no minute.

        A pool closes connections that it does not trust any more in tasks whose errors nobody would see.
        """
        with suppress(OSError, TimeoutError):
            await super().close(timeout=_FAREWELL if timeout is None else timeout)


def keep_alive(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Have the kernel find out that the server has vanished from the network."""
    transport = getattr(connection, "_transport", None)  # asyncpg tells it nowhere else
    held = None if transport is None else transport.get_extra_info("socket")
    if held is None or held.family not in (socket.AF_INET, socket.AF_INET6):
        return
    held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            held.setsockopt(socket.IPPROTO_TCP, option, value)

"""Listening at an address, which may not be there yet while a machine starts.

A name server answers later, IPv6 addresses are tried for some seconds before they can be used, and one that
goes from machine to machine comes when it is given to this one. Nobody would start the daemon again at night.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

from poddispatchd.config.units import Address
from poddispatchd.errors import ConfigurationError
from poddispatchd.observability.events import Event
from poddispatchd.web import acceptor

log = structlog.get_logger(__name__)

_PATIENCE = 60.0
"""Seconds in which the address may come: less than the unit's ``TimeoutStartSec=``."""

_EVERY = 1.0


async def bound(
    address: Address, key: str, waits: Callable[[str], None] | None = None
) -> list[socket.socket]:
    """Sockets that listen at an address.

    Args:
        address: port 0 lets the kernel choose.
        key: of the setting, for the words.
        waits: is told that the address is not there yet.

    Raises:
        ConfigurationError: it cannot be listened on, or is not there after a minute.
    """
    loop = asyncio.get_running_loop()
    until, is_told = loop.time() + _PATIENCE, False
    while True:
        try:
            return await acceptor.bind(address.host, address.port)
        except (OSError, UnicodeError) as error:
            words = f"cannot listen on {address}: {_words(error)}"
            if not _may_come(error) or loop.time() >= until:
                raise ConfigurationError(f"{key}: {words}.") from error
        if not is_told:
            is_told = True
            log.warning(Event.LISTENER_WAITS, listener=key, reason=words)
            if waits is not None:
                waits(f"Waiting for {key}: {words}.")
        await asyncio.sleep(_EVERY)


def _may_come(error: Exception) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL


def _words(error: Exception) -> str:
    match error:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "the address of this host cannot be looked up now"
        case socket.gaierror():
            return "there is no such host"
        case UnicodeError():
            return "no host can have this name"
        case OSError(errno=errno.EADDRINUSE):
            return "another program listens there (another poddispatchd?)"
        case OSError(errno=errno.EACCES):
            return "ports below 1024 need a privilege; choose a higher one"
        case OSError(errno=errno.EADDRNOTAVAIL):
            return "this machine has no such address"
        case OSError():
            return (error.strerror or str(error)).rstrip(".")
        case _:
            return type(error).__name__

"""Opening a listener, and saying in words why it cannot be opened."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from poddispatchd.config.units import Address
from poddispatchd.errors import ConfigurationError

_SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener that serves; ``address`` is the one in effect."""

    address: Address
    _site: web.TCPSite

    def is_serving(self) -> bool:
        """Whether it still takes connections."""
        server = self._site._server  # noqa: SLF001 - aiohttp tells it nowhere else
        return isinstance(server, asyncio.Server) and server.is_serving()


@asynccontextmanager
async def listening(application: web.Application, address: Address, key: str) -> AsyncIterator[Address]:
    """The same as ``serving``; gives the address in effect."""
    async with serving(application, address, key) as listener:
        yield listener.address


@asynccontextmanager
async def serving(application: web.Application, address: Address, key: str) -> AsyncIterator[Listener]:
    """Serve an application until the end of the block.

    Args:
        application: what is served.
        address: where; port 0 lets the kernel choose.
        key: of the setting, for the error's words.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(f"{key}: cannot listen on {address}: {_words(error)}.") from error
        port = runner.addresses[0][1] if runner.addresses else address.port
        yield Listener(Address(address.host, port), site)
    finally:
        await runner.cleanup()


def _words(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there (another poddispatchd?)"
    if error.errno == errno.EACCES:
        return "ports below 1024 need a privilege; choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return (error.strerror or str(error)).rstrip(".")

"""Whose certificates are trusted: by what the files say when a certificate is not.

A private authority, or the system's, is renewed while the daemon runs: the new certificates are put into the
files, and nobody thinks of a daemon that has read them.
"""

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import TypeAlias
from weakref import WeakSet

import aiohttp
import structlog

from poddispatchd.config.certificate_files import trust
from poddispatchd.domain.certificate_ends import end_of_peer
from poddispatchd.errors import ConfigurationError
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

_READ_WITHIN = 5.0
"""Seconds that reading the files may take: less than a connection may."""

_Marks: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""By which it is seen that files were changed."""


class TrustedAuthorities:
    """The authorities of the system, and those of ``ca_file`` besides.

    Args:
        ca_file: certificates in PEM form; None: those of the system alone.

    Raises:
        ConfigurationError: ``ca_file`` cannot be used.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._marks, self.context = self._read()
        self._reading: Future[tuple[_Marks, ssl.SSLContext] | None] | None = None

    async def read_again(self) -> None:
        """Read the files again if they were changed; what cannot be read, or not in time, changes nothing."""
        # One that hangs is waited for by all who come: each would begin a thread else.
        if self._reading is None or self._reading.done():
            # No pool's thread: the end of the process would wait for one that hangs (I12).
            self._reading = _begun(self._changed)
        with suppress(TimeoutError):
            async with asyncio.timeout(_READ_WITHIN):
                found = await asyncio.shield(asyncio.wrap_future(self._reading))
                if found is not None and found[0] != self._marks:
                    self._marks, self.context = found
                    log.info(Event.AUTHORITIES_CHANGED)

    # --- blocking ----------------------------------------------------------------------------------------

    def _changed(self) -> tuple[_Marks, ssl.SSLContext] | None:
        if self._seen() == self._marks:
            return None
        try:
            return self._read()
        except (ConfigurationError, OSError):
            # It is being written, or somebody has spoilt it: a reload and ``check`` say so.
            return None

    def _read(self) -> tuple[_Marks, ssl.SSLContext]:
        marks = self._seen()  # before they are read: what changes meanwhile is read the next time
        context = ssl.create_default_context()
        if self._ca_file is not None:
            try:
                trust(context, self._ca_file)
            except (OSError, ssl.SSLError) as error:
                reason = getattr(error, "strerror", None) or "it holds no certificate in PEM form"
                raise ConfigurationError(
                    f"runners.ca_file: {self._ca_file} cannot be used: {reason}."
                ) from error
        return marks, context

    def _seen(self) -> _Marks:
        system = ssl.get_default_verify_paths()
        return tuple(_mark(path) for path in (self._ca_file, system.cafile, system.capath))


class TrustingConnector(aiohttp.TCPConnector):
    """Makes connections by what is trusted now.

    Args:
        authorities: whose certificates are.
        limit_per_host: connections to one address.
        keepalive_timeout: seconds for which an idle one is kept.
    """

    def __init__(
        self, authorities: TrustedAuthorities, *, limit_per_host: int, keepalive_timeout: float
    ) -> None:
        super().__init__(
            # Of all managers together: one with many downloads must not keep another one waiting (I12).
            limit=0,
            limit_per_host=limit_per_host,
            keepalive_timeout=keepalive_timeout,
            ssl=authorities.context,
        )
        self._authorities = authorities
        self._ends: dict[tuple[str, int | None], datetime] = {}
        self._looked_at: WeakSet[ssl.SSLObject] = WeakSet()

    def certificate_end(self, host: str, port: int | None) -> datetime | None:
        """When the certificate ends that a server had the last time; None if it has shown none."""
        return self._ends.get((host, port))

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[aiohttp.tracing.Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's name
    ) -> "aiohttp.connector.Connection":
        """As aiohttp; with a certificate that is not trusted once more, if others are trusted by now."""
        tried = self._ssl
        try:
            return self._noted(req, await super().connect(req, traces, timeout))
        except aiohttp.ClientConnectorCertificateError:
            await self._authorities.read_again()
            self._ssl = self._authorities.context
            # Another connection may have read them meanwhile: what counts is whether these were tried.
            if self._ssl is tried:
                raise
        return self._noted(req, await super().connect(req, traces, timeout))

    def _noted(
        self, req: aiohttp.ClientRequest, connection: "aiohttp.connector.Connection"
    ) -> "aiohttp.connector.Connection":
        transport = connection.transport
        secured = None if transport is None else transport.get_extra_info("ssl_object")
        # Once for each connection, not for each request on it.
        if secured is not None and secured not in self._looked_at:
            self._looked_at.add(secured)
            if (end := end_of_peer(secured)) is not None:
                self._ends[req.url.host or "", req.url.port] = end
        return connection


def _mark(path: Path | str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _begun(
    work: Callable[[], tuple[_Marks, ssl.SSLContext] | None],
) -> "Future[tuple[_Marks, ssl.SSLContext] | None]":
    """Begin it in a thread of its own."""
    done: Future[tuple[_Marks, ssl.SSLContext] | None] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            done.set_exception(error)

    try:
        Thread(target=run, name="trusted authorities", daemon=True).start()
    except RuntimeError:  # the system gives no thread
        done.set_result(None)
    return done

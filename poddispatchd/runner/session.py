"""The HTTP session for all runner managers: connections, TLS, headers."""

import ssl

import aiohttp
from aiohttp import client_reqrep
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from poddispatchd import __version__
from poddispatchd.config.model import RunnersSettings
from poddispatchd.errors import (
    ConfigurationError,
)
from poddispatchd.runner.protocol import bound

_KEEP_ALIVE = 1.5
"""Seconds. A manager closes idle connections after 2.0 s: one must never be taken up again near that moment,
because a POST that meets it leaves open whether it was carried out."""


_CONNECTIONS_PER_HOST = 96
"""More than the downloads of 32 imports together, so that they never keep a submission waiting."""


class _HeaderWriter(StreamWriter):
    """Writes an ``Authorization`` header in latin-1, as every other client does; aiohttp knows UTF-8 only."""

    async def write_headers(self, status_line: str, headers: "CIMultiDict[str]") -> None:
        """Write the head of a request."""
        await super().write_headers(status_line, headers)
        token = headers.get("Authorization", "")
        if not token.isascii() and self._headers_buf is not None:
            self._headers_buf = self._headers_buf.replace(token.encode(), token.encode("latin-1"), 1)


# aiohttp takes no other writer: requests without such a header are written as before.
client_reqrep.StreamWriter = _HeaderWriter  # type: ignore[attr-defined]


def open_session(settings: RunnersSettings) -> aiohttp.ClientSession:
    """The HTTP session for all runner managers; the caller closes it. Called once, in the running loop.

    Environment variables (proxies, netrc) are ignored: a netrc entry would replace the token.

    Raises:
        ConfigurationError: runners.ca_file cannot be read.
    """
    connector = bound(
        aiohttp.TCPConnector(
            limit=0,
            limit_per_host=_CONNECTIONS_PER_HOST,
            keepalive_timeout=_KEEP_ALIVE,
            ssl=_tls_context(settings),
        )
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        # A compressed answer could be small on the wire and endless in memory; managers never compress.
        headers={"User-Agent": f"poddispatchd/{__version__}", "Accept-Encoding": "identity"},
    )


def _tls_context(settings: RunnersSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or "it holds no certificate in PEM form"
            raise ConfigurationError(
                f"runners.ca_file: {settings.ca_file} cannot be used: {reason}."
            ) from error
    return context

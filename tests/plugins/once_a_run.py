"""What every daemon learns at its start, and is the same for all of a run: only the first one asks.

Processes that tests start learn it all by themselves.
"""

import ssl
from collections.abc import Iterable

import asyncpg

_introspected = asyncpg.Connection._introspect_types  # type: ignore[attr-defined]  # it has no public name
_known_types: dict[tuple[int, ...], object] = {}

_FIRST_OWN_TYPE = 16384
"""Types below it are PostgreSQL's, and the same in every database."""


async def _introspect_once(
    connection: "asyncpg.Connection[asyncpg.Record]", oids: Iterable[int], seconds: float
) -> object:
    """What PostgreSQL's types of arrays consist of."""
    key = tuple(sorted(oids))
    if key[-1] >= _FIRST_OWN_TYPE:
        return await _introspected(connection, oids, seconds)
    if key not in _known_types:
        _known_types[key] = await _introspected(connection, oids, seconds)
    return _known_types[key]


def _trust_nobody(_context: ssl.SSLContext, _purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
    """Which authorities the system trusts: hundreds of certificates, and no test meets any of them."""


asyncpg.Connection._introspect_types = _introspect_once  # type: ignore[attr-defined]  # as above
ssl.SSLContext.load_default_certs = _trust_nobody  # type: ignore[assignment]  # for the whole run

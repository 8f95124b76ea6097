"""Sessions of the tests' PostgreSQL that outlive the connections of this process which used them.

To begin a session, to learn the catalog and to plan every statement anew costs the server more than most
tests ask of it. Here a connection that is closed leaves its session, emptied as ``DISCARD ALL`` does but for
prepared statements, to the next connection with the same parameters. Who needs the session of a closed
connection to end asks for it (``end_sessions``). Processes that tests start have sessions of their own, and
so has whatever connects through something between it and the server.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import asyncpg
from asyncpg import connect_utils

_EMPTY = (
    "CLOSE ALL; UNLISTEN *; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DISCARD TEMP; DISCARD SEQUENCES;"
    " SELECT pg_advisory_unlock_all(), pg_stat_force_next_flush();"
    " SET application_name = 'kept for the next test'"
)
_RESUME = "RESET application_name"

_PATIENCE = 2.0
"""Seconds for a session to be emptied; one that does not answer is ended."""

_MOST_ALIKE = 4
"""Sessions with the same parameters that are kept."""

_USER = "postgres"
"""Other roles come and go with tests."""

_Key: TypeAlias = tuple[Any, ...]
"""Address, database, password, settings, class of records."""

_connect = connect_utils._connect_addr  # type: ignore[attr-defined]  # it has no public name
_close = asyncpg.Connection.close


@dataclass(frozen=True, slots=True)
class _Session:
    """What was below a connection that is closed."""

    protocol: Any
    transport: asyncio.Transport
    statements: "dict[Any, Any]"

    def end(self) -> None:
        self.transport.abort()


_homes: dict[int, asyncio.AbstractEventLoop] = {}
"""Ports of servers whose sessions are kept, and the loop in which they are: any other ends with a test."""

_kept: dict[_Key, list[_Session]] = defaultdict(list)
_keys: "WeakKeyDictionary[object, _Key]" = WeakKeyDictionary()
"""Of the connections whose sessions can be kept: what the next one must have in common with it."""


def keep_sessions(port: int, loop: asyncio.AbstractEventLoop) -> None:
    """Keep the sessions of a loop with this server from now on."""
    _homes[port] = loop


@contextmanager
def none_kept() -> Iterator[None]:
    """What is connected to in a block begins a session, and ends it."""
    homes = dict(_homes)
    _homes.clear()
    try:
        yield
    finally:
        _homes.update(homes)


def end_sessions(database: str | None = None) -> None:
    """End what is kept of a database, or of all: nobody is connected but who holds a connection."""
    for key in [key for key in _kept if database in (None, key[1])]:
        for session in _kept.pop(key):
            session.end()


async def _connect_or_resume(**wanted: Any) -> Any:  # noqa: ANN401 - as asyncpg has it
    loop = wanted["loop"]
    key = _key(wanted["addr"], wanted["params"], wanted["record_class"], loop)
    while key is not None and _kept[key]:
        session = _kept[key].pop()
        if not await _resumes(session):
            session.end()
            continue
        connection = wanted["connection_class"](
            session.protocol, session.transport, loop, wanted["addr"], wanted["config"], wanted["params"]
        )
        session.protocol.set_connection(connection)
        for query, statement in session.statements.items():
            connection._stmt_cache.put(query, statement)
        _keys[connection] = key
        return connection
    connection = await _connect(**wanted)
    if key is not None:
        _keys[connection] = key
    return connection


def _key(address: object, parameters: Any, record_class: object, loop: object) -> _Key | None:  # noqa: ANN401 - asyncpg's
    if not isinstance(address, tuple) or _homes.get(address[1]) is not loop or parameters.ssl:
        return None
    if parameters.user != _USER or not isinstance(parameters.password, str):
        return None
    settings = tuple(sorted((parameters.server_settings or {}).items()))
    return address, parameters.database, parameters.password, settings, record_class


async def _resumes(session: _Session) -> bool:
    if not session.protocol.is_connected():
        return False
    try:
        await session.protocol.query(_RESUME, _PATIENCE)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    except BaseException:
        session.end()
        raise
    return True


async def _close_or_keep(self: Any, *, timeout: float | None = None) -> None:  # noqa: ANN401, ASYNC109 - asyncpg's
    key = _keys.pop(self, None)
    if key is None or len(_kept[key]) >= _MOST_ALIKE or not _is_idle(self):
        await _close(self, timeout=timeout)
        return
    try:
        await self._protocol.query(_EMPTY, _PATIENCE)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await _close(self, timeout=timeout)
        return
    except BaseException:
        self.terminate()
        raise
    cache = self._stmt_cache
    statements = {}
    for query, entry in cache._entries.items():
        cache._clear_entry_callback(entry)
        statements[query] = entry._statement
    cache._entries.clear()
    self._aborted = True
    _kept[key].append(_Session(self._protocol, self._transport, statements))
    self._cleanup()


def _is_idle(connection: Any) -> bool:  # noqa: ANN401 - asyncpg's
    return not (
        connection.is_closed()
        or connection._top_xact is not None
        or connection._cancellations
        or connection.is_in_transaction()
    )


connect_utils._connect_addr = _connect_or_resume  # type: ignore[attr-defined]  # as above
asyncpg.Connection.close = _close_or_keep  # type: ignore[method-assign]  # as above

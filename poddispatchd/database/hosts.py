"""Several servers in one address: which one is taken, and how long a silent one is waited for.

The driver tries them one after the other within one time limit, so that a first one that is switched off
leaves none for the second. And whoever writes wants the one that can be written to, also where the address
does not say so: after a switch-over the old primary is back as a standby server, and often stands first.
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg
from msgspec import Struct

from poddispatchd.database.services import asked

_Raw: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connect: TypeAlias = Callable[..., Awaitable[_Raw]]
"""``asyncpg.connect`` with all but the server and the time for it."""

_LEAST = 2.0
"""Seconds that a server has to let us in, however many there are."""

_ANSWERS_WITHIN = 5.0
"""Seconds in which a server that has let us in says what it is."""

# One message without arguments, of which nothing is prepared: behind a pooler that would stay there.
_IS_STANDBY = "SELECT WHERE pg_catalog.pg_is_in_recovery()"
_IS_READ_ONLY = f"{_IS_STANDBY} OR pg_catalog.current_setting('default_transaction_read_only')::boolean"

_ASKED_BY = {"read-write": _IS_READ_ONLY, "primary": _IS_STANDBY}
"""``target_session_attrs`` to the question whose answer must be no; the driver sees to the others."""


class NotWritableError(OSError):
    """A server that cannot be written to."""


class NoHostError(OSError):
    """None of several servers can be had; ``met`` has each one with what it was refused with."""

    def __init__(self, met: list[tuple[str, Exception]]) -> None:
        super().__init__("None of the servers can be had.")
        self.met = tuple(met)


class Host(Struct, frozen=True):
    """A server of an address, as the driver takes it; ``port`` None: that of the environment."""

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


class Hosts:
    """The servers of an address; the first one is that which could be used last."""

    def __init__(self, dsn: str) -> None:
        wanted = asked(dsn, "target_session_attrs", "PGTARGETSESSIONATTRS") or "any"
        self._question = _ASKED_BY.get(wanted)
        # What is to be read only is left to the driver, and so is one server.
        self._hosts = several_hosts(dsn) if self._question or wanted == "any" else ()
        self._has_had_the_right_one = False

    async def connect(self, connect: Connect, *, within: float) -> _Raw:
        """A connection to the server that was used last, or else to the next one that will do.

        Where the address does not say what it is to be, one that can only be read is taken as long as there
        has been no other one: whoever uses it tells why that is not enough. Afterwards it is not: it may lag
        behind the one that others still write to.

        Args:
            connect: see ``Connect``.
            within: seconds for all of them together.

        Raises:
            NoHostError: none of several can be had.
            NotWritableError: the only one is not what the address asks for.
        Beyond that, what the driver raises for the only one, or for what is wrong with all.
        """
        if not self._hosts:
            return await self._only(connect, within)
        each = max(_LEAST, within / len(self._hosts))
        met: list[tuple[str, Exception]] = []
        second_best: list[tuple[Host, _Raw]] = []
        try:
            for host in self._hosts:
                try:
                    found = await connect(
                        host=host.host, port=host.port, timeout=each, target_session_attrs="any"
                    )
                    is_refused = await _says_yes(found, self._question or _IS_READ_ONLY)
                except Exception as error:
                    if not _leaves_others(error, host):
                        raise
                    met.append((str(host), error))
                    continue
                if not is_refused:
                    self._has_had_the_right_one = True
                    return self._chosen(host, found)
                met.append((str(host), NotWritableError()))
                second_best.append((host, found))
            if second_best and self._question is None and not self._has_had_the_right_one:
                return self._chosen(*second_best.pop(0))
        finally:
            for _, unwanted in second_best:
                unwanted.terminate()
        # The one that was used last says whether the server is full.
        raise NoHostError(met) from met[0][1]

    async def _only(self, connect: Connect, within: float) -> _Raw:
        if self._question is None:
            return await connect(timeout=within)
        found = await connect(timeout=within, target_session_attrs="any")
        if await _says_yes(found, self._question):
            found.terminate()
            raise NotWritableError
        return found

    def _chosen(self, host: Host, connection: _Raw) -> _Raw:
        """All connections lead to one server, for as long as it will do."""
        first = self._hosts.index(host)
        self._hosts = self._hosts[first:] + self._hosts[:first]
        return connection


async def _says_yes(connection: _Raw, question: str) -> bool:
    try:
        return await connection.execute(question, timeout=_ANSWERS_WITHIN) == "SELECT 1"
    except BaseException:
        connection.terminate()
        raise


def _leaves_others(error: Exception, host: Host) -> bool:
    """Whether what one server was refused with need not be so with another one."""
    if isinstance(error, ssl.SSLError):
        return error.library == "SSL"
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return host.host.startswith("/")  # a socket; else a certificate of ours
    return isinstance(error, (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError))


def several_hosts(dsn: str) -> tuple[Host, ...]:
    """The servers of an address that names several; none where it names one, or is no such address."""
    hosts = hosts_of(dsn)
    return hosts if len(hosts) > 1 else ()


def hosts_of(dsn: str) -> tuple[Host, ...]:
    """The servers that an address names, or its service, or else the environment.

    One port counts for all of them, as in libpq.
    """
    try:
        place = urlsplit(dsn).netloc.rpartition("@")[2]
    except ValueError:
        return ()
    names = [unquote(name) for name in place.split(",")] if place else asked(dsn, "host", "PGHOST").split(",")
    ports = [] if place else asked(dsn, "port", "PGPORT").split(",")
    if not all(names):
        return ()
    ports = ports * len(names) if len(ports) == 1 else ports
    try:
        return tuple(
            _host(name, ports[index] if index < len(ports) else "") for index, name in enumerate(names)
        )
    except ValueError:
        return ()


def _host(name: str, port: str) -> Host:
    if name.startswith("/"):
        return Host(name, int(port) if port else None)
    if name.startswith("["):
        host, _, rest = name[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif name.count(":") == 1:
        host, _, own = name.partition(":")
        port = own or port
    else:
        host = name
    return Host(host, int(port) if port else None)

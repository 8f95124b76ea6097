"""Several servers in one address: which one is taken, and how long a silent one is waited for.

The driver tries them one after the other within one time limit, so that a first one that is switched off
leaves none for the second. And whoever writes wants the one that can be written to, also where the address
does not say so: after a switch-over the old primary is back as a standby server, and often stands first.
Where nobody has made it one it takes writes, and lacks all that was done since: each promotion begins a
timeline, and whoever has an older one than its fellow is not used.
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

import asyncpg
from msgspec import Struct

from poddispatchd.database.services import asked

_Raw: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Connect: TypeAlias = Callable[..., Awaitable[_Raw]]
"""``asyncpg.connect`` with all but the server and the time for it."""

_LEAST = 2.0
"""Seconds that a server has to let us in, however many there are."""

_ANSWERS_WITHIN = 5.0
"""Seconds in which a server that has let us in says what it is, where there is so much time for it."""

# One message without arguments, of which nothing is prepared: behind a pooler that would stay there.
_IS_STANDBY = "SELECT WHERE pg_catalog.pg_is_in_recovery()"
_IS_READ_ONLY = f"{_IS_STANDBY} OR pg_catalog.current_setting('default_transaction_read_only')::boolean"

# COPY is one message, too, and gives values. PostgreSQL has the timeline in the name of its current WAL file.
_HISTORY = """
    SELECT system_identifier,
        ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::bigint
    FROM pg_catalog.pg_control_system() WHERE NOT pg_catalog.pg_is_in_recovery()
"""

_GLANCE = 1.0
"""Seconds for a look at each of the others when there is one that could be used."""

_ASKED_BY = {"read-write": _IS_READ_ONLY, "primary": _IS_STANDBY}
"""``target_session_attrs`` to the question whose answer must be no; the driver sees to the others."""


class NotWritableError(OSError):
    """A server that cannot be written to."""


OVERTAKEN = (
    "is a former primary, which lacks what was done since another server took its place: make it a standby "
    "of that one (pg_rewind), or restart poddispatchd if it is to be the primary again"
)
"""What is said of such a server."""


class OvertakenError(OSError):
    """A server that takes writes, though another one has taken its place."""


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
        self._has_looked_at_all = False
        self._timelines: dict[str, int] = {}
        """The latest of each database system."""
        self.overtaken: tuple[str, ...] = ()
        """The servers that take writes, though another one has taken their place: of the last look at all."""
        self._given = WeakSet[_Raw]()

    def look_anew(self) -> None:
        """The server is lost: the next connection is made after a look at all of them."""
        self._has_looked_at_all = False

    async def connect(self, connect: Connect, *, within: float) -> _Raw:
        """A connection to the server that was used last, or else to the next one that will do.

        At the start, and when it was lost, all are looked at: it may have come up again as it was, though
        another one has taken its place meanwhile.

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
        readable: list[_Found] = []
        writable: list[_Found] = []
        try:
            for host in self._hosts:
                try:
                    found = await self._look(connect, host, each if not writable else _GLANCE)
                except Exception as error:
                    if not writable and not _leaves_others(error, host):
                        raise
                    met.append((str(host), error))
                    continue
                if found.is_refused:
                    met.append((str(host), NotWritableError()))
                    readable.append(found)
                    continue
                writable.append(found)
                if self._has_looked_at_all and not self._is_overtaken(found):
                    break
            if not self._has_looked_at_all:
                self.overtaken = tuple(str(found.host) for found in writable if self._is_overtaken(found))
            for found in writable:
                if not self._is_overtaken(found):
                    self._has_had_the_right_one = self._has_looked_at_all = True
                    return self._chosen(writable.pop(writable.index(found)))
                met.append((str(found.host), OvertakenError()))
            if readable and self._question is None and not self._has_had_the_right_one:
                return self._chosen(readable.pop(0))
        finally:
            for unwanted in (*readable, *writable):
                unwanted.connection.terminate()
        # The one that was used last says whether the server is full.
        raise NoHostError(met) from met[0][1]

    async def _look(self, connect: Connect, host: Host, within: float) -> "_Found":
        """A connection to a server of several, and what that is."""
        connection = await connect(host=host.host, port=host.port, timeout=within, target_session_attrs="any")
        # A pooler lets in, and answers nothing where its server is away.
        within = min(within, _ANSWERS_WITHIN)
        is_refused = await _says_yes(connection, self._question or _IS_READ_ONLY, within)
        system, timeline = ("", 0) if is_refused else await _history(connection, within)
        self._timelines[system] = max(timeline, self._timelines.get(system, 0))
        return _Found(host, connection, is_refused, system, timeline)

    def _is_overtaken(self, found: "_Found") -> bool:
        return found.timeline < self._timelines[found.system]

    async def _only(self, connect: Connect, within: float) -> _Raw:
        if self._question is None:
            return await connect(timeout=within)
        found = await connect(timeout=within, target_session_attrs="any")
        if await _says_yes(found, self._question, _ANSWERS_WITHIN):
            found.terminate()
            raise NotWritableError
        return found

    def _chosen(self, found: "_Found") -> _Raw:
        """All connections lead to one server, for as long as it will do; those to another one end."""
        if first := self._hosts.index(found.host):
            self._hosts = self._hosts[first:] + self._hosts[:first]
            for other in tuple(self._given):
                other.terminate()
        self._given.add(found.connection)
        return found.connection


class _Found(Struct, frozen=True):
    """A connection to a server of several.

    Attributes:
        host: the server.
        connection: to it.
        is_refused: whether it is not what the address asks for.
        system: the database system that it is, as all its copies are; empty where it does not say.
        timeline: of that, how many times one of them was promoted.
    """

    host: Host
    connection: _Raw
    is_refused: bool
    system: str
    timeline: int


async def _says_yes(connection: _Raw, question: str, within: float) -> bool:
    try:
        return await connection.execute(question, timeout=within) == "SELECT 1"
    except BaseException:
        connection.terminate()
        raise


async def _history(connection: _Raw, within: float) -> tuple[str, int]:
    """Which database system a primary is, and its timeline; nothing where it does not say."""
    told = bytearray()

    async def hear(data: bytes) -> None:
        told.extend(data)

    try:
        await connection.copy_from_query(_HISTORY, output=hear, timeout=within)
    except asyncpg.PostgresError:  # a right was taken away, or a relative of PostgreSQL does not know this
        return "", 0
    except BaseException:
        connection.terminate()
        raise
    system, _, timeline = told.decode().strip().partition("\t")
    return (system, int(timeline)) if timeline else ("", 0)


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

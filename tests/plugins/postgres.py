"""A PostgreSQL server for the whole run, and a fresh Pod database for each test that asks for one."""

import asyncio
import itertools
import os
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.database import migration, session_parameters
from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.plugins import kept_sessions
from tests.plugins.kept_sessions import end_sessions, keep_sessions
from tests.plugins.rewinding import Beginning, Rewound, keep, kept, rewind

SERVER = pytest.StashKey[PostgresServer]()

_numbers = itertools.count()

_templates: set[str] = set()
"""Those of this run that are known to be complete."""


@dataclass(slots=True)
class Copy:
    """A database that is copied from a template when somebody first wants to connect to it.

    One that an earlier test has left as its template is will do.
    """

    server: PostgresServer
    template: str
    database: Rewound | None = None

    @property
    def is_made(self) -> bool:
        """Whether it is there."""
        return self.database is not None

    def make(self) -> str:
        """Make it, unless that was done; its name."""
        if self.database is None:
            rested = _rested[self.server.directory, self.template]
            self.database = rested.pop() if rested else self._copied()
        return self.database.name

    def _copied(self) -> Rewound:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        # Without fsync, copying files is quicker than logging every block.
        _administrator(self.server).execute(
            f'CREATE DATABASE "{name}" TEMPLATE "{self.template}" STRATEGY file_copy'
        )
        return Rewound(name, _beginning(self.server.directory, self.template))

    async def give_back(self) -> None:
        """Leave it for another test as its template is, or drop it; whoever is still connected is cut off."""
        database, self.database = self.database, None
        if database is None:
            return
        if database.beginning is not None:
            connection = await asyncpg.connect(
                self.server.dsn(database.name).get_secret_value(), max_cacheable_statement_size=0
            )
            try:
                is_rewound = await rewind(connection, database)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                is_rewound = False
            finally:
                await connection.close()
            if is_rewound:
                _rested[self.server.directory, self.template].append(database)
                return
        end_sessions(database.name)
        _administrator(self.server).execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')


_rested: dict[tuple[Path, str], list[Rewound]] = defaultdict(list)
"""Databases of this process that are as their templates."""


@cache
def _beginning(server_directory: Path, template: str) -> Beginning | None:
    return kept(server_directory / f"{template}.beginning")


@dataclass(frozen=True, slots=True)
class PodDatabase:
    """A database of its own, with Pod's tables, gone after the test."""

    given_name: str
    address: SecretStr
    variant: SchemaVariant
    copy: Copy | None = field(default=None, compare=False, repr=False)
    """How it comes into being; None for one that is there."""

    @property
    def name(self) -> str:
        """Its name; from now on it is there."""
        return self.given_name if self.copy is None else self.copy.make()

    @property
    def dsn(self) -> SecretStr:
        """Where it is; from now on it is there."""
        return self.address if self.copy is None else self.copy.server.dsn(self.name)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A new connection; the caller closes it (or the drop does)."""
        return await asyncpg.connect(self.dsn.get_secret_value())

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection for the length of a block, with nothing left in it of an earlier block."""
        connection = await self.connect()
        try:
            yield connection
        finally:
            await connection.close()

    async def let_go(self) -> None:
        """End the sessions that are kept: nobody is connected any more."""
        end_sessions(self.name)
        await asyncio.sleep(0)  # sockets are closed by the loop


class Administrator:
    """A connection that makes and drops the databases of all tests of a process.

    Each test has an event loop of its own; the connection has one, too, in a thread.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def execute(self, statement: str) -> None:
        """Carry out a statement that is a transaction of its own."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._execute(statement), self._loop).result()

    async def _execute(self, statement: str) -> None:
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._server.dsn().get_secret_value())
            await self._connection.execute(statement)

    def close(self) -> None:
        """Let go of the connection."""
        if self._loop is None:
            return
        if self._connection is not None:
            asyncio.run_coroutine_threadsafe(self._connection.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


_administrators: dict[Path, Administrator] = {}
"""Those of this process, by the directories of their servers."""


def _administrator(server: PostgresServer) -> Administrator:
    return _administrators.setdefault(server.directory, Administrator(server))


def pytest_configure(config: pytest.Config) -> None:
    """Reserve the server's directory for the run; xdist's workers share the one of their controller.

    Nothing is started here. A run that dies, by whatever signal, lets go of the directory's lock, and the
    server's keeper then removes both.
    """
    workerinput: dict[str, str] | None = getattr(config, "workerinput", None)
    directory = None if workerinput is None else Path(workerinput["postgres_directory"])
    config.stash[SERVER] = PostgresServer(directory)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a new xdist worker where the server is."""
    node.workerinput["postgres_directory"] = str(node.config.stash[SERVER].directory)  # type: ignore[attr-defined]  # xdist has no types


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the server."""
    if (server := config.stash.get(SERVER, None)) is not None:
        server.stop()


@pytest.fixture(scope="session")
def postgres(
    pytestconfig: pytest.Config, event_loop_of_the_run: asyncio.AbstractEventLoop
) -> Iterator[PostgresServer]:
    """The running server, one for all workers; PostgreSQL's superuser logs in."""
    server = pytestconfig.stash[SERVER]
    keep_sessions(server.start().port, event_loop_of_the_run)
    yield server
    end_sessions()
    while _administrators:
        _administrators.popitem()[1].close()


@pytest.fixture
def fresh_sessions() -> Iterator[None]:
    """Every connection of a test begins a session, and ends it: for tests about sessions."""
    with kept_sessions.none_kept():
        yield


@pytest.fixture
def variant() -> SchemaVariant:
    """Pod's variant; ``@pytest.mark.parametrize("variant", list(Variant))`` runs a test in both."""
    return SchemaVariant.PODFILE


@pytest.fixture
def short_lock_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements wait for a row of somebody else's for a quarter of a second, not for a whole one."""
    monkeypatch.setitem(session_parameters.OWN_SESSION, "lock_timeout", "250")


@pytest.fixture
async def pod_database(postgres: PostgresServer, variant: SchemaVariant) -> AsyncIterator[PodDatabase]:
    """A fresh database with Pod's tables and no rows."""

    async def fill(connection: "asyncpg.Connection[asyncpg.Record]", _dsn: SecretStr) -> None:
        await create_schema(connection, variant)

    template = await ensure_template(postgres, f"template_{variant}", fill)
    async with cloned_database(postgres, template, variant, when_wanted=True) as database:
        yield database


@pytest.fixture
async def database_with_journal(
    postgres: PostgresServer, variant: SchemaVariant
) -> AsyncIterator[PodDatabase]:
    """The same with our own schema, as an earlier start of a daemon has left it.

    To make it takes longer than many a test: the directories of tests about what daemons do have this one as
    their ``pod_database``.
    """

    async def fill(connection: "asyncpg.Connection[asyncpg.Record]", dsn: SecretStr) -> None:
        await create_schema(connection, variant)
        await make_journal(dsn)

    template = await ensure_template(postgres, f"template_{variant}_with_journal", fill)
    async with cloned_database(postgres, template, variant, when_wanted=True) as database:
        yield database


async def make_journal(dsn: SecretStr) -> None:
    """Make our own schema in a database, as the first start of a daemon does."""
    database = Database(dsn, pool_size=2)
    await database.open()
    await migration.upgrade(database)
    await database.close()


@asynccontextmanager
async def cloned_database(
    server: PostgresServer, template: str, variant: SchemaVariant, *, when_wanted: bool = False
) -> AsyncIterator[PodDatabase]:
    """A copy of a template for the length of a block, made now or only when somebody connects to it."""
    copy = Copy(server, template)
    database = PodDatabase("", server.dsn(""), variant, copy)
    if not when_wanted:
        copy.make()
    try:
        yield database
    finally:
        await copy.give_back()


async def ensure_template(
    server: PostgresServer,
    name: str,
    fill: Callable[["asyncpg.Connection[asyncpg.Record]", SecretStr], Awaitable[None]],
    *,
    of: str = "template1",
) -> str:
    """Make a template database unless a worker already did; ``fill`` gets a connection to it and its DSN.

    It is made of another one, and takes its final name only when it is complete.
    """
    if name in _templates:
        return name
    async with _administration(server) as administration:
        known = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
        if await administration.fetchval(known, name):
            _templates.add(name)
            return name
        await administration.execute("SELECT pg_advisory_lock(hashtext($1))", name)
        if await administration.fetchval(known, name):
            return name
        draft = f"{name}_draft"
        await administration.execute(f'DROP DATABASE IF EXISTS "{draft}"')
        await administration.execute(f'CREATE DATABASE "{draft}" TEMPLATE "{of}" STRATEGY file_copy')
        connection = await asyncpg.connect(server.dsn(draft).get_secret_value())
        try:
            await fill(connection, server.dsn(draft))
            keep(server.directory / f"{name}.beginning", await Beginning.of(connection))
        finally:
            await connection.close()
            end_sessions(draft)
        await _wait_until_unused(administration, draft)
        await administration.execute(f'ALTER DATABASE "{draft}" RENAME TO "{name}"')
        return name


async def _wait_until_unused(administration: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    # A closed connection's server process takes a moment to leave, and RENAME refuses while it is there.
    for _ in range(500):
        if not await administration.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name
        ):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"someone stays connected to {name}")


@asynccontextmanager
async def _administration(server: PostgresServer) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(server.dsn().get_secret_value())
    try:
        yield connection
    finally:
        await connection.close()

"""A PostgreSQL server for the whole run, and a Pod database of its own for each test that asks for one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from poddispatchd.database import migration, session_parameters
from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import SETTINGS, PostgresServer
from tests import forked
from tests.plugins.copies import Copy, close_administrators, copying
from tests.plugins.rewinding import Beginning, keep

SERVER = pytest.StashKey[PostgresServer]()

_FORGET = (
    "CLOSE ALL; UNLISTEN *; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DISCARD TEMP; DISCARD SEQUENCES;"
    " SELECT pg_advisory_unlock_all()"
)
"""All that DISCARD ALL does, but for what is prepared and what is known of tables."""

_SESSIONS = 33
"""Sessions that the server has for each worker, where that is more than it has anyway. Six workers on two
cores have 44 open at most, in all; on 16 cores there are 48 workers."""

_templates: set[str] = set()
"""Those of this run that are known to be complete."""


@dataclass(frozen=True, slots=True)
class PodDatabase:
    """A database of its own, with Pod's tables, gone after the test."""

    given_name: str
    address: SecretStr
    variant: SchemaVariant
    loop: asyncio.AbstractEventLoop | None = field(default=None, compare=False, repr=False)
    """Where it was made: connections are kept there only, and closed with it."""
    copy: Copy | None = field(default=None, compare=False, repr=False)
    """How it comes into being; None for one that is there."""
    _resting: "list[asyncpg.Connection[asyncpg.Record]]" = field(
        default_factory=list, compare=False, repr=False
    )

    @property
    def name(self) -> str:
        """Its name; from now on it is there."""
        return self.given_name if self.copy is None else self.copy.make()

    @property
    def dsn(self) -> SecretStr:
        """Where it is; from now on it is there."""
        return self.address if self.copy is None else self.copy.server.dsn(self.name)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A new connection; the caller closes it (or the drop does).

        What a test looks at goes over the Unix socket, which takes half as long; what it tests, over TCP.
        """
        dsn = self.dsn if self.copy is None else self.copy.server.dsn(self.name, unix_socket=True)
        return await asyncpg.connect(dsn.get_secret_value())

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection for the length of a block, with nothing left in it of an earlier block.

        To connect and to learn the catalog anew costs PostgreSQL more than most blocks do: one connection
        is kept for the next of them.
        """
        connection = await self.rested() or await self.connect()
        try:
            yield connection
        except BaseException:
            await connection.close()
            raise
        await self._rest(connection)

    async def rested(self) -> "asyncpg.Connection[asyncpg.Record] | None":
        """Take the connection that was kept, unless it was lost meanwhile."""
        if not self._resting or self.loop is not asyncio.get_running_loop():
            return None
        connection = self._resting.pop()
        try:
            await connection.execute("SELECT")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return connection

    async def _rest(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        is_fit = not self._resting and self.loop is asyncio.get_running_loop()
        if not is_fit or connection.is_closed() or connection.is_in_transaction():
            await connection.close()
            return
        try:
            await connection.execute(_FORGET)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
        else:
            self._resting.append(connection)

    async def let_go(self) -> None:
        """Close the connection that is kept: nobody is connected any more."""
        while self._resting:
            await self._resting.pop().close()


def pytest_configure(config: pytest.Config) -> None:
    """Reserve the server's directory for the run; xdist's workers share the one of their controller.

    What processes are forked from is found there, too.

    Nothing is started here. A run that dies, by whatever signal, lets go of the directory's lock, and the
    server's keeper then removes both.
    """
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    directory, settings = None, {}
    if workerinput is not None:
        directory = Path(workerinput["postgres_directory"])
        sessions = max(int(SETTINGS["max_connections"]), _SESSIONS * workerinput["workercount"])
        settings["max_connections"] = str(sessions)
    config.stash[SERVER] = server = PostgresServer(directory, settings=settings)
    forked.share(server.directory)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a new xdist worker where the server is."""
    node.workerinput["postgres_directory"] = str(node.config.stash[SERVER].directory)  # type: ignore[attr-defined]  # xdist has no types


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the server, and of what processes are forked from."""
    forked.stop_servers()
    if (server := config.stash.get(SERVER, None)) is not None:
        server.stop()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """The running server, one for all workers; PostgreSQL's superuser logs in."""
    server = pytestconfig.stash[SERVER]
    server.start()
    yield server
    close_administrators()


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
    """A database with Pod's tables and no rows."""

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
    database = PodDatabase("", server.dsn(), variant, asyncio.get_running_loop(), copy)
    if not when_wanted:
        copy.make()
    try:
        yield database
    finally:
        await copy.give_back(await database.rested())


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
        await administration.execute(copying(server, of, draft))
        connection = await asyncpg.connect(server.dsn(draft).get_secret_value())
        try:
            await fill(connection, server.dsn(draft))
            keep(server.directory / f"{name}.beginning", await Beginning.of(connection))
        finally:
            await connection.close()
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

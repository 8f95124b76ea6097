"""Several servers in one address: the one that can be written to is taken, and a silent one keeps nobody."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.app.checks import run_checks
from poddispatchd.config.model import DatabaseSettings, Settings
from poddispatchd.database import hosts, migration, pool
from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.sandbox.ports import free_ports
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.recovery.side import session_at

_READ_ONLY = "ALTER DATABASE pod SET default_transaction_read_only = {}"
_PASSWORD = "of-both-servers"

_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'pod'"


class _Pair:
    """Two servers with one database each, of which one can be written to at a time."""

    def __init__(self, one: PostgresServer, other: PostgresServer) -> None:
        self.servers = one, other

    def dsn(self, *ports: int, query: str = "") -> SecretStr:
        places = ",".join(f"127.0.0.1:{port}" for port in ports or self.ports)
        return SecretStr(f"postgresql://pod:{_PASSWORD}@{places}/pod{query}")

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(server.address.port for server in self.servers)

    async def switch_over(self, primary: int) -> None:
        """Let this one be written to, and the other one not, whose sessions end."""
        for number, server in enumerate(self.servers):
            await _execute(server, _READ_ONLY.format("off" if number == primary else "on"))
            if number != primary:
                await _execute(server, _CUT)


async def _execute(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn().get_secret_value())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    with PostgresServer() as one, PostgresServer() as other:
        yield one, other


@pytest.fixture
async def pair(servers: tuple[PostgresServer, PostgresServer]) -> AsyncIterator[_Pair]:
    made = _Pair(*servers)
    try:
        for server in servers:
            await _execute(server, f"CREATE ROLE pod LOGIN SUPERUSER PASSWORD '{_PASSWORD}'")
            await _execute(server, "CREATE DATABASE pod OWNER pod")
            # A real standby server has it from its primary.
            async with _opened(made.dsn(server.address.port)) as database:
                await migration.upgrade(database)
        yield made
    finally:
        for server in servers:
            await _execute(server, "DROP DATABASE pod WITH (FORCE)")
            await _execute(server, "DROP ROLE pod")


@asynccontextmanager
async def _opened(dsn: SecretStr) -> AsyncIterator[Database]:
    database = Database(dsn, pool_size=2)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def _port_of(database: Database) -> int:
    row = await database.fetchrow("SELECT inet_server_port()")
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def _silent() -> AsyncIterator[int]:
    """The port of a server that takes connections and answers nothing, as one that has been switched off."""

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()

    async with await asyncio.start_server(stay, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def _way_to(port: int) -> AsyncIterator[asyncio.Server]:
    """A way to a server, which those who are on it keep when it is closed to others."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    way = await asyncio.start_server(taken, "127.0.0.1", 0)
    try:
        yield way
    finally:
        way.close()


async def test_a_first_server_that_is_silent_leaves_time_for_the_second(
    pair: _Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the time there was went to the first: the daemon never reached the one that had taken over."""
    monkeypatch.setattr(pool, "_CONNECT_TIMEOUT", 4.0)
    monkeypatch.setattr(hosts, "_LEAST", 0.2)
    async with _silent() as port, _opened(pair.dsn(port, pair.ports[0])) as database:
        assert await _port_of(database) == pair.ports[0]
        # And is not waited for by each of the others.
        connection = await database.dedicated_connection()
        await connection.close()


async def test_a_first_server_of_a_service_that_is_silent_leaves_time_for_the_second(
    pair: _Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CONNECT_TIMEOUT", 4.0)
    monkeypatch.setattr(hosts, "_LEAST", 0.2)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    async with _silent() as port:
        (tmp_path / "services").write_text(
            f"[pod]\nhost=127.0.0.1,127.0.0.1\nport={port},{pair.ports[0]}\nuser=pod\npassword={_PASSWORD}\n"
        )
        async with _opened(SecretStr("postgresql:///pod?service=pod")) as database:
            assert await _port_of(database) == pair.ports[0]


async def test_the_one_that_can_be_written_to_is_taken_though_the_address_asks_for_none(pair: _Pair) -> None:
    """A primary that is back as a standby server often stands first."""
    await pair.switch_over(1)
    async with _opened(pair.dsn()) as database:
        assert await _port_of(database) == pair.ports[1]
        await database.execute("CREATE TABLE written (id integer)")


@pytest.mark.parametrize("query", ["", "?target_session_attrs=read-write"])
async def test_a_daemon_follows_a_switch_over_there_and_back(pair: _Pair, query: str) -> None:
    await pair.switch_over(0)
    async with session_at(pair.dsn(query=query), "one") as daemon:
        for primary in (1, 0):
            await pair.switch_over(primary)
            await daemon.until(up=True, problem="")
            async with asyncio.timeout(20):
                while await _port_if_any(daemon.database) != pair.ports[primary]:  # noqa: ASYNC110 - of a server
                    await asyncio.sleep(0.02)


async def _port_if_any(database: Database) -> int:
    try:
        return await _port_of(database)
    except DatabaseUnavailableError:
        return 0


async def test_what_can_only_be_read_is_taken_where_there_is_nothing_else(pair: _Pair) -> None:
    await pair.switch_over(1)
    async with _opened(pair.dsn(free_ports(1)[0], pair.ports[0])) as database:
        assert await _port_of(database) == pair.ports[0]


async def test_nobody_reads_from_a_standby_server_beside_those_who_write_elsewhere(pair: _Pair) -> None:
    """It may lag behind: a file was deleted that no row named there yet."""
    await pair.switch_over(0)
    async with _way_to(pair.ports[0]) as way:
        port = way.sockets[0].getsockname()[1]
        async with _opened(pair.dsn(port, pair.ports[1])) as database, database.connection() as first:
            way.close()
            assert await first.fetchval("SELECT inet_server_port()") == pair.ports[0]
            with pytest.raises(DatabaseUnavailableError, match="cannot be written to"):
                await _port_of(database)


@asynccontextmanager
async def _promoted(pair: _Pair, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Server]:
    """Both can be written to: the second one took the place of the first. The way to the second one."""
    monkeypatch.setattr(hosts, "_HISTORY", "SELECT 'pod', current_setting('of.timeline')")
    await pair.switch_over(0)
    await _execute(pair.servers[1], _READ_ONLY.format("off"))
    for timeline, server in enumerate(pair.servers, 1):
        await _execute(server, f"ALTER DATABASE pod SET of.timeline = {timeline}")
    async with _way_to(pair.ports[1]) as way:
        yield way


async def test_a_former_primary_is_told_from_the_one_that_took_its_place(
    pair: _Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of the new primary the daemon went to the old one, which had come up again as it was:
    it did there once more what was done, and what came in at the new one waited for ever."""
    async with _promoted(pair, monkeypatch) as way:
        port = way.sockets[0].getsockname()[1]
        async with _opened(pair.dsn(pair.ports[0], port)) as database:
            assert await _port_of(database) == pair.ports[1]
            # Another connection is made without a look at all, as behind a pooler before anything is told.
            await (await database.dedicated_connection()).close()
            assert database.overtaken == (f"127.0.0.1:{pair.ports[0]}",)
            # Pod's own driver takes the first that can be written to: 'check' tells.
            settings = Settings(database=DatabaseSettings(dsn=pair.dsn(pair.ports[0], port)))
            told = [found.words async for found in run_checks(settings)]
            assert any(words.startswith(f"127.0.0.1:{pair.ports[0]} is a former primary") for words in told)
            way.close()
            await _execute(pair.servers[1], _CUT)
            # The first that is heard of the connections is that they are lost.
            words = ""
            while "is a former primary, which lacks what was done since" not in words:
                words = await _why_not(database)


async def test_a_primary_that_comes_up_again_at_once_is_left_when_another_one_was_promoted(
    pair: _Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon keeps to the server that it has, and looked at no other one: new tasks waited for ever."""
    monkeypatch.setattr(hosts, "_HISTORY", "SELECT 'pod', current_setting('of.timeline')")
    await pair.switch_over(0)
    for server in pair.servers:
        await _execute(server, "ALTER DATABASE pod SET of.timeline = 1")
    async with _opened(pair.dsn()) as database:
        assert await _port_of(database) == pair.ports[0]
        await _execute(pair.servers[1], _READ_ONLY.format("off"))
        await _execute(pair.servers[1], "ALTER DATABASE pod SET of.timeline = 2")
        await database.expire(silent=True)  # as whoever finds it lost does
        assert await _port_of(database) == pair.ports[1]


async def test_all_connections_go_to_one_server(pair: _Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session had ended, and the next one went to the new primary: others wrote to the former one."""
    monkeypatch.setattr(hosts, "_HISTORY", "SELECT 'pod', current_setting('of.timeline')")
    await pair.switch_over(0)
    for server in pair.servers:
        await _execute(server, "ALTER DATABASE pod SET of.timeline = 1")
    async with _opened(pair.dsn()) as database:
        session = await database.dedicated_connection()
        await _execute(pair.servers[1], _READ_ONLY.format("off"))
        await _execute(pair.servers[1], "ALTER DATABASE pod SET of.timeline = 2")
        with pytest.raises(DatabaseUnavailableError):
            await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        async with database.connection() as one, database.connection() as other:
            ports = [await each.fetchval("SELECT inet_server_port()") for each in (one, other)]

        assert (ports, session.is_closed()) == ([pair.ports[1]] * 2, True)


async def _why_not(database: Database) -> str:
    with pytest.raises(DatabaseUnavailableError) as refused:
        await _port_of(database)
    return str(refused.value)


async def test_a_server_says_which_system_and_timeline_it_is_to_any_role(pair: _Pair) -> None:
    await _execute(pair.servers[0], "ALTER ROLE pod NOSUPERUSER")
    connection = await asyncpg.connect(pair.dsn(pair.ports[0]).get_secret_value())
    try:
        system, timeline = await hosts._history(connection, 5.0)
        assert (system.isdigit(), timeline) == (True, 1)
        await connection.execute("SELECT")
    finally:
        await connection.close()


async def test_a_server_that_does_not_say_what_it_is_is_used_all_the_same(
    pair: _Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_HISTORY", "SELECT pg_not_known_here()")
    await pair.switch_over(1)
    async with _opened(pair.dsn()) as database:
        assert await _port_of(database) == pair.ports[1]


async def test_each_of_several_servers_is_named_with_its_reason(pair: _Pair) -> None:
    """The last one that was not there was told of, and nothing of the one that answers."""
    await pair.switch_over(1)
    gone = free_ports(1)[0]
    dsn = pair.dsn(gone, pair.ports[0], query="?target_session_attrs=read-write")
    with pytest.raises(DatabaseUnavailableError) as refused:
        await Database(dsn).open()
    assert str(refused.value) == (
        f"The database cannot be reached: 127.0.0.1:{gone}: connection refused (127.0.0.1:{gone}); "
        f"127.0.0.1:{pair.ports[0]}: cannot be written to."
    )


async def test_one_server_that_is_not_as_the_address_asks_is_told_as_such(pair: _Pair) -> None:
    """It was told as a lost connection."""
    await pair.switch_over(1)
    dsn = pair.dsn(pair.ports[0], query="?target_session_attrs=read-write")
    with pytest.raises(DatabaseUnavailableError, match="cannot be written to, as target_session_attrs asks"):
        await Database(dsn).open()

"""Databases of tests as they come and go: copied from a template, left to later tests, dropped."""

import asyncio
import itertools
import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import asyncpg

from poddispatchd.sandbox.postgresql import PostgresServer
from tests.plugins.rewinding import Beginning, Rewound, kept, rewind

_numbers = itertools.count()

_connect = asyncpg.connect
"""Whatever a test puts in its place."""


def copying(server: PostgresServer, template: str, name: str) -> str:
    """The statement that makes a database of a template."""
    # Without fsync, copying files is quicker than logging every block. PostgreSQL 14 knows no other way.
    strategy = " STRATEGY file_copy" if server.address.release >= 15 else ""
    return f'CREATE DATABASE "{name}" TEMPLATE "{template}"{strategy}'


@dataclass(slots=True)
class Copy:
    """A database that is as its template, and is there when somebody first wants to connect to it."""

    server: PostgresServer
    template: str
    database: Rewound | None = None

    @property
    def is_made(self) -> bool:
        """Whether it is there."""
        return self.database is not None

    def make(self) -> str:
        """Make it, or take one that an earlier test has left, unless that was done; its name."""
        if self.database is None:
            rested = _rested[self.server.directory, self.template]
            self.database = rested.pop() if rested else self._copied()
        return self.database.name

    def _copied(self) -> Rewound:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        _administrator(self.server).execute(copying(self.server, self.template, name))
        return Rewound(name, _beginning(self.server.directory, self.template))

    async def give_back(self, connection: "asyncpg.Connection[asyncpg.Record] | None") -> None:
        """Leave it to another test as its template is, or drop it; whoever is still connected is cut off.

        Args:
            connection: one that is open and has nothing left in it of the test; it is closed.
        """
        database, self.database = self.database, None
        if database is None:
            return
        if await self._is_rewound(database, connection):
            _rested[self.server.directory, self.template].append(database)
        else:
            _administrator(self.server).execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')

    async def _is_rewound(
        self, database: Rewound, connection: "asyncpg.Connection[asyncpg.Record] | None"
    ) -> bool:
        try:
            if connection is None:
                if database.beginning is None:
                    return False
                connection = await _connect(
                    self.server.dsn(database.name, unix_socket=True).get_secret_value()
                )
            try:
                return await rewind(connection, database)
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False


_rested: dict[tuple[Path, str], list[Rewound]] = defaultdict(list)
"""Databases of this process that are as their templates, by server and template."""


@cache
def _beginning(server_directory: Path, template: str) -> Beginning | None:
    return kept(server_directory / f"{template}.beginning")


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
                self._connection = await asyncpg.connect(
                    self._server.dsn(unix_socket=True).get_secret_value()
                )
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


def close_administrators() -> None:
    """Let go of all of them."""
    while _administrators:
        _administrators.popitem()[1].close()

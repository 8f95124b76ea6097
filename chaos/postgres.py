"""The sandbox's PostgreSQL server, stopped as by ``pg_ctl -m immediate`` and started again."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import asyncpg

from poddispatchd.sandbox.postgresql import PostgresServer

DURABLE = {"synchronous_commit": "on"}
"""A committed transaction survives the server's end: the sandbox's own settings give that up.

``fsync`` may stay off, since the machine's memory survives.
"""

UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
"""The database is down, or refuses something, on purpose."""

_WITHIN = 30.0


class RestartableServer:
    """A server whose postmaster can be ended at once and started again with the same command line."""

    def __init__(self, server: PostgresServer) -> None:
        self._data = server.directory / "data"
        self._log = server.directory / "server.log"
        self._ours: subprocess.Popen[bytes] | None = None

    def _pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])

    async def stop_immediately(self) -> "tuple[list[str], int]":
        """End the server without a shutdown; what it takes to start it again."""
        pid = self._pid()
        process = Path(f"/proc/{pid}")
        command = [part.decode() for part in (process / "cmdline").read_bytes().split(b"\0") if part]
        user = process.stat().st_uid  # noqa: ASYNC240 - /proc does not block
        os.kill(pid, signal.SIGQUIT)
        async with asyncio.timeout(_WITHIN):
            while not self._is_over(process):  # noqa: ASYNC110 - it is not our child
                await asyncio.sleep(0.02)
        return command, user

    def _is_over(self, process: Path) -> bool:
        if self._ours is not None:
            self._ours.poll()
        try:
            state = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return True
        # The keeper that is the parent of the first server does not wait for it.
        return state in ("Z", "X")

    async def start(self, command: list[str], user: int) -> None:
        """Start it; comes back when it takes connections."""
        is_root = os.geteuid() == 0
        with self._log.open("ab") as log:
            self._ours = subprocess.Popen(  # noqa: ASYNC220 - a fork is quick, and its end is never waited for
                command,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user if is_root else None,
                group=self._data.stat().st_gid if is_root else None,
                extra_groups=[] if is_root else None,
                start_new_session=True,
            )
        async with asyncio.timeout(_WITHIN):
            while not self._is_ready():
                if self._ours.poll() is not None:
                    raise RuntimeError(f"PostgreSQL did not start again: see {self._log}.")
                await asyncio.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def close(self) -> None:
        """End the server that was started here; the sandbox's keeper knows only the first one."""
        if self._ours is not None and self._ours.poll() is None:
            self._ours.send_signal(signal.SIGQUIT)
            self._ours.wait(_WITHIN)

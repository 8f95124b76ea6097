"""The daemons and the managers as processes: started, killed, paused, started again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

Command: TypeAlias = Callable[[Path, Path], list[str]]
"""How a daemon is started whose configuration and wall clock are what two files say."""

OUR_SOURCE = Path(__file__).parents[1]

_WITHIN = 60.0

_START = 180.0
"""Seconds for a process to begin, on a machine with much else to do."""


@dataclass(slots=True)
class Child:
    """A process that is meant to run; whoever ends it on purpose says so first.

    Attributes:
        command: how it is started.
        log: where its output goes.
        busy: held by whoever does something to it.
        log_size: how long the log was when it was started.
        surprises: ends that nobody wanted: what it did, in words.
        source: the tree of the release that it is.
    """

    name: str
    command: list[str]
    log: Path
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    surprises: list[str] = field(default_factory=list)
    source: Path = OUR_SOURCE
    process: asyncio.subprocess.Process | None = None
    log_size: int = 0
    _watch: "asyncio.Task[None] | None" = None
    _may_end: asyncio.subprocess.Process | None = None
    """Whose end is no surprise: a process of before it may be looked at when the next one runs already."""

    async def start(self) -> None:
        """Start it, and watch it."""
        with self.log.open("ab") as log:
            self.log_size = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if self.waits_for_ready else log,
                stderr=log,
                env={**os.environ, **self.environment()},
            )
        if self.waits_for_ready:
            assert self.process.stdout is not None
            async with asyncio.timeout(_START):
                line = await self.process.stdout.readline()
            if line.strip() != b"ready":
                raise RuntimeError(f"{self.name} does not start: see {self.log}.")
        self._watch = asyncio.create_task(self._look(self.process))

    @property
    def waits_for_ready(self) -> bool:
        """Whether it says ``ready`` on standard output."""
        return False

    def environment(self) -> Mapping[str, str]:
        """What is added to our own environment."""
        paths = [str(self.source), os.environ.get("PYTHONPATH", "")]
        return {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    async def _look(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if self._may_end is not process:
            self.surprises.append(f"{self.name} (pid {process.pid}) ended by itself with status {status}")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    async def kill(self) -> bool:
        """End it as the kernel's OOM killer would; whether it was that which ended it."""
        assert self.process is not None
        self._may_end = self.process
        self._signal(signal.SIGKILL)
        return await self.process.wait() == -signal.SIGKILL

    def may_end(self) -> None:
        """From now on its end by itself is no surprise: a newer release takes over."""
        self._may_end = self.process

    @property
    def has_ended(self) -> bool:
        """Whether there is no process any more."""
        return self.process is None or self.process.returncode is not None

    async def terminate(self, within: float = _WITHIN) -> int:
        """End it as systemd does; its exit status. One that does not end is a surprise."""
        assert self.process is not None
        self._may_end = self.process
        is_starting = not self.is_ready()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                status = await self.process.wait()
        except TimeoutError:
            self.surprises.append(f"{self.name} (pid {self.pid}) ignored SIGTERM for {within:.0f} s")
            await self.kill()
            return -signal.SIGKILL
        if status and not (is_starting and status == -signal.SIGTERM):
            self.surprises.append(f"{self.name} (pid {self.pid}) answered SIGTERM with status {status}")
        return status

    def is_ready(self) -> bool:
        """Whether it works by now."""
        return True

    async def freeze(self) -> bool:
        """Stop it in its tracks; whether it stands still."""
        self._signal(signal.SIGSTOP)
        for _ in range(100):
            if self._state() == "T":
                return True
            await asyncio.sleep(0.01)
        return False

    def go_on(self) -> None:
        """Thaw it."""
        self._signal(signal.SIGCONT)

    def hang_up(self) -> None:
        """Have it read its configuration again."""
        self._signal(signal.SIGHUP)

    def _state(self) -> str:
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""
        return stat.rpartition(")")[2].split()[0]

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)


@dataclass(slots=True)
class DaemonChild(Child):
    """A daemon.

    Attributes:
        clock: the file that says by how many seconds its wall clock is ahead.
        config_busy: held by whoever changes its configuration and has it read.
    """

    clock: Path = Path()
    config: Path = Path()
    settings: dict[str, dict[str, object]] = field(default_factory=dict)
    webhook: str = ""
    ops: str = ""
    config_busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_ready(self) -> bool:
        """Whether it works by now; before that SIGHUP would end it."""
        return self.told("daemon.ready") > 0

    def told(self, event: str) -> int:
        """How often it has logged an event since it was started."""
        with self.log.open("rb") as log:
            log.seek(self.log_size)
            return log.read().count(f'"event": "{event}"'.encode())

    async def tells(self, event: str, than: int, within: float = 5.0) -> bool:
        """Whether it logs an event more often than ``than`` times before so many seconds have passed."""
        for _ in range(int(within / 0.05)):
            if self.told(event) > than:
                return True
            await asyncio.sleep(0.05)
        return False

    def set_clock(self, seconds: float) -> None:
        """Put its wall clock ahead (or behind, below zero), at once and without a restart."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(f"{seconds}", encoding="ascii")
        fresh.replace(self.clock)

    async def ready(self) -> None:
        """Wait until it works.

        Raises:
            RuntimeError: it ended instead.
        """
        async with asyncio.timeout(_START):
            while not self.is_ready():
                if self.process is None or self.process.returncode is not None:
                    raise RuntimeError(f"{self.name} does not start: see {self.log}.")
                await asyncio.sleep(0.1)

    def write_config(self, **changes: dict[str, object]) -> None:
        """Write its configuration; sections of ``changes`` replace single settings."""
        merged = {name: {**section, **changes.get(name, {})} for name, section in self.settings.items()}
        self.config.touch(mode=0o600)
        # JSON is YAML.
        self.config.write_text(json.dumps(merged), encoding="utf-8")

    def spoil_config(self) -> None:
        """Write one that cannot be accepted."""
        self.write_config(imports={"concurrency": "many"})


@dataclass(slots=True)
class ManagerChild(Child):
    """A fake runner manager that takes orders.

    Attributes:
        tokens: every token that it ever took; only the last one is good.
    """

    index: int = 0
    port: int = 0
    runners: int = 0
    settings: dict[str, object] = field(default_factory=dict, repr=False)
    settings_file: Path = Path()
    tokens: list[str] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Give it its first token."""
        self.tokens.append(self.next_token())
        self.write_settings()

    @property
    def token(self) -> str:
        """The token that it takes."""
        return self.tokens[-1]

    def next_token(self) -> str:
        """One that it never had."""
        return sha256(f"{self.name} {len(self.tokens)}".encode()).hexdigest()[:24]

    def write_settings(self) -> None:
        """Write what it reads when it is started."""
        self.settings_file.write_text(json.dumps({**self.settings, "token": self.token}), encoding="utf-8")

    async def take_token(self, token: str) -> None:
        """Have it take this token and no other, after its next start as well."""
        self.tokens.append(token)
        self.write_settings()
        await self.order(do="token", token=token)

    @property
    def waits_for_ready(self) -> bool:
        """It does."""
        return True

    async def order(self, **order: object) -> None:
        """Have it do something."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        try:
            await self.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return


def daemon_command(config: Path, clock: Path) -> list[str]:
    """How a daemon is started whose wall clock is what a file says."""
    return [sys.executable, "-m", "chaos.skewed_daemon", str(clock), "run", "-c", str(config)]

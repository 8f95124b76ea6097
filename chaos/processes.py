"""The daemons and the managers as processes: started, killed, paused, started again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PATIENCE = 60.0


@dataclass(slots=True)
class Child:
    """A process that is meant to run; whoever ends it on purpose says so first.

    Attributes:
        command: how it is started.
        log: where its output goes.
        busy: held by whoever does something to it.
        log_size: how long the log was when it was started.
        surprises: ends that nobody wanted: what it did, in words.
    """

    name: str
    command: list[str]
    log: Path
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    surprises: list[str] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    log_size: int = 0
    _watch: "asyncio.Task[None] | None" = None
    _wanted_end: bool = False

    async def start(self) -> None:
        """Start it, and watch it."""
        self._wanted_end = False
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
            async with asyncio.timeout(_PATIENCE):
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
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        return {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    async def _look(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if not self._wanted_end:
            self.surprises.append(f"{self.name} (pid {process.pid}) ended by itself with status {status}")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    async def kill(self) -> None:
        """End it as the kernel's OOM killer would."""
        assert self.process is not None
        self._wanted_end = True
        self._signal(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self, patience: float = _PATIENCE) -> int:
        """End it as systemd does; its exit status. One that does not end is a surprise."""
        assert self.process is not None
        self._wanted_end = True
        is_starting = not self.is_ready()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                status = await self.process.wait()
        except TimeoutError:
            self.surprises.append(f"{self.name} (pid {self.pid}) ignored SIGTERM for {patience:.0f} s")
            await self.kill()
            return -signal.SIGKILL
        if status and not (is_starting and status == -signal.SIGTERM):
            self.surprises.append(f"{self.name} (pid {self.pid}) answered SIGTERM with status {status}")
        return status

    def is_ready(self) -> bool:
        """Whether it works by now."""
        return True

    def stop_clock(self) -> None:
        """Freeze it."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Thaw it."""
        self._signal(signal.SIGCONT)

    def hang_up(self) -> None:
        """Have it read its configuration again."""
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)


@dataclass(slots=True)
class DaemonChild(Child):
    """A daemon; ``skew`` is by how many seconds its wall clock is ahead."""

    config: Path = Path()
    settings: dict[str, dict[str, object]] = field(default_factory=dict)
    webhook: str = ""
    ops: str = ""

    def is_ready(self) -> bool:
        """Whether it works by now; before that SIGHUP would end it."""
        with self.log.open("rb") as log:
            log.seek(self.log_size)
            return b'"daemon.ready"' in log.read()

    async def ready(self) -> None:
        """Wait until it works.

        Raises:
            RuntimeError: it ended instead.
        """
        async with asyncio.timeout(_PATIENCE):
            while not self.is_ready():
                if self.surprises:
                    raise RuntimeError(f"{self.surprises[0]}: see {self.log}.")
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
    """A fake runner manager that takes orders."""

    index: int = 0
    url: str = ""
    token: str = field(default="", repr=False)
    runners: int = 0

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


def daemon_command(config: Path, skew: float) -> list[str]:
    """How a daemon is started whose wall clock is ahead."""
    if not skew:
        return [sys.executable, "-m", "poddispatchd", "run", "-c", str(config)]
    return [sys.executable, "-m", "chaos.skewed_daemon", str(skew), "run", "-c", str(config)]

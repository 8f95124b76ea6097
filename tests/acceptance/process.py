"""poddispatchd in a process of its own, watched through what it logs."""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.forked import ForkedProcess, fork

Entry: TypeAlias = Mapping[str, object]

ANNOUNCED_WITHIN = 100.0
"""Seconds after which something that was announced will never happen, on a busy machine."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment without settings or a service manager of whoever runs the tests."""
    hidden = (
        "PODDISPATCHD_",
        "NOTIFY_SOCKET",
        "WATCHDOG_",
        "CREDENTIALS_DIRECTORY",
        "JOURNAL_STREAM",
        "LISTEN_",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    # Its bytecode is kept, or every start would compile the whole program again.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, **(extra or {})}


@dataclass(slots=True)
class Outcome:
    """How a command ended, and all it said."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything it said."""
        return self.out + self.err


@dataclass(slots=True)
class Process:
    """A started ``python -m poddispatchd``; ``said`` grows while it runs, one line at a time."""

    child: asyncio.subprocess.Process | ForkedProcess
    said: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _reader: "asyncio.Task[None] | None" = None

    @classmethod
    async def start(
        cls,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        constants: Mapping[str, float] | None = None,
        handed: Mapping[str, int] | None = None,
        fresh: bool = False,
        open_files: tuple[int, int] | None = None,
    ) -> "Process":
        """Start it: forked, or in an interpreter of its own as on a server if it is to be ``fresh``.

        ``open_files`` are then the soft and the hard limit of the files that it may open.
        """
        child: asyncio.subprocess.Process | ForkedProcess
        if fresh:
            soft, hard = open_files or resource.getrlimit(resource.RLIMIT_NOFILE)
            child = await asyncio.create_subprocess_exec(
                *("sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" "$@"'),
                *(sys.executable, "-m", "poddispatchd"),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment(env),
            )
        else:
            child = await fork(
                "poddispatchd", *arguments, env=environment(env), constants=constants, handed=handed
            )
        process = cls(child)
        process._reader = asyncio.create_task(process._read())
        return process

    async def _read(self) -> None:
        assert self.child.stdout is not None
        async for raw in self.child.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            async with self._news:
                self.said.append(line)
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                if isinstance(entry, dict):
                    self.entries.append(entry)
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    @property
    def text(self) -> str:
        """Everything it said."""
        return "\n".join(self.said)

    def find(self, event: str, **facts: object) -> Entry | None:
        """The first line about an event with these facts."""
        return next((entry for entry in self.entries if _is(entry, event, facts)), None)

    async def event(self, event: str, **facts: object) -> Entry:
        """Wait for a line about an event with these facts."""
        async with asyncio.timeout(ANNOUNCED_WITHIN), self._news:
            while True:
                if (entry := self.find(event, **facts)) is not None:
                    return entry
                if (self._reader is not None and self._reader.done()) or self._is_mute():
                    raise AssertionError(f"it ended without {event}:\n{self.text}")
                await self._news.wait()

    async def events(self, event: str, count: int) -> list[Entry]:
        """Wait for so many lines about an event."""
        async with asyncio.timeout(ANNOUNCED_WITHIN), self._news:
            while True:
                found = [entry for entry in self.entries if _is(entry, event, {})]
                if len(found) >= count:
                    return found
                await self._news.wait()

    async def lines(self, count: int) -> None:
        """Wait until it has said so many lines, or has ended."""
        async with asyncio.timeout(ANNOUNCED_WITHIN), self._news:
            while len(self.said) < count and not self._is_mute():
                await self._news.wait()

    def _is_mute(self) -> bool:
        return self.child.stdout is None or self.child.stdout.at_eof()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.child.returncode is None:
            self.child.send_signal(number)

    async def ended(self) -> int:
        """Its exit status; negative for the signal that killed it."""
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            status = await self.child.wait()
            if self._reader is not None:
                await self._reader
        return status

    async def kill(self) -> None:
        """End it for sure."""
        self.signal(signal.SIGKILL)
        await self.ended()

    @property
    def command_line(self) -> str:
        """What ``ps`` shows of it to everybody."""
        return Path(f"/proc/{self.child.pid}/cmdline").read_text().replace("\0", " ")


def _is(entry: Entry, event: str, facts: Mapping[str, object]) -> bool:
    return entry.get("event") == event and all(entry.get(name) == value for name, value in facts.items())


async def command(*arguments: str, env: Mapping[str, str] | None = None) -> Outcome:
    """Run a command to its end."""
    child = await fork("poddispatchd", *arguments, env=environment(env), apart=True)
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        out, err = await child.communicate()
    return Outcome(await child.wait(), out.decode(), err.decode())

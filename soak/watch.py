"""Looks at the daemons while they work, and writes down what they hold."""

import asyncio
import csv
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from chaos.processes import DaemonChild
from chaos.stage import Stage
from soak.observed_daemon import LOOK, SNAPSHOT, observation, snapshot
from soak.verdict import LIMITS, Sample

_WITHIN = 20.0
_PROJECT = str(Path(__file__).parents[1])
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'poddispatchd'"


@dataclass(slots=True)
class Watch:
    """Samples of all daemons, every ``interval`` seconds; snapshots of those that are traced."""

    directory: Path
    warm_up: float
    interval: float = 10.0
    samples: list[Sample] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    missed: int = 0

    @asynccontextmanager
    async def on(self, stage: Stage) -> AsyncIterator[None]:
        """Look on while the block lasts."""
        looking = asyncio.create_task(self._look(stage, time.monotonic()))
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            await self._compare(stage)

    async def _look(self, stage: Stage, begun: float) -> None:
        is_warm = False
        with (self.directory / "samples.csv").open("w", encoding="ascii", newline="") as file:
            table = csv.writer(file)
            table.writerow(("minute", "daemon", *LIMITS))
            while True:
                minute = (time.monotonic() - begun) / 60
                if not is_warm and minute >= self.warm_up:
                    is_warm = True
                    await asyncio.gather(*(_snapshot(one, "warm") for one in stage.daemons))
                sessions = await _sessions(stage)
                for daemon in stage.daemons:
                    figures = await _ask(daemon)
                    if figures is None:
                        self.missed += 1
                        continue
                    held = dict(figures) if sessions is None else {**figures, "sessions": sessions}
                    self.samples.append(Sample(daemon.name, minute, held))
                    table.writerow((f"{minute:.2f}", daemon.name, *(held.get(name, "") for name in LIMITS)))
                file.flush()
                await asyncio.sleep(self.interval)

    async def _compare(self, stage: Stage) -> None:
        for daemon in stage.daemons:
            end = await _snapshot(daemon, "end")
            warm = _kept(daemon, "warm")
            if end is not None and warm.exists():
                self.grown = await asyncio.to_thread(differences, warm, end)


def differences(before: Path, after: Path, most: int = 30) -> list[str]:
    """The places whose allocations grew most between two snapshots, in words."""
    known = [
        tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__),
        tracemalloc.Filter(inclusive=False, filename_pattern="*/soak/observed_daemon.py"),
    ]
    first, last = (tracemalloc.Snapshot.load(str(path)).filter_traces(known) for path in (before, after))
    grown = sorted(last.compare_to(first, "traceback"), key=lambda one: one.size_diff, reverse=True)
    return [
        f"{one.size_diff / 1024:+9.1f} KiB {one.count_diff:+7} blocks  {_place(one.traceback)}"
        for one in grown[:most]
    ]


def _place(traceback: tracemalloc.Traceback) -> str:
    return " < ".join(
        f"{frame.filename.removeprefix(_PROJECT + '/').rpartition('site-packages/')[2]}:{frame.lineno}"
        for frame in reversed(traceback)
    )


async def _ask(daemon: DaemonChild) -> dict[str, int] | None:
    """What it holds; None from one that does not answer."""
    path = observation(daemon.config)
    path.unlink(missing_ok=True)
    if not _send(daemon, LOOK) or not await _appears(path):
        return None
    told: dict[str, int] = json.loads(path.read_text(encoding="ascii"))
    return told


async def _snapshot(daemon: DaemonChild, name: str) -> Path | None:
    """A snapshot of a daemon that is traced."""
    if "--trace" not in daemon.command:
        return None
    path, kept = snapshot(daemon.config), _kept(daemon, name)
    if not _send(daemon, SNAPSHOT) or not await _appears(path):
        return None
    path.rename(kept)
    return kept


def _kept(daemon: DaemonChild, name: str) -> Path:
    return daemon.config.with_suffix(f".{name}-snapshot")


def _send(daemon: DaemonChild, number: int) -> bool:
    if daemon.process is None or daemon.process.returncode is not None:
        return False
    daemon.process.send_signal(number)
    return True


async def _appears(path: Path) -> bool:
    """Whether a file is there before its time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_WITHIN):
            while not path.exists():  # noqa: ASYNC110, ASYNC240 - a file of another process
                await asyncio.sleep(0.02)
            return True
    return False


async def _sessions(stage: Stage) -> int | None:
    """How many sessions the daemons have; None when the database is down."""
    try:
        connection = await stage.connect()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        return None
    try:
        return int(await connection.fetchval(_SESSIONS))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        return None
    finally:
        connection.terminate()

"""What the daemon costs when there is nothing to do: its start, its memory, its transactions."""

import asyncio
import sys
import time

from benchmarks.manager import Spec, managers
from benchmarks.sizes import Size
from benchmarks.system import started, system
from benchmarks.table import Figure, beside

_LEASE = "lease_expires_at"
"""In the statements of leadership only."""


async def start(size: Size) -> list[Figure]:
    """From exec to READY, beside the imports of aiohttp and asyncpg alone."""
    async with managers([Spec()]) as fakes, system(fakes.ports) as pod:
        # The first start compiles, as an installation does, and fills the history.
        await (await started(pod.config)).stop()
        rounds = []
        for _ in range(size.of(1, 7, 11)):
            daemon = await started(pod.config)
            await daemon.stop()
            rounds.append((1000 * daemon.started_in, 1000 * await _imports()))
    return [beside("exec to READY", "ms", rounds, limit=2.4, reach=2.2, at_least=False)]


async def _imports() -> float:
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import aiohttp, asyncpg")
    await process.wait()
    return time.monotonic() - begun


async def idle(size: Size) -> list[Figure]:
    """Memory and statements of a daemon with nothing to do."""
    settle, seconds = size.of(0.5, 10.0, 60.0), size.of(1.0, 40.0, 120.0)
    async with managers([Spec()]) as fakes, system(fakes.ports) as pod:
        daemon = await pod.start()
        await asyncio.sleep(settle)
        used, made, all_made = daemon.cpu, await pod.statements(besides=_LEASE), await pod.statements()
        await asyncio.sleep(seconds)
        made, all_made = await pod.statements(besides=_LEASE) - made, await pod.statements() - all_made
        processor = 100 * (daemon.cpu - used) / seconds
        memory = daemon.memory
    return [
        Figure("idle: memory", "MiB", memory, limit=62, reach=60, at_least=False),
        Figure(
            "… statements besides those of leadership",
            "per min",
            60 * made / seconds,
            # Of a few seconds nothing can be said about a minute.
            limit=size.of(None, 14, 14),
            reach=size.of(None, 12, 12),
            at_least=False,
        ),
        Figure("… with them", "per min", 60 * all_made / seconds),
        Figure("… of a core", "%", processor, limit=size.of(3, 1, 1), reach=0.5, at_least=False),
    ]

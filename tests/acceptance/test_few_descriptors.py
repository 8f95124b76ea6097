"""What a daemon does that may open few files: it takes as many as it can have, or says what it needs."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from poddispatchd.domain.task import TaskType
from poddispatchd.runtime.descriptors import LEAST
from tests.acceptance.process import Process
from tests.acceptance.rig import Rig

_ENOUGH = 2 * LEAST
_CALLERS = 4 * LEAST


async def _start(rig: Rig, *, soft: int, hard: int) -> Process:
    process = await Process.start("run", "-c", str(rig.config), fresh=True, open_files=(soft, hard))
    rig.processes.append(process)
    return process


async def _call_and_say_nothing(address: str) -> list[asyncio.StreamWriter]:
    parts, writers = urlsplit(address), []
    for _ in range(_CALLERS):
        with suppress(OSError):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writers.append(writer)
    return writers


async def test_callers_never_take_the_descriptors_that_imports_need(rig: Rig) -> None:
    """With a shell's ``ulimit -n 40`` they did: no result came in for as long as they were there."""
    process = await _start(rig, soft=40, hard=_ENOUGH)
    await _completes_tasks_beside_callers(rig, process)
    assert "Too many open files" not in process.text


async def test_with_the_fewest_descriptors_results_come_in_all_the_same(rig: Rig) -> None:
    process = await _start(rig, soft=LEAST, hard=LEAST)
    await _completes_tasks_beside_callers(rig, process)
    assert set((await rig.statuses()).values()) == {"completed"}


async def _completes_tasks_beside_callers(rig: Rig, process: Process) -> None:
    await rig.is_ready(process)
    writers = [*await _call_and_say_nothing(rig.webhook), *await _call_and_say_nothing(rig.ops)]
    await rig.add(*[TaskType.ENCODING] * 4)
    async with asyncio.timeout(60):
        while set((await rig.statuses()).values()) != {"completed"}:
            await rig.look()
    for writer in writers:
        writer.close()


async def test_a_daemon_that_may_open_too_few_files_says_so_and_does_not_start(rig: Rig) -> None:
    """It started, and did nothing but tell, of one file after the other, that it could not be opened."""
    process = await _start(rig, soft=40, hard=LEAST - 1)
    assert await process.ended() == 2
    problem = (await process.event("config.invalid"))["problem"]
    assert problem == (
        f"This process may open {LEAST - 1} files at once and needs {LEAST}: raise LimitNOFILE= of its unit, "
        "or 'ulimit -n'."
    )

"""Killed daemons and lost databases: every task is completed all the same, and none twice."""

import asyncio
import random
import signal

from poddispatchd.domain.task import TaskType
from tests.acceptance.gate import Gate
from tests.acceptance.process import Process
from tests.acceptance.rig import SHORT_TERMS, Rig

_ALL = (TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)
_KILLS = 8


async def _completed(rig: Rig, daemon: Process, tasks: list[int]) -> None:
    for task in tasks:
        if (await rig.statuses())[task] != "completed":  # type: ignore[index]  # a plain number here
            await daemon.event("task.completed", task=task)


async def test_a_daemon_killed_again_and_again_completes_every_task_once(rig: Rig) -> None:
    seeded = random.Random(20260207)
    tasks = await rig.add(*_ALL, *_ALL, *_ALL, TaskType.ENCODING)
    for _ in range(_KILLS):
        daemon = await rig.start(constants=SHORT_TERMS)
        # A moment of the daemon's own choice, and a little later, between two of its lines.
        await daemon.lines(len(daemon.said) + seeded.randrange(12))
        await asyncio.sleep(seeded.uniform(0, 0.03))
        daemon.signal(signal.SIGKILL)
        assert await daemon.ended() == -signal.SIGKILL
        if set((await rig.statuses()).values()) == {"completed"}:
            tasks += await rig.add(*_ALL)

    daemon = await rig.start(constants=SHORT_TERMS)
    await _completed(rig, daemon, [int(task) for task in tasks])

    await rig.imported_once()


async def test_a_database_that_is_lost_under_load_costs_nothing_but_time(rig: Rig, gate: Gate) -> None:
    await gate.open()
    rig.use(gate.dsn)
    tasks = await rig.add(*_ALL, *_ALL)
    daemon = await rig.start()
    await daemon.event("import.started")

    await gate.shut()
    await daemon.event("database.down")
    status, _ = await rig.get("/health/ready")
    live, _ = await rig.get("/health/live")
    await gate.open()
    await _completed(rig, daemon, [int(task) for task in tasks])

    assert (status, live) == (503, 200)
    assert daemon.child.returncode is None
    assert "Traceback" not in daemon.text
    await rig.imported_once()


async def test_a_database_that_ends_all_sessions_is_found_again(rig: Rig) -> None:
    tasks = await rig.add(*_ALL, *_ALL)
    daemon = await rig.start()
    await daemon.event("task.submitted")

    # What every client hears when PostgreSQL is restarted.
    await rig.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await _completed(rig, daemon, [int(task) for task in tasks])

    assert "Traceback" not in daemon.text
    await rig.imported_once()

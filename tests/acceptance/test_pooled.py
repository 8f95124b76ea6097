"""The daemon behind PgBouncer: everything is done, by one scheduler at a time."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from chaos.pgbouncer import pgbouncer
from poddispatchd.domain.task import TaskType
from tests.acceptance.process import ANNOUNCED_WITHIN
from tests.acceptance.rig import Rig

_ALL = (TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)


async def _all_completed(rig: Rig) -> None:
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while set((await rig.statuses()).values()) != {"completed"}:  # noqa: ASYNC110 - any daemon's doing
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_tasks_of_every_type_are_completed_through_a_pooler(
    rig: Rig, tmp_path: Path, mode: str
) -> None:
    async with pgbouncer(rig.database.dsn, tmp_path, mode, default_pool_size=10) as bouncer:
        rig.use(bouncer.dsn)
        await rig.add(*_ALL, *_ALL)
        daemon = await rig.start()
        await _all_completed(rig)
        await rig.imported_once()
        assert len(rig.manager.tasks) == 6

        found = [entry for entry in daemon.entries if entry["event"] == "pooler.changed"]
        assert [entry["pooling"] for entry in found] == [mode]
        rig.set("ops", listen=rig.ops.removeprefix("http://"))
        status = await rig.run("status")
        assert (status.status, f"A pooler in {mode} mode" in status.out) == (0, True)
        assert f"A pooler in {mode} mode" in (await rig.run("check")).out
        assert f"A pooler in {mode} mode" in (await rig.get("/status"))[1]
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        assert "Traceback" not in daemon.text


async def test_two_connections_are_enough_for_everything(rig: Rig, tmp_path: Path) -> None:
    """A third one was asked for without end, and refused, while all tasks stood still."""
    async with pgbouncer(rig.database.dsn, tmp_path, "transaction", max_client_conn=2) as bouncer:
        rig.use(bouncer.dsn)
        await rig.add(*_ALL, *_ALL)
        daemon = await rig.start()
        await _all_completed(rig)
        await rig.imported_once()
        assert len(rig.manager.tasks) == 6
        retried = [str(entry["reason"]) for entry in daemon.entries if entry["event"] == "import.retried"]
        # Two recordings of one user may choose one name at the same moment: that has nothing to do with it.
        assert [reason for reason in retried if "has chosen the name" not in reason] == []


async def test_once_makes_its_pass_through_a_pooler_of_transactions(rig: Rig, tmp_path: Path) -> None:
    async with pgbouncer(rig.database.dsn, tmp_path, "transaction") as bouncer:
        rig.use(bouncer.dsn)
        await rig.add(TaskType.ENCODING, TaskType.STUDIO)
        outcome = await rig.run("once")
        assert outcome.status == 0, outcome.text
        assert len(rig.manager.tasks) == 2
        # Nobody has to wait for the end of its lease.
        assert "leader.acquired" in (await rig.run("once", "--verbose")).text


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_another_daemon_goes_on_when_the_scheduler_is_killed(
    rig: Rig, tmp_path: Path, mode: str
) -> None:
    async with pgbouncer(rig.database.dsn, tmp_path, mode, default_pool_size=14) as bouncer:
        rig.use(bouncer.dsn)
        leader = await rig.start()
        await leader.event("leader.acquired")
        standby = await rig.start()
        tasks = await rig.add(*_ALL, *_ALL, *_ALL)
        await leader.event("task.submitted")

        leader.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        await standby.event("leader.acquired", term=2)
        assert time.monotonic() - killed_at < 10

        await _all_completed(rig)
        await rig.imported_once()
        assert len(rig.manager.tasks) == len(tasks)
        assert "Traceback" not in standby.text


async def test_a_daemon_with_a_pooler_and_one_without_never_schedule_together(
    rig: Rig, tmp_path: Path
) -> None:
    async with pgbouncer(rig.database.dsn, tmp_path, "transaction") as bouncer:
        direct = await rig.start()
        await direct.event("leader.acquired")
        rig.use(bouncer.dsn)
        pooled = await rig.start()
        tasks = await rig.add(*_ALL, *_ALL)
        await direct.event("task.submitted")
        assert pooled.find("leader.acquired") is None

        direct.signal(signal.SIGKILL)
        await pooled.event("leader.acquired", term=2)
        await _all_completed(rig)
        await rig.imported_once()
        assert len(rig.manager.tasks) == len(tasks)

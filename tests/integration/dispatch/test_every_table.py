"""Whatever table refuses what a submission writes, or is held: there is one run, and its row says so."""

from contextlib import suppress
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.errors import DatabaseError
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.integration.pod.obstacles import SECRET, in_the_way, noted, rounds, with_obstacles
from tests.plugins.postgres import PodDatabase


async def _new(pod: Scene, kind: TaskType) -> TaskPk:
    match kind:
        case TaskType.ENCODING:
            return await pod.encoding()
        case TaskType.TRANSCRIPTION:
            return await pod.transcription()
        case _:
            return await pod.studio()


async def _settle(daemon: Daemon) -> None:
    with suppress(DatabaseError):  # the job meets it, and looks again
        await daemon.settle()


async def _runs_in_the_end(pod: Scene, daemon: Daemon, pk: TaskPk) -> None:
    for _ in range(5):
        daemon.clock.advance(61)
        await daemon.parts.locked_rows.step()
        await daemon.settle()
        if await pod.status(pk) == "running":
            return
    raise AssertionError(f"task {pk} is {await pod.status(pk)}")


@pytest.mark.slow
@pytest.mark.usefixtures("short_lock_waits")
@pytest.mark.parametrize(("kind", "first"), rounds(TaskType.ENCODING, TaskType.STUDIO))
async def test_whichever_table_cannot_be_written_a_task_runs_once_when_it_can_be(
    pod_database: PodDatabase, media_root: Path, kind: TaskType, first: int
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=99)) as pod:
        daemon = await pod.daemon()
        await _new(pod, kind)
        async with noted(pod_database) as tables:
            await daemon.settle()
        assert len(tables) > 3
        runs = 1
        for table, obstacle in with_obstacles(tables, first):
            pk = await _new(pod, kind)
            async with in_the_way(pod_database, table, obstacle):
                await _settle(daemon)
                assert await pod.status(pk) in ("pending", "running")
                assert SECRET not in str(await pod.row(pk))
            await _runs_in_the_end(pod, daemon, pk)
            runs += 1
            assert (table, len(pod.fakes["first"].tasks)) == (table, runs)
            [intent] = [entry for entry in await pod.journal(pk) if entry.task_id is not None]
            assert intent.task_id == (await pod.row(pk))["task_id"]

"""Whatever table refuses what a callback writes, or is held: it is applied once when it can be."""

from contextlib import suppress

import pytest

from poddispatchd.callbacks import inbox
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk
from poddispatchd.errors import DatabaseError
from tests.integration.callbacks.bench import Bench, bench
from tests.integration.callbacks.conftest import Pod
from tests.integration.pod import rows
from tests.integration.pod.obstacles import SECRET, in_the_way, noted


async def _reported(pod: Pod, number: int) -> TaskPk:
    """A running task whose failure has been told and not been applied yet."""
    task_id = f"run-{number}"
    task = await pod.running(task_id, video_id=await rows.video(pod.connection))
    callback = Callback(RunnerTaskId(task_id), RunnerStatus.FAILED, "ffmpeg crashed", "frame=1")
    await inbox.record(pod.connection, (pod.manager,), callback)
    return task


async def _apply(webhook: Bench) -> None:
    with suppress(DatabaseError):  # the queue itself: the job meets it, and looks again
        await webhook.inbox.step()


@pytest.mark.slow
@pytest.mark.usefixtures("short_lock_waits")
@pytest.mark.parametrize("obstacle", ["P0001", "53100", "held"])
async def test_whichever_table_cannot_be_written_a_failure_is_told_once_when_it_can_be(
    pod: Pod, obstacle: str
) -> None:
    async with bench(pod.database) as webhook:
        task = await _reported(pod, 0)
        async with noted(pod.database) as tables:
            await webhook.inbox.step()
        assert (await pod.row(task))["status"] == "failed"
        assert len(tables) > 3
        for number, table in enumerate(tables, 1):
            task = await _reported(pod, number)
            async with in_the_way(pod.database, table, obstacle):
                await _apply(webhook)
                was_in_the_way = (await pod.row(task))["status"] == "running"
                states = {state for task_id, state, _ in await pod.callbacks() if task_id == f"run-{number}"}
                assert states <= ({"open"} if was_in_the_way else {"open", "applied"})
            await pod.connection.execute(
                "UPDATE poddispatchd.callback SET next_attempt_at = now(), lease_owner = NULL,"
                " lease_expires_at = NULL WHERE state = 'open'"
            )
            await webhook.parts.locked_rows.step()
            await _apply(webhook)
            row = await pod.row(task)
            assert (table, row["status"]) == (table, "failed")
            assert str(row["script_output"]).count("ffmpeg crashed") == 1
            assert SECRET not in str(row)
            told = await pod.connection.fetchval(
                "SELECT count(*) FROM poddispatchd.notice WHERE task_pk = $1", task
            )
            assert (table, told) == (table, 1)

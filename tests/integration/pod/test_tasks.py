import pytest
from msgspec.structs import replace

from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskPk, TaskStatus, TaskType
from poddispatchd.pod import tasks
from tests.integration.pod.rows import (
    NOON,
    all_rows,
    later,
    manager,
    recording,
    site,
    task,
    video,
)
from tests.plugins.postgres import PodDatabase


async def _read(connection: Connection, pk: TaskPk) -> Task:
    found = await tasks.get_task(connection, pk)
    assert found is not None
    return found


async def _manager(connection: Connection, **values: object) -> ManagerId:
    return ManagerId(await manager(connection, await site(connection, "pod.example.org"), **values))


@pytest.mark.parametrize("change", ["status = 'failed'", "task_id = 'other'", "task_id = NULL"])
async def test_a_row_that_changed_meanwhile_is_left_alone(pod_database: PodDatabase, change: str) -> None:
    async with pod_database.connection() as connection:
        read = await _read(connection, await task(connection, status="running", task_id="t-1"))
        await connection.execute(f"UPDATE runner_manager_task SET {change}")
        before = await all_rows(connection, "runner_manager_task")
        assert not await tasks.finish(connection, read, TaskStatus.COMPLETED, "out")
        assert not await tasks.requeue(connection, read)
        assert not await tasks.write_output(connection, read, "out")
        assert before == await all_rows(connection, "runner_manager_task")


async def test_a_finished_task_keeps_its_output_unless_there_is_a_new_one(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        read = await _read(
            connection,
            await task(connection, status="running", task_id="t-1", script_output="so far", rank=4),
        )
        assert await tasks.finish(connection, read, TaskStatus.FAILED)
        failed = await _read(connection, read.pk)
        assert (failed.status, failed.script_output, failed.rank) == ("failed", "so far", None)
        # A manager can run an old failure again and succeed.
        assert await tasks.finish(connection, failed, TaskStatus.COMPLETED, "all of it")
        assert (await _read(connection, read.pk)).script_output == "all of it"


async def test_a_completed_task_is_never_reopened(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        done = await _read(connection, await task(connection, status="completed", task_id="t-1"))
        assert not await tasks.finish(connection, done, TaskStatus.FAILED, "late")
        assert not await tasks.requeue(connection, done)
        assert not await tasks.write_output(connection, done, "late")
        assert await _read(connection, done.pk) == done


async def test_a_requeued_task_waits_in_its_old_place_without_its_manager(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        rm = await _manager(connection)
        read = await _read(
            connection,
            await task(
                connection,
                status="running",
                task_id="t-1",
                runner_manager_id=rm,
                script_output="out",
                date_added=later(-5),
            ),
        )
        assert await tasks.requeue(connection, read)
        assert await _read(connection, read.pk) == replace(
            read, status="pending", task_id=None, runner_manager_id=None
        )


async def test_a_task_is_found_by_its_id_under_its_manager_unfinished_ones_first(
    pod_database: PodDatabase,
) -> None:
    async with pod_database.connection() as connection:
        mine, other = await _manager(connection), await _manager(connection)
        completed = await task(connection, status="completed", task_id="t", runner_manager_id=mine)
        running = await task(connection, status="running", task_id="t", runner_manager_id=mine)
        failed = await task(connection, status="failed", task_id="t", runner_manager_id=mine)
        await task(connection, status="running", task_id="t", runner_manager_id=other)
        await task(connection, status="running", task_id="T", runner_manager_id=mine)
        found = await tasks.find_tasks(connection, [mine], RunnerTaskId("t"))
        assert [row.pk for row in found] == [running, failed, completed]
        assert await tasks.find_tasks(connection, [], RunnerTaskId("t")) == []


async def test_unsettled_tasks_come_in_pages_with_their_manager_even_an_inactive_one(
    pod_database: PodDatabase,
) -> None:
    async with pod_database.connection() as connection:
        off = await _manager(connection, is_active=False)
        first = await task(connection, status="running", task_id="a", runner_manager_id=off)
        studio = await task(connection, "studio", "running")
        warning = await task(connection, status="warning", task_id="c", runner_manager_id=off)
        odd = await task(connection, task_id="d", runner_manager_id=off)
        await task(connection, task_id="")
        await task(connection, status="completed", task_id="e", runner_manager_id=off)

        page = await tasks.unsettled_tasks(connection, limit=3)
        rest = await tasks.unsettled_tasks(connection, after=page[-1].task.pk, limit=3)
        assert [row.task.pk for row in (*page, *rest)] == [first, studio, warning, odd]
        assert page[0].manager is not None
        assert (page[0].manager.id, page[0].manager.is_active) == (off, False)
        assert page[1].manager is None


async def test_tasks_are_listed_newest_first_and_by_status(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        a = await task(connection)
        b = await task(connection, "studio", "failed")
        c = await task(connection, status="failed", script_output="long")
        assert [row.pk for row in await tasks.list_tasks(connection)] == [c, b, a]
        assert [row.pk for row in await tasks.list_tasks(connection, statuses=["failed"], limit=1)] == [c]
        assert [row.pk for row in await tasks.list_tasks(connection, statuses=["failed"])] == [c, b]


async def test_a_restarted_task_begins_again_at_the_end_of_the_queue(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        rm = await _manager(connection)
        pk = await task(
            connection, status="failed", task_id="t", runner_manager_id=rm, script_output="x", rank=2
        )
        async with connection.transaction():
            assert await tasks.restart(connection, [pk]) == tasks.Restarted((pk,), {})
        again = await _read(connection, pk)
        assert (again.status, again.task_id, again.runner_manager_id) == ("pending", None, None)
        assert (again.rank, again.script_output) == (None, None)
        assert again.date_added > NOON


async def test_one_job_per_source_is_restarted(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        film, busy = await video(connection), await video(connection)
        old = await task(connection, status="failed", video_id=film)
        new = await task(connection, status="failed", video_id=film)
        subtitles = await task(connection, "transcription", "failed", video_id=film)
        room = await recording(connection)
        studio = await task(connection, "studio", "timeout", recording_id=room)
        waiting = await task(connection, video_id=busy)
        blocked = await task(connection, status="failed", video_id=busy)
        empty = await task(connection, status="failed", video_id=None)
        wanted = [old, new, subtitles, studio, blocked, empty, TaskPk(999_999)]
        async with connection.transaction():
            outcome = await tasks.restart(connection, wanted)
        assert outcome.tasks == (new, subtitles, studio)
        assert outcome.refused.keys() == {old, blocked, empty, 999_999}
        assert str(waiting) in outcome.refused[blocked]
        assert (await _read(connection, old)).status == "failed"


async def test_a_running_task_can_be_restarted_itself(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        pk = await task(connection, status="running", task_id="t")
        async with connection.transaction():
            assert (await tasks.restart(connection, [pk])).tasks == (pk,)


async def test_old_completed_tasks_are_purged_in_batches_and_nothing_else(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        for minutes in (0, 1, 2):
            await task(connection, status="completed", date_added=later(minutes))
        young = await task(connection, status="completed", date_added=later(60))
        failed = await task(connection, status="failed")
        after, purged = 0, []
        while (up_to := await tasks.next_window(connection, after, limit=2)) is not None:
            purged.append(
                await tasks.purge_completed(connection, added_before=later(30), after=after, up_to=up_to)
            )
            after = up_to
        assert purged == [2, 1, 0]
        assert [row["id"] for row in await all_rows(connection, "runner_manager_task")] == [young, failed]


async def test_a_task_of_an_unknown_type_is_seen_under_its_own_name(
    pod_database: PodDatabase,
) -> None:
    async with pod_database.connection() as connection:
        pk = await task(connection, "encoding", "running")
        await connection.execute("UPDATE runner_manager_task SET type = 'quiz'")
        found = await tasks.get_task(connection, pk)
        assert found is not None
        assert (found.type_name, found.result_type) == ("quiz", TaskType.ENCODING)
        assert [item.task.pk for item in await tasks.unsettled_tasks(connection)] == [pk]
        assert [item.pk for item in await tasks.list_tasks(connection)] == [pk]


async def test_of_a_very_long_output_only_both_ends_are_read(pod_database: PodDatabase) -> None:
    """Pod's webhook stores whatever a runner says: a row of 300 MB took more memory than the unit has."""
    async with pod_database.connection() as connection:
        pk = await task(connection, status="running", task_id="t-1", script_output="so far")
        await connection.execute(
            "UPDATE runner_manager_task SET script_output = 'begun' || repeat('é', 3000000) || 'ended'"
        )
        read = await _read(connection, pk)
        locked = await tasks.lock_task(connection, pk)
        assert locked is not None
        for found in (read, locked):
            assert found.script_output is not None
            assert len(found.script_output) < 2_100_000
            assert found.script_output.startswith("beguné")
            assert found.script_output.endswith("éended")

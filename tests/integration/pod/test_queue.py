from datetime import UTC, datetime, timedelta

import pytest

from poddispatchd.domain.task import (
    SUBMITTABLE,
    ManagerId,
    RunnerTaskId,
    SiteId,
    TaskPk,
    TaskStatus,
    TaskType,
)
from poddispatchd.pod import tasks
from poddispatchd.pod.queue_order import CandidateQuery, PriorityClass, pending_tasks, write_ranks
from poddispatchd.pod.queue_stats import queue_stats
from tests.integration.pod.rows import (
    NOON,
    all_rows,
    insert,
    later,
    manager,
    pod,
    recording,
    site,
    task,
    user,
    video,
)
from tests.plugins.postgres import PodDatabase


async def test_priority_users_come_first_and_students_last(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        student = await task(connection, video_id=await video(connection, await user(connection, "student")))
        employee = await task(connection, video_id=await video(connection))
        several = await task(
            connection, video_id=await video(connection, await user(connection, "['student', 'staff']"))
        )
        unknown = await task(connection, video_id=await video(connection, await user(connection, None)))
        first = await task(
            connection, video_id=await video(connection, await user(connection, "student", priority=True))
        )

        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=10))

        assert [first, employee, several, unknown, student] == [pending.task.pk for pending in queue]
        high, normal, low = PriorityClass.HIGH, PriorityClass.NORMAL, PriorityClass.LOW
        assert [high, normal, normal, normal, low] == [pending.priority for pending in queue]


async def test_a_studio_task_is_like_everyone_elses_even_of_a_priority_user(
    pod_database: PodDatabase,
) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        prio = await user(connection, priority=True)
        studio = await task(connection, "studio", recording_id=await recording(connection, user_id=prio))
        [pending] = await pending_tasks(database, capabilities, CandidateQuery(limit=10))
        assert (studio, PriorityClass.NORMAL) == (pending.task.pk, pending.priority)


async def test_the_older_task_comes_first_and_then_the_lower_id(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        second = await task(connection, date_added=later(1))
        third = await task(connection, date_added=later(1))
        first = await task(connection, date_added=NOON)
        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=10))
        assert [first, second, third] == [pending.task.pk for pending in queue]


async def test_without_a_table_of_priority_users_students_still_come_last(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        await connection.execute("DROP TABLE runner_manager_priority_user")
    async with pod(pod_database) as (database, capabilities, connection):
        student = await task(connection, video_id=await video(connection, await user(connection, "student")))
        employee = await task(connection)
        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=10))
        assert [employee, student] == [pending.task.pk for pending in queue]
        assert await write_ranks(database, capabilities) == 2


async def test_young_unwanted_and_skipped_tasks_do_not_use_up_the_limit(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        now = datetime.now(UTC)
        in_hand = await task(connection, date_added=now - timedelta(minutes=9))
        await task(connection, "transcription", date_added=now - timedelta(minutes=8))
        wanted = await task(connection, date_added=now - timedelta(minutes=7))
        await task(connection, date_added=now)
        queue = await pending_tasks(
            database,
            capabilities,
            CandidateQuery(limit=1, grace=300.0, types=[TaskType.ENCODING, TaskType.STUDIO], skip=[in_hand]),
        )
        assert [wanted] == [pending.task.pk for pending in queue]


async def test_a_task_from_a_far_future_is_not_taken_for_a_young_one(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        now = datetime.now(UTC)
        ahead = await task(connection, date_added=now + timedelta(minutes=10))
        young = await task(connection, date_added=now + timedelta(seconds=1))
        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=10, grace=30.0))
        assert [ahead, young] == [pending.task.pk for pending in queue]
        assert queue[0].grace_left == 0
        assert 30 < queue[1].grace_left <= 31


async def test_those_left_to_pod_stand_behind_all_others_and_tell_for_how_long(
    pod_database: PodDatabase,
) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        now = datetime.now(UTC)
        young = [await task(connection, date_added=now - timedelta(seconds=n)) for n in (10, 5)]
        ours = await task(connection, date_added=now)
        old = await task(connection, date_added=now - timedelta(minutes=1))
        query = CandidateQuery(limit=10, grace=30.0, ignore_grace=[ours])
        queue = await pending_tasks(database, capabilities, query)
        assert [old, ours, *young] == [pending.task.pk for pending in queue]
        assert [pending.grace_left for pending in queue] == pytest.approx([0, 0, 20, 25], abs=2)
        [first, _] = await pending_tasks(database, capabilities, CandidateQuery(limit=2, grace=30.0))
        assert first.task.pk == old


async def test_duplicates_of_one_source_point_at_the_first_of_them(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        film = await video(connection)
        second = await task(connection, video_id=film, date_added=later(1))
        first = await task(connection, video_id=film, date_added=later(0))
        subtitles = await task(connection, "transcription", video_id=film, date_added=later(2))
        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=10))
        assert [(first, None), (second, first), (subtitles, None)] == [
            (pending.task.pk, pending.is_duplicate_of) for pending in queue
        ]


async def test_one_that_is_held_is_left_out_until_it_is_restarted(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        held, other = [await task(connection, video_id=await video(connection)) for _ in range(2)]
        added = await connection.fetchval("SELECT date_added FROM runner_manager_task WHERE id = $1", held)
        holding = {TaskPk(held): added}
        before = await pending_tasks(database, capabilities, CandidateQuery(limit=10, held=holding))
        await connection.execute(
            "UPDATE runner_manager_task SET date_added = date_added + interval '1 s' WHERE id = $1", held
        )
        after = await pending_tasks(database, capabilities, CandidateQuery(limit=10, held=holding))
    assert [pending.task.pk for pending in before] == [other]
    assert [pending.task.pk for pending in after] == [other, held]


async def test_a_duplicate_is_known_even_when_the_first_is_not_on_the_page(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        film = await video(connection)
        first = await task(connection, video_id=film, date_added=later(0))
        await task(connection, video_id=film, date_added=later(1))
        [pending] = await pending_tasks(database, capabilities, CandidateQuery(limit=10, skip=[first]))
        assert pending.is_duplicate_of == first


async def test_tasks_without_a_source_are_no_duplicates_of_each_other(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        await task(connection, video_id=None)
        await task(connection, video_id=None)
        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=10))
        assert [pending.is_duplicate_of for pending in queue] == [None, None]


async def test_a_source_that_is_already_being_worked_on_is_known(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        film = await video(connection)
        running = await task(connection, status="running", video_id=film)
        await task(connection, status="completed", video_id=film)
        await task(connection, video_id=film)
        [pending] = await pending_tasks(database, capabilities, CandidateQuery(limit=10))
        assert (running, None) == (pending.running_duplicate, pending.is_duplicate_of)


async def test_tasks_can_be_chosen_by_site(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        here, there = await site(connection, "here.example"), await site(connection, "there.example")
        both = await video(connection)
        for place in (there, here):
            await insert(connection, "video_video_sites", video_id=both, site_id=place)
        elsewhere = await video(connection)
        await insert(connection, "video_video_sites", video_id=elsewhere, site_id=there)
        room = await recording(connection)
        recorder = await connection.fetchval("SELECT recorder_id FROM recorder_recording WHERE id = $1", room)
        await insert(connection, "recorder_recorder_sites", recorder_id=recorder, site_id=here)
        of_both = await task(connection, video_id=both, date_added=later(0))
        studio = await task(connection, "studio", recording_id=room, date_added=later(1))
        nowhere = await task(connection, date_added=later(2))
        of_there = await task(connection, video_id=elsewhere, date_added=later(3))

        async def chosen(sites: list[int] | None, with_siteless: bool = True) -> list[TaskPk]:
            wanted = None if sites is None else [SiteId(pk) for pk in sites]
            queue = await pending_tasks(
                database, capabilities, CandidateQuery(limit=10, sites=wanted, with_siteless=with_siteless)
            )
            return [pending.task.pk for pending in queue]

        assert await chosen(None) == [of_both, studio, nowhere, of_there]
        assert await chosen([here]) == [of_both, studio, nowhere]
        assert await chosen([there], with_siteless=False) == [of_both, of_there]
        [first, *_] = await pending_tasks(database, capabilities, CandidateQuery(limit=1))
        assert first.site_ids == tuple(sorted((here, there)))


async def test_ranks_are_written_where_they_change_and_cleared_elsewhere(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        await task(connection, rank=1, date_added=later(0))
        await task(connection, rank=7, date_added=later(1))
        await task(connection, status="completed", rank=3)
        await task(connection, status="running")
        assert await write_ranks(database, capabilities) == 2
        assert [row["rank"] for row in await all_rows(connection, "runner_manager_task")] == [
            1,
            2,
            None,
            None,
        ]
        assert await write_ranks(database, capabilities) == 0


async def test_a_glance_tells_whether_any_rank_was_touched(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        first, second = await task(connection), await task(connection)
        assert (await queue_stats(database)).ranks is None
        await write_ranks(database, capabilities)
        numbered = (await queue_stats(database)).ranks
        assert numbered is not None
        assert (await queue_stats(database)).ranks == numbered
        await connection.execute("UPDATE runner_manager_task SET rank = 3 - rank")
        assert (await queue_stats(database)).ranks not in (None, numbered)
        await connection.execute("UPDATE runner_manager_task SET status = 'running' WHERE id = $1", second)
        assert (await queue_stats(database)).ranks is None
        await connection.execute("DELETE FROM runner_manager_task WHERE id <> $1", first)
        assert (await queue_stats(database)).ranks not in (None, numbered)


async def test_a_row_that_someone_is_changing_neither_blocks_ranks_nor_gets_one(
    pod_database: PodDatabase,
) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        taken = await task(connection, date_added=later(0))
        other = await task(connection, date_added=later(1))
        async with connection.transaction():
            await connection.execute("UPDATE runner_manager_task SET status = 'running' WHERE id = $1", taken)
            assert await write_ranks(database, capabilities) == 1
        assert await write_ranks(database, capabilities) == 1
        ranks = {row["id"]: row["rank"] for row in await all_rows(connection, "runner_manager_task")}
        assert ranks == {taken: None, other: 1}


async def test_a_glance_counts_tasks_and_finds_the_oldest_that_waits(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, _, connection):
        await task(connection, date_added=later(5))
        await task(connection, date_added=later(3))
        await task(connection, status="running", date_added=later(1))
        await task(connection, "studio", "failed")
        seen = await queue_stats(database)
        assert seen.count(TaskType.ENCODING, TaskStatus.PENDING) == 2
        assert seen.count(TaskType.ENCODING, TaskStatus.RUNNING) == 1
        assert seen.count(TaskType.STUDIO, TaskStatus.PENDING) == 0
        assert seen.oldest_pending == {"encoding": later(3)}


@pytest.mark.parametrize("type_", SUBMITTABLE)
async def test_a_pending_task_tells_its_age_and_carries_its_row(
    pod_database: PodDatabase, type_: TaskType
) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        pk = await task(connection, type_)
        await connection.execute("UPDATE runner_manager_task SET date_added = now() - interval '90 s'")
        [pending] = await pending_tasks(database, capabilities, CandidateQuery(limit=10))
        assert (pk, type_, "pending") == (pending.task.pk, pending.task.type, pending.task.status)
        assert 90 <= pending.age < 150


async def test_a_pod_whose_ids_are_plain_integers_is_served_too(pod_database: PodDatabase) -> None:
    async with pod_database.connection() as connection:
        await connection.execute(
            """
            ALTER TABLE runner_manager_task
                ALTER id TYPE integer, ALTER video_id TYPE integer, ALTER recording_id TYPE integer,
                ALTER runner_manager_id TYPE integer;
            ALTER TABLE runner_manager ALTER id TYPE integer;
            ALTER TABLE video_video_sites ALTER video_id TYPE integer;
            """
        )
    async with pod(pod_database) as (database, capabilities, connection):
        here = await site(connection, "here.example")
        film = await video(connection)
        await insert(connection, "video_video_sites", video_id=film, site_id=here)
        first = await task(connection, video_id=film)
        rm = ManagerId(await manager(connection, here))
        [pending] = await pending_tasks(
            database, capabilities, CandidateQuery(limit=5, sites=[SiteId(here)], skip=[TaskPk(0)])
        )
        assert (pending.task.pk, pending.site_ids) == (first, (here,))
        assert await write_ranks(database, capabilities) == 1
        await connection.execute(
            "UPDATE runner_manager_task SET status = 'running', runner_manager_id = $1, task_id = 't'",
            rm,
        )
        [found] = await tasks.find_tasks(connection, [rm], RunnerTaskId("t"))
        [unsettled] = await tasks.unsettled_tasks(connection)
        assert found.pk == unsettled.task.pk == first
        assert await tasks.requeue(connection, found)
        async with connection.transaction():
            assert (await tasks.restart(connection, [first])).tasks == (first,)
        assert await tasks.list_tasks(connection)
        assert await tasks.purge_completed(connection, added_before=later(0)) == 0


async def test_a_glance_that_leaves_out_the_past_sees_every_change_of_what_is_open(
    pod_database: PodDatabase,
) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        await task(connection, status="completed")
        first, ranked = await task(connection), await task(connection, "studio")
        await write_ranks(database, capabilities)
        before = await queue_stats(database)
        assert await queue_stats(database, past=before) == before
        await connection.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", ranked)
        seen = await queue_stats(database, past=before)
        assert seen.ranks is None
        assert seen.count(TaskType.STUDIO, TaskStatus.PENDING) == 0
        await connection.execute("UPDATE runner_manager_task SET status = 'running' WHERE id = $1", first)
        seen = await queue_stats(database, past=before)
        assert (seen.count(TaskType.ENCODING, TaskStatus.RUNNING), seen.oldest_pending) == (1, {})
        assert seen.count(TaskType.ENCODING, TaskStatus.COMPLETED) == 1
        assert (await queue_stats(database)).count(TaskType.STUDIO, TaskStatus.COMPLETED) == 1

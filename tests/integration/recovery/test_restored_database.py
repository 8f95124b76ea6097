"""Pod's database is put back from last night's backup; the journal in it is as old, the files are not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox.fake_runner_manager import Mode
from poddispatchd.sandbox.pod.world import SampleVideo, add_task
from poddispatchd.sandbox.postgresql import PostgresServer
from poddispatchd.tasks.restored import done_before
from tests.integration.imports.bench import Bench, bench, daemon_parts, settings_of
from tests.plugins.postgres import PodDatabase, cloned_database


async def _submit(here: Bench) -> None:
    """Submit what waits, as far as there are free runners."""
    await here.execute("UPDATE poddispatchd.leader SET term = $1", here.parts.session.term)
    dispatcher = features.dispatcher(here.parts)
    for _ in range(4):
        await dispatcher.step()
        await dispatcher.drain()
    await dispatcher.stop(0)


async def _pending(here: Bench, video: SampleVideo) -> TaskPk:
    async with here.pod.connection() as connection:
        return await add_task(connection, TaskType.ENCODING, video=video)


@asynccontextmanager
async def _backup(here: Bench, postgres: PostgresServer) -> AsyncIterator[PodDatabase]:
    """The database as it is now, every schema of it."""
    await here.parts.database.close()
    await here.pod.let_go()
    async with cloned_database(postgres, here.pod.name, here.pod.variant) as copy:
        await here.parts.database.open()
        yield copy


@asynccontextmanager
async def _restored(here: Bench, backup: PodDatabase) -> AsyncIterator[Bench]:
    """A daemon on the backup, the same media tree and the same manager."""
    settings = settings_of(backup.dsn, here.world.media_root, backup.variant, {})
    async with daemon_parts(settings, here.clock) as parts:
        yield replace(here, pod=backup, parts=parts)


async def test_nothing_that_the_manager_can_still_tell_of_is_run_twice_and_nothing_watchable_is_lost(
    pod_database: PodDatabase, media_root: Path, postgres: PostgresServer
) -> None:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as here:
        running = await here.running()
        video = await here.video(title="Done since")
        done_since = await _pending(here, video)
        in_flight = await _pending(here, await here.video(title="In flight"))
        async with _backup(here, postgres) as backup:
            # The day after the backup: one ends, one is done from its beginning to its end, one has begun.
            await _submit(here)
            for task in (running, done_since):
                await here.end(task)
            await features.reconciler(here.parts).step()
            await here.import_due()
            assert [await here.status(task) for task in (running, done_since, in_flight)] == [
                "completed",
                "completed",
                "running",
            ]
            runs, flying = set(here.fake.tasks), await here.of(in_flight, "task_id")
            assert await done_before(here.parts.database, here.parts.media) == []
            watchable = {name: content for name, content in here.files().items() if name.endswith(".mp4")}
            async with _restored(here, backup) as after:
                assert [await after.status(task) for task in (running, done_since, in_flight)] == [
                    "running",
                    "pending",
                    "pending",
                ]
                # What must be run again is said.
                assert await done_before(after.parts.database, after.parts.media) == [done_since]
                await features.reconciler(after.parts).step()
                await after.import_due()
                await _submit(after)
                # What was running at the backup is imported from its manager; what runs is taken up.
                assert await after.status(running) == "completed"
                assert await after.of(in_flight, "task_id") == flying
                # What was pending then and is over by now must run again: it is one run, and no file goes.
                [again] = set(here.fake.tasks) - runs
                assert await after.of(done_since, "task_id") == again
                assert {name: after.files()[name] for name in watchable} == watchable
                for task in (in_flight, done_since):
                    await after.end(task)
                after.clock.ahead += 600
                await features.reconciler(after.parts).step()
                await after.import_due()
                assert [await after.status(task) for task in (done_since, in_flight)] == ["completed"] * 2
                encodings = "SELECT count(DISTINCT video_id) FROM video_encode_transcript_encodingvideo"
                assert await after.value(encodings) == 3
                assert watchable.keys() <= after.files().keys()


async def test_a_task_that_was_restarted_or_whose_result_was_spoilt_says_nothing_of_a_backup(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as here:
        restarted, spoilt = await here.ready(), await here.ready()
        await here.import_due()
        await here.execute(
            "UPDATE runner_manager_task SET status = 'pending', date_added = now() + interval '1 second'"
            " WHERE id = $1",
            restarted,
        )
        await here.execute("DELETE FROM poddispatchd.import WHERE task_pk = $1", restarted)
        await here.execute("UPDATE runner_manager_task SET status = 'pending' WHERE id = $1", spoilt)
        assert await done_before(here.parts.database, here.parts.media) == []

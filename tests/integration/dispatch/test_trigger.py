"""The optional trigger: what it announces, and what it costs those who change many rows."""

import asyncio
from pathlib import Path

import asyncpg

from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.pod import trigger
from poddispatchd.pod.queue_order import write_ranks
from poddispatchd.runtime.database_session import CHANNEL
from poddispatchd.runtime.jobs import Loop
from poddispatchd.runtime.supervisor import JobContext, Pulse, cancel_surely, run_job
from poddispatchd.sandbox.pod.world import add_video
from tests.integration.dispatch.scene import scene
from tests.integration.pod.rows import opened, pod, task
from tests.plugins.postgres import PodDatabase


async def _is_installed(database: Database) -> bool:
    rows = await database.fetch(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'runner_manager_task'::regclass AND tgenabled <> 'D'"
    )
    return {"poddispatchd_task_added", "poddispatchd_task_pending"} <= {row["tgname"] for row in rows}


class _Listener:
    """Counts the notifications that arrive."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.heard = 0

    def _hear(self, *_: object) -> None:
        self.heard += 1

    async def count(self) -> int:
        """How many came since the last question; what was sent before is here after one round trip."""
        await self._connection.execute("SELECT 1")
        heard, self.heard = self.heard, 0
        return heard

    async def start(self) -> None:
        await self._connection.add_listener(CHANNEL, self._hear)


async def test_new_tasks_and_those_pending_again_are_announced_and_nothing_else(
    pod_database: PodDatabase,
) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        await migration.upgrade(database)
        await trigger.install(database)
        await trigger.install(database)
        assert await _is_installed(database)
        async with pod_database.connection() as other:
            listener = _Listener(other)
            await listener.start()
            pk = await task(connection)
            assert await listener.count() == 1
            await write_ranks(database, capabilities)
            await connection.execute("UPDATE runner_manager_task SET status = 'running' WHERE id = $1", pk)
            await connection.execute("UPDATE runner_manager_task SET script_output = 'x'")
            assert await listener.count() == 0
            await connection.execute("UPDATE runner_manager_task SET status = 'pending' WHERE id = $1", pk)
            assert await listener.count() == 1
            await connection.execute("UPDATE runner_manager_task SET status = 'pending' WHERE id = $1", pk)
            assert await listener.count() == 0


async def test_ten_thousand_tasks_in_one_transaction_are_one_announcement(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, _, connection):
        await migration.upgrade(database)
        await trigger.install(database)
        async with pod_database.connection() as other:
            listener = _Listener(other)
            await listener.start()
            await connection.execute(
                "INSERT INTO runner_manager_task (type, status, date_added)"
                " SELECT 'encoding', 'pending', now() FROM generate_series(1, 10000)"
            )
            assert await listener.count() == 1
            async with connection.transaction():
                await connection.execute("UPDATE runner_manager_task SET status = 'running'")
                await connection.execute("UPDATE runner_manager_task SET status = 'pending'")
            assert await listener.count() == 1


async def test_it_is_removed_without_a_trace(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, _, connection):
        await migration.upgrade(database)
        before = await connection.fetchval("SELECT count(*) FROM pg_trigger")
        await trigger.install(database)
        await trigger.remove(database)
        await trigger.remove(database)
        assert not await _is_installed(database)
        assert await connection.fetchval("SELECT count(*) FROM pg_trigger") == before
        await task(connection)


async def test_the_printed_sql_is_what_is_run(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        await connection.execute(trigger.install_script())
        assert await _is_installed(database)
        await connection.execute(trigger.remove_script())
        assert not await _is_installed(database)


async def test_the_advised_index_is_used_for_the_queue(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, _, connection):
        await connection.execute(
            "INSERT INTO runner_manager_task (type, status, date_added)"
            " SELECT 'encoding', CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'completed' END, now()"
            "   FROM generate_series(1, 20000) AS n"
        )
        assert not (await trigger.facts(database)).has_index
        await connection.execute(trigger.INDEX_SQL)
        await connection.execute("VACUUM ANALYZE runner_manager_task")
        facts = await trigger.facts(database)
        assert (facts.tasks, facts.unfinished, facts.has_index) == (20000, 200, True)
        plan = "\n".join(
            row[0]
            for row in await connection.fetch(
                "EXPLAIN SELECT id, type, date_added, video_id, recording_id FROM runner_manager_task"
                " WHERE status = 'pending'"
            )
        )
        assert "poddispatchd_unfinished" in plan


async def test_an_announced_task_is_submitted_without_waiting_for_the_poll(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as world:
        daemon = await world.daemon()
        await trigger.install(daemon.parts.database)
        await daemon.settle()
        wake = daemon.parts.wakeups.dispatcher
        while await wake.wait(0.05):
            await daemon.settle()
        [pk] = await world.encodings(1)
        async with asyncio.timeout(5):
            assert await wake.wait(None)
        await daemon.settle()
        assert await world.status(pk) == "running"


async def test_ten_thousand_tasks_added_one_by_one_while_the_queue_is_looked_at_cost_a_few_looks(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as world:
        daemon = await world.daemon()
        parts = daemon.parts
        await trigger.install(parts.database)
        one = (await add_video(world.connection, world.world)).id
        await world.connection.execute(
            f"""INSERT INTO video_video
                SELECT (jsonb_populate_record(one, jsonb_build_object('id', one.id + n, 'slug', n::text))).*
                  FROM video_video AS one, generate_series(1, 10000) AS n WHERE one.id = {one}"""
        )
        looks, is_looking, go_on, is_done = 0, asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def look() -> float:
            nonlocal looks
            looks += 1
            is_looking.set()
            await go_on.wait()
            if not is_done.is_set():
                await daemon.settle()
                if (await world.statuses()).get("running"):
                    is_done.set()
            return 600.0

        wake = parts.wakeups.dispatcher
        job = asyncio.create_task(
            run_job(
                Loop("dispatcher", look, wake),
                JobContext(parts.session, parts.clock, Pulse(parts.clock), parts.incidents),
            )
        )
        try:
            async with asyncio.timeout(60):
                await is_looking.wait()
                rings = wake.rings
                await world.connection.execute(
                    f"""DO $$ BEGIN FOR n IN 1..10000 LOOP
                        INSERT INTO runner_manager_task (type, status, date_added, video_id)
                        VALUES ('encoding', 'pending', now() - interval '1 hour', {one} + n);
                        COMMIT;
                    END LOOP; END $$"""
                )
                while wake.rings < rings + 10_000:
                    await world.connection.execute("SELECT 1")
                go_on.set()
                await is_done.wait()
                seen = 0
                while seen < looks:
                    seen = looks
                    await asyncio.sleep(0.05)
        finally:
            await cancel_surely(job)
        assert looks < 10

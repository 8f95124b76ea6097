"""What one look at a very long queue costs: a million finished tasks, a hundred thousand that wait."""

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from benchmarks.pod import database
from benchmarks.report import Figure
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import SiteId
from poddispatchd.pod import queue_order, trigger
from poddispatchd.pod.capabilities import introspect
from poddispatchd.sandbox.pod.seed import seed_world
from poddispatchd.sandbox.pod.world import add_video
from poddispatchd.sandbox.postgresql import PostgresServer

_FINISHED = 1_000_000
_PENDING = 100_000
_VIDEOS = 100_000


async def long_queue() -> list[Figure]:
    """With and without the index that ``db advise-index`` proposes."""
    with PostgresServer(settings={"shared_buffers": "256MB"}) as server:
        address = await database(server)
        connection = await asyncpg.connect(address)
        pool = Database(SecretStr(address))
        await pool.open()
        try:
            with tempfile.TemporaryDirectory(prefix="poddispatchd-bench-") as folder:
                await _fill(connection, Path(folder) / "media")
            capabilities = await introspect(pool)

            async def look() -> object:
                return await queue_order.pending_tasks(
                    pool, capabilities, queue_order.CandidateQuery(limit=20)
                )

            async def look_at_a_site() -> object:
                return await queue_order.pending_tasks(
                    pool, capabilities, queue_order.CandidateQuery(limit=20, sites=[SiteId(1)])
                )

            past = await queue_order.queue_stats(pool)

            async def count_all() -> object:
                return await queue_order.queue_stats(pool)

            async def count() -> object:
                return await queue_order.queue_stats(pool, past=past)

            async def compare() -> object:
                return await queue_order.wrong_ranks(pool, capabilities, limit=1)

            async def number() -> object:
                return await queue_order.write_ranks(pool, capabilities)

            async def measured(which: str) -> list[Figure]:
                look_, count_, compare_ = [await _median(part) for part in (look, count, compare)]
                return [
                    Figure(f"one look at the queue, {which}", look_, "ms", 300),
                    Figure(f"one for some sites only, {which}", await _median(look_at_a_site), "ms", 300),
                    Figure(f"open tasks counted, ranks seen to be untouched, {which}", count_, "ms"),
                    Figure(f"a whole pass: one look, ranks untouched, {which}", look_ + count_, "ms", 300),
                    Figure(f"every task counted, {which}", await _median(count_all), "ms", 300),
                    Figure(f"every rank compared with the order, {which}", compare_, "ms", 300),
                    Figure(f"ranks written though nothing changed, {which}", await _median(number), "ms"),
                ]

            figures = [Figure("ranks of 100,000 tasks written for the first time", await _once(number), "ms")]
            await connection.execute("VACUUM ANALYZE runner_manager_task")
            figures += await measured("no index")
            await connection.execute(trigger.INDEX_SQL)
            await connection.execute("VACUUM ANALYZE runner_manager_task")
            figures += await measured("advised index")
        finally:
            await connection.close()
            await pool.close()
    return figures


async def _median(action: Callable[[], Awaitable[object]], times: int = 9) -> float:
    return statistics.median([await _once(action) for _ in range(times)])


async def _once(action: Callable[[], Awaitable[object]]) -> float:
    begun = time.monotonic()
    await action()
    return (time.monotonic() - begun) * 1000


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]", media_root: Path) -> None:
    """A hundred thousand videos of all kinds of people, ten tasks a video over two years, one that waits."""
    world = await seed_world(connection, media_root, videos=False)
    one = await add_video(connection, world)
    await connection.execute(
        f"""
        SET session_replication_role = replica;
        INSERT INTO video_video
        SELECT (jsonb_populate_record(one, jsonb_build_object(
                    'id', one.id + n, 'slug', n || '-lecture', 'video', 'videos/' || n || '.mp4',
                    'owner_id', people.ids[1 + n % cardinality(people.ids)]))).*
          FROM video_video AS one, generate_series(1, {_VIDEOS}) AS n,
               (SELECT array_agg(id) AS ids FROM auth_user) AS people
         WHERE one.id = {one.id};
        INSERT INTO video_video_sites (video_id, site_id)
        SELECT id, 1 + id % 2 FROM video_video WHERE id > {one.id};
        INSERT INTO runner_manager_task (type, status, task_id, date_added, runner_manager_id, video_id,
                                         script_output)
        SELECT 'encoding', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END,
               '3f2b6f3e-7f0c-4f47-8a4c-' || lpad(n::text, 12, '0'),
               now() - n * interval '1 minute', 1 + n % 100, {one.id} + 1 + n % {_VIDEOS}, repeat('x', 200)
          FROM generate_series(1, {_FINISHED}) AS n;
        INSERT INTO runner_manager_task (type, status, date_added, video_id)
        SELECT 'encoding', 'pending', now() - n * interval '1 second', {one.id} + n
          FROM generate_series(1, {_PENDING}) AS n;
        ANALYZE
        """
    )

"""How many tasks a second reach runner managers."""

import asyncio
import time

import aiohttp
import asyncpg

from benchmarks.manager import Managers, Spec, managers, token
from benchmarks.sizes import Size
from benchmarks.system import System, system
from benchmarks.table import Figure, beside

_INSTANT = 4
_ANSWER = 0.2
"""Seconds that a manager takes to answer, which asks its runners first."""

_WITHIN = 180.0


async def instant_managers(size: Size) -> list[Figure]:
    """Pending tasks to managers that answer at once, beside posts of the same bytes with one UPDATE each."""
    tasks = size.of(300, 1000, 1000)
    async with managers([Spec()] * _INSTANT) as fakes, system(fakes.ports) as pod:
        daemon = await pod.start()
        await _submitted(pod, await pod.add_videos(100))  # warms up
        await pod.connection.execute("CREATE TABLE bench_task (LIKE runner_manager_task INCLUDING ALL)")
        rates, processor, statements = [], [], []
        for _ in range(size.rounds):
            videos = await pod.add_videos(tasks)
            used, made = daemon.cpu, await pod.statements()
            ours = tasks / await _submitted(pod, videos)
            processor.append(1000 * (daemon.cpu - used) / tasks)
            statements.append((await pod.statements() - made) / tasks)
            rates.append((ours, tasks / await _bare(pod, fakes, tasks)))
    return [
        beside(
            f"{tasks} tasks to {_INSTANT} managers that answer at once",
            "tasks/s",
            rates,
            limit=size.of(0.15, 0.18, 0.18),
            reach=0.3,
        ),
        Figure("… processor time of the daemon for each", "ms", sorted(processor)[len(processor) // 2]),
        Figure(
            "… statements for each",
            "",
            sorted(statements)[len(statements) // 2],
            limit=7,
            reach=12,
            at_least=False,
        ),
    ]


async def slow_managers(size: Size) -> list[Figure]:
    """Twenty managers that answer after 200 ms, beside twenty that are never kept waiting."""
    count, tasks = 20, size.of(100, 400, 1000)
    async with managers([Spec(delay=_ANSWER)] * count) as fakes, system(fakes.ports) as pod:
        await pod.start()
        await _submitted(pod, await pod.add_videos(count))
        rates = []
        for _ in range(size.rounds):
            videos = await pod.add_videos(tasks)
            rates.append((tasks / await _submitted(pod, videos), count / _ANSWER))
    name = f"{tasks} tasks to {count} managers that answer in 200 ms"
    # The first tasks find managers that are to show first that they take several: few tasks show little more.
    return [beside(name, "tasks/s", rates, limit=size.of(0.7, 0.91, 0.91), reach=0.95)]


async def long_queue(size: Size) -> list[Figure]:
    """Two managers that answer after 200 ms, a queue of 100,000 and a history of 500,000."""
    pending, finished = size.of((2_000, 10_000), (100_000, 500_000), (100_000, 500_000))
    seconds = size.of(1.0, 10.0, 20.0)
    async with managers([Spec(delay=_ANSWER)] * 2) as fakes, system(fakes.ports) as pod:
        await pod.connection.execute("SET session_replication_role = replica")
        await pod.add_videos(pending)
        await pod.add_finished(finished)
        await pod.add_pending(pod.videos)
        await pod.connection.execute("VACUUM ANALYZE")
        daemon = await pod.start()
        await fakes.until(lambda: len(fakes.posts) >= size.of(5, 20, 20), seconds=_WITHIN)
        rates = []
        for _ in range(size.rounds):
            before = len(fakes.posts)
            await asyncio.sleep(seconds)
            rates.append(((len(fakes.posts) - before) / seconds, 2 / _ANSWER))
        memory = daemon.peak_memory
    name = f"2 such managers, {pending:,} tasks waiting, {finished:,} ended"
    return [
        beside(name, "tasks/s", rates, limit=size.of(0.7, 0.92, 0.92), reach=0.95),
        Figure("… the most memory of the daemon", "MiB", memory, limit=80, reach=90, at_least=False),
    ]


async def _submitted(pod: System, videos: list[int]) -> float:
    """Seconds from the commit of so many tasks until all of them are with a manager, and stored."""
    begun = await pod.add_pending(videos)
    return await pod.until_none("pending", seconds=_WITHIN) - begun


async def _bare(pod: System, fakes: Managers, tasks: int) -> float:
    """Seconds for as many posts of such bytes, one after the other at each manager, each with its UPDATE."""
    rows = await pod.connection.fetch(
        "WITH made AS (INSERT INTO bench_task SELECT * FROM runner_manager_task ORDER BY id DESC LIMIT $1"
        " ON CONFLICT DO NOTHING)"
        " SELECT task_pk, body FROM poddispatchd.submission ORDER BY id DESC LIMIT $1",
        tasks,
    )
    await pod.connection.execute("UPDATE bench_task SET status = 'pending', task_id = NULL")
    waiting = iter(rows)
    headers = {"Content-Type": "application/json"}
    async with (
        asyncpg.create_pool(pod.dsn, min_size=_INSTANT, max_size=_INSTANT) as pool,
        aiohttp.ClientSession(headers=headers) as session,
    ):

        async def manager(number: int, port: int) -> None:
            url = f"http://127.0.0.1:{port}/task/execute"
            authorization = {"Authorization": f"Bearer {token(number)}"}
            for row in waiting:
                async with session.post(url, data=row["body"], headers=authorization) as answer:
                    accepted = await answer.json()
                await pool.execute(
                    "/* benchmark: */ UPDATE bench_task SET status = 'running', task_id = $2"
                    " WHERE id = $1 AND status = 'pending' AND task_id IS NULL",
                    row["task_pk"],
                    accepted["task_id"],
                )

        begun = time.monotonic()
        await asyncio.gather(*(manager(number, port) for number, port in enumerate(fakes.ports)))
        return time.monotonic() - begun

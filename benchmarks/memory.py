"""The most memory that the daemon takes when much comes at once."""

import asyncio
import time
from collections import Counter

from benchmarks.manager import Spec, callback, managers, token
from benchmarks.results import large_film
from benchmarks.sizes import Size
from benchmarks.system import System, system
from benchmarks.table import Figure
from poddispatchd.journal.history import MOST_RUNS

_WITHIN = 600.0


async def large_imports(size: Size) -> list[Figure]:
    """Four imports of 2 GiB each at once."""
    length, at_once = size.of(2**27, 2**29, 2**31), 4
    with large_film(length) as result:
        settings = {"imports": {"concurrency": at_once}}
        async with managers([Spec()], result=result) as fakes, system(fakes.ports, settings=settings) as pod:
            daemon = await pod.start()
            ids = await pod.add_running(await pod.add_videos(at_once))
            answers = await _call(pod, [callback(token(0), task_id) for task_id in ids], clients=at_once)
            assert answers == {b"200": at_once}, answers
            await pod.until_none("running", seconds=_WITHIN)
            peak = daemon.peak_memory
    name = f"most memory: {at_once} imports of {length / 2**30:g} GiB at once"
    return [Figure(name, "MiB", peak, limit=90, reach=120, at_least=False)]


async def large_callbacks(size: Size) -> list[Figure]:
    """A thousand callbacks of 1 MiB at once, from ten managers; those that are sent away come again later."""
    count, clients, signers = size.of(20, 1000, 1000), size.of(10, 100, 100), 10
    async with managers([Spec()] * signers) as fakes, system(fakes.ports) as pod:
        daemon = await pod.start()
        ids = await pod.add_running(await pod.add_videos(count))
        for number in range(signers):
            await pod.connection.execute(
                "/* benchmark: */ UPDATE runner_manager_task SET runner_manager_id = $1 WHERE id % $2 = $3",
                pod.world.managers[number].id,
                signers,
                number,
            )
        rows = await pod.connection.fetch("SELECT task_id, id FROM runner_manager_task")
        owner = {row["task_id"]: row["id"] % signers for row in rows}
        output = "x" * 2**20
        requests = [callback(token(owner[each]), each, status="running", output=output) for each in ids]
        daemon.forget_peak()
        begun = time.monotonic()
        answers = await _call(pod, requests, clients=clients)
        seconds = time.monotonic() - begun
        peak = daemon.peak_memory
    taken = answers.pop(b"200", 0)
    assert answers.keys() <= {b"503", b"429"}, answers
    return [
        Figure(
            f"most memory: {count} callbacks of 1 MiB, {clients} at a time",
            "MiB",
            peak,
            limit=300,
            reach=250,
            at_least=False,
        ),
        Figure("… taken; the others are told to call again", "", taken),
        Figure("… within", "s", seconds),
    ]


async def journal_size(size: Size) -> list[Figure]:
    """What the daemon keeps in the database about the past of a Pod, at its first start, and of its queue."""
    pending, finished = size.of((1_000, 10_000), (10_000, 100_000), (100_000, 1_000_000))
    async with managers([Spec(delay=30.0)]) as fakes, system(fakes.ports) as pod:
        await pod.connection.execute("SET session_replication_role = replica")
        await pod.add_videos(pending, with_files=False)
        await pod.add_finished(finished)
        await pod.add_pending(pod.videos)
        daemon = await pod.start()
        async with asyncio.timeout(_WITHIN):
            while not await pod.connection.fetchval("SELECT EXISTS (SELECT FROM poddispatchd.day_of_tasks)"):  # noqa: ASYNC110 - the daemon fills it
                await asyncio.sleep(0.1)
        # Runs one by one, as many as are kept at all.
        await pod.connection.execute(
            "INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, runner_manager_id, owner_id,"
            " priority, waited, ran, source_seconds, source_bytes, ended_at)"
            " SELECT n, 'encoding', 'completed', 1, n, 1, n, n, n, n, now() - n * interval '1 minute'"
            " FROM generate_series(1, $1) AS n",
            MOST_RUNS,
        )
        kept = await pod.connection.fetchval(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            " WHERE relnamespace = 'poddispatchd'::regnamespace AND relkind = 'r'"
        )
        peak = daemon.peak_memory
    return [
        Figure(
            f"the journal of {finished:,} ended and {pending:,} waiting tasks",
            "MiB",
            float(kept) / 2**20,
            limit=50,
            reach=50,
            at_least=False,
        ),
        Figure("… the most memory of the daemon", "MiB", peak, limit=80, reach=90, at_least=False),
    ]


async def _call(pod: System, requests: list[bytes], *, clients: int) -> Counter[bytes]:
    """How the daemon answered, by status."""
    waiting = iter(requests)
    answers: Counter[bytes] = Counter()

    async def client() -> None:
        for request in waiting:
            reader, writer = await asyncio.open_connection("127.0.0.1", pod.webhook)
            writer.write(request)
            answer = await reader.readline()
            answers[answer[9:12]] += 1
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers

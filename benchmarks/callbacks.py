"""How many callbacks a second are committed and answered, and how long the slowest wait."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import count, zip_longest

import asyncpg
from aiohttp import web

from benchmarks.manager import Event, Spec, callback, managers, token
from benchmarks.sizes import Size
from benchmarks.system import System, system
from benchmarks.table import Figure, beside, percentile

_CLIENTS = {1: (0.45, 0.7, 3.0), 8: (0.45, 0.9, 3.0), 32: (0.8, 1.2, 1.4)}
"""Clients at once, with the limit and the reach of the ratio, and the limit of that of the p99."""

_MANAGERS = 8
"""One alone would have used up what a manager may have recorded within the first half minute."""

_WITHIN = 60.0
_PATH = "/runner/notify_task_end/"


async def callbacks(size: Size) -> list[Figure]:
    """Clients that keep their connections, beside a handler of aiohttp with one SELECT and one INSERT."""
    seconds, warming = size.of(0.5, 2.0, 4.0), size.of(0.2, 1.0, 1.0)
    figures = []
    async with managers([Spec()] * _MANAGERS) as fakes, system(fakes.ports) as pod:
        await pod.start()
        await pod.add_pending(await pod.add_videos(64))
        await pod.until_none("pending", seconds=_WITHIN)
        posts = _in_turns(fakes.posts)
        await pod.connection.execute(
            "CREATE TABLE bench_callback (id bigserial PRIMARY KEY, body bytea NOT NULL)"
        )
        async with _bare(pod.dsn) as bare:
            await load_webhook(pod.webhook, posts, 8, warming)
            await load_webhook(bare, posts, 8, warming)
            for clients, (limit, reach, slowest) in _CLIENTS.items():
                rates, ends = [], []
                for _ in range(size.rounds):
                    ours = await load_webhook(pod.webhook, posts, clients, seconds)
                    await _until_applied(pod)
                    theirs = await load_webhook(bare, posts, clients, seconds)
                    rates.append((len(ours) / seconds, len(theirs) / seconds))
                    ends.append((1000 * percentile(ours, 0.99), 1000 * percentile(theirs, 0.99)))
                name = f"callbacks of {clients} client{'s' * (clients > 1)}"
                figures += [
                    beside(name, "per s", rates, limit=limit, reach=reach),
                    beside("… p99", "ms", ends, limit=slowest, reach=1.2, at_least=False),
                ]
    return figures


def _in_turns(posts: Iterable[Event]) -> list[Event]:
    """One of each manager, then the next of each."""
    by_manager: defaultdict[int, list[Event]] = defaultdict(list)
    for post in posts:
        by_manager[post.manager].append(post)
    turns = zip_longest(*by_manager.values())
    return [post for turn in turns for post in turn if post is not None]


async def _until_applied(pod: System) -> None:
    """Wait until the daemon has nothing left to apply: it would slow down what is bare."""
    waiting = "/* benchmark: */ SELECT EXISTS (SELECT FROM poddispatchd.callback WHERE state = 'open')"
    async with asyncio.timeout(_WITHIN):
        while await pod.connection.fetchval(waiting):  # noqa: ASYNC110 - the daemon changes it
            await asyncio.sleep(0.02)


_numbers = count()


async def load_webhook(port: int, posts: Sequence[Event], clients: int, seconds: float) -> list[float]:
    """How long each callback took, in so many seconds; each client calls back about a task of its own."""
    until = time.perf_counter() + seconds
    taken: list[float] = []

    async def client(post: Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < until:
            # Each says something new: what repeats another one is recorded once.
            writer.write(
                callback(token(post.manager), post.task_id, status="running", output=f"{next(_numbers)}")
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            _, _, length = head.lower().partition(b"content-length:")
            await reader.readexactly(int(length.partition(b"\r\n")[0]))
            taken.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*map(client, posts[:clients]))
    return taken


# --- bare -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _bare(dsn: str) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.callbacks"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(dsn.encode() + b"\n")
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def _serve(dsn: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=10, max_size=10) as pool:

        async def take(request: web.Request) -> web.Response:
            data = await request.json()
            async with pool.acquire() as connection:
                await connection.fetchrow(
                    "SELECT id FROM runner_manager_task WHERE task_id = $1", data["task_id"]
                )
                await connection.execute(
                    "INSERT INTO bench_callback (body) VALUES ($1)", await request.read()
                )
            return web.json_response({"status": "OK"})

        application = web.Application()
        application.router.add_post(_PATH, take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.stdin.readline().strip()))

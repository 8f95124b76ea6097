"""How long a task waits for nothing but the daemon."""

import asyncio
import time

import aiohttp
import asyncpg

from benchmarks.manager import Event, Managers, Spec, managers, token
from benchmarks.sizes import Size
from benchmarks.system import System, system
from benchmarks.table import Figure, beside, percentile
from poddispatchd.sandbox.ports import free_ports

_WITHIN = 60.0


async def insert_to_post(size: Size) -> list[Figure]:
    """From the commit of a task to its POST, one at a time, beside NOTIFY, LISTEN and a POST without more."""
    tasks = size.of(30, 100, 200)
    async with managers([Spec()]) as fakes, system(fakes.ports) as pod:
        await pod.start()
        videos = iter(await pod.add_videos(tasks * size.rounds + 10))
        for _ in range(10):
            await _one(pod, fakes, next(videos))
        middles, ends = [], []
        for _ in range(size.rounds):
            ours = [await _one(pod, fakes, next(videos)) for _ in range(tasks)]
            bare = await _bare(pod, fakes, tasks)
            middles.append((1000 * percentile(ours, 0.5), 1000 * percentile(bare, 0.5)))
            ends.append((1000 * percentile(ours, 0.99), 1000 * percentile(bare, 0.99)))
    return [
        beside("INSERT to POST, middle of all", "ms", middles, at_least=False),
        beside(f"… p99 of {tasks}", "ms", ends, at_least=False),
        Figure(
            "… p99",
            "ms",
            sorted(ours for ours, _ in ends)[len(ends) // 2],
            limit=50,
            reach=50,
            at_least=False,
        ),
    ]


async def callback_to_post(size: Size) -> list[Figure]:
    """From the end of a task to the POST of the next one, on a manager with one runner."""
    tasks = size.of(10, 100, 200)
    [webhook] = free_ports(1)
    spec = Spec(slots=1, runs=(0.15, 0.15))
    async with managers([spec], webhook=webhook) as fakes, system(fakes.ports, webhook=webhook) as pod:
        videos = await pod.add_videos(tasks + 10)
        await pod.start()
        await pod.add_pending(videos)
        await fakes.until(lambda: len(fakes.posts) == len(videos), seconds=_WITHIN * 2)
    waits = gaps(fakes.events)[10:]
    return [
        Figure("end of a task to the next POST, middle of all", "ms", 1000 * percentile(waits, 0.5)),
        Figure(
            f"… p99 of {len(waits)}", "ms", 1000 * percentile(waits, 0.99), limit=50, reach=50, at_least=False
        ),
    ]


def gaps(events: list[Event]) -> list[float]:
    """Seconds from each end of a task to the next submission that its manager accepted."""
    free: dict[int, list[float]] = {}
    found = []
    for event in sorted(events, key=lambda one: one.at):
        if event.kind == "end":
            free.setdefault(event.manager, []).append(event.at)
        elif free.get(event.manager):
            found.append(event.at - free[event.manager].pop(0))
    return found


async def _one(pod: System, fakes: Managers, video: int) -> float:
    wanted = len(fakes.posts) + 1
    inserted = await pod.add_pending([video])
    await fakes.until(lambda: len(fakes.posts) == wanted, seconds=_WITHIN)
    await pod.until_none("pending", seconds=_WITHIN)
    return max(0.0, fakes.posts[-1].at - inserted)


async def _bare(pod: System, fakes: Managers, times: int) -> list[float]:
    listener = await asyncpg.connect(pod.dsn)
    heard = asyncio.Event()
    found = []
    url, headers = f"http://127.0.0.1:{fakes.ports[0]}/task/execute", {"Authorization": f"Bearer {token(0)}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await listener.add_listener("benchmark", lambda *_: heard.set())
        for _ in range(times):
            heard.clear()
            await pod.connection.execute("NOTIFY benchmark")
            begun = time.monotonic()
            await heard.wait()
            async with session.post(url, json={}) as answer:
                await answer.read()
            found.append(time.monotonic() - begun)
    await listener.close()
    return found

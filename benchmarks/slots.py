"""How much of the runners' time is used, and what managers that are dead or slow cost the others."""

import asyncio

from benchmarks.latency import gaps
from benchmarks.manager import Event, Spec, managers
from benchmarks.sizes import Size
from benchmarks.system import system
from benchmarks.table import Figure, percentile
from poddispatchd.sandbox.ports import free_ports

_WITHIN = 150.0


async def slot_use(size: Size) -> list[Figure]:
    """The share of the runners' time that is used while tasks wait, beside a CRON that looks every 3 minutes.

    Ours is measured with tasks of 4 to 12 seconds, while all runners have had one and some still wait: tasks
    of minutes lose less. The CRON is simulated with tasks of minutes: a runner that becomes free waits for
    the next run.
    """
    slots, tasks = 8, size.of(16, 48, 96)
    runs = size.of((1.0, 3.0), (4.0, 12.0), (4.0, 12.0))
    [webhook] = free_ports(1)
    async with (
        managers([Spec(slots=slots, runs=runs)], webhook=webhook) as fakes,
        system(fakes.ports, webhook=webhook) as pod,
    ):
        videos = await pod.add_videos(tasks)
        await pod.start()
        await pod.add_pending(videos)
        await fakes.until(lambda: len(fakes.posts) == tasks, seconds=_WITHIN)
    full, empty = fakes.posts[slots - 1].at, fakes.posts[-1].at
    ours = 100 * _busy(fakes.events, full, empty) / (slots * (empty - full))
    figures = [
        Figure(
            f"use of slots, tasks of {runs[0]:g} to {runs[1]:g} seconds",
            "%",
            ours,
            limit=size.of(94, 97, 98),
            reach=98,
        )
    ]
    for minutes in (2, 10):
        cron = 100 * _cron_use(float(minutes), every=3.0)
        name = f"… beside a CRON every 3 minutes, tasks of about {minutes} minutes"
        figures.append(Figure(name, "%", ours, cron, ours / cron, limit=1.0))
    return figures


def _busy(events: list[Event], begin: float, end: float) -> float:
    """Seconds of work between two moments, all tasks together."""
    begun: dict[str, float] = {}
    total = 0.0
    for event in events:
        if event.kind == "post":
            begun[event.task_id] = event.at
        else:
            total += max(0.0, min(event.at, end) - max(begun.pop(event.task_id), begin))
    return total + sum(end - max(at, begin) for at in begun.values())


def _cron_use(mean: float, *, every: float) -> float:
    """Tasks of half to one and a half times the mean, one after the other on one runner."""
    rounds, clock, busy = 1000, 0.0, 0.0
    for number in range(rounds):
        length = mean * (0.5 + number / (rounds - 1))
        clock = -(-clock // every) * every + length
        busy += length
    return busy / clock


async def many_managers(size: Size) -> list[Figure]:
    """100 managers, 20 of them dead and 10 answering after 20 s: the other 70 do not wait for them."""
    slots, dead, slow, good = 2, 20, 10, 70
    [webhook] = free_ports(1)
    specs = [Spec(delay=20.0, slots=slots)] * slow + [
        Spec(slots=slots, runs=size.of((0.8, 1.2), (8.0, 12.0), (12.0, 18.0)))
    ] * good
    settings = {"runners": {"request_timeout": "60s"}}
    async with (
        managers(specs, webhook=webhook) as fakes,
        system([*fakes.ports, *free_ports(dead)], webhook=webhook, settings=settings) as pod,
    ):
        videos = await pod.add_videos(400)
        await pod.start()
        begun = await pod.add_pending(videos)

        def well() -> list[Event]:
            return [event for event in fakes.posts if event.manager >= slow]

        await fakes.until(lambda: len(well()) >= good * slots, seconds=_WITHIN)
        filled = well()[-1].at - begun
        await asyncio.sleep(size.of(1.8, 14.0, 30.0) - filled)
    waits = gaps([event for event in fakes.events if event.manager >= slow])
    return [
        Figure(
            f"{slow + dead + good} managers, {dead} dead, {slow} slow: the other {good} are full after",
            "s",
            filled,
            limit=3,
            reach=5,
            at_least=False,
        ),
        Figure(
            f"… a runner that becomes free has a task again, p99 of {len(waits)}",
            "ms",
            1000 * percentile(waits, 0.99),
            limit=400,
            reach=500,
            at_least=False,
        ),
    ]

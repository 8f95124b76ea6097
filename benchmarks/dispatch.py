"""How quickly tasks reach runner managers, and how much of the runners' time is used."""

import asyncio
import time
from contextlib import AsyncExitStack

from benchmarks.pod import Bench, bench, manager
from benchmarks.report import Figure, latencies
from poddispatchd.sandbox.fake_runner_manager import (
    Behaviour,
    Endpoint,
    FakeRunnerManager,
    Fault,
    FaultKind,
    Submission,
)

_TASKS = 200


class _Arrivals:
    """When a fake manager was asked to take which video."""

    def __init__(self, *fakes: FakeRunnerManager) -> None:
        self.at: dict[object, float] = {}
        for fake in fakes:
            fake.faults.script = self._seen

    def _seen(self, submission: Submission) -> Behaviour | None:
        self.at.setdefault(submission.parameters.get("video_id"), time.monotonic())
        return None


async def insert_to_post() -> list[Figure]:
    """From the INSERT of a task (its commit) to its POST, with the trigger, one task at a time."""
    fake = manager(_TASKS + 1)
    arrivals = _Arrivals(fake)
    async with fake, bench(fake) as pod:
        await pod.start()
        videos = await pod.videos(_TASKS)
        taken = []
        for number, video in enumerate(videos, start=1):
            await pod.submit(video)
            inserted = time.monotonic()
            await fake.wait_for(lambda wanted=number: len(arrivals.at) >= wanted)  # type: ignore[misc]
            taken.append(max(0.0, arrivals.at[video.id] - inserted))
            # The manager's answer is stored before the next one is measured.
            await asyncio.sleep(0.02)
    return latencies("INSERT to POST with the trigger", taken, limit_p99=50)


async def callback_to_post() -> list[Figure]:
    """From the callback that ends a task to the POST of the next one, on a manager with one runner."""
    fake = manager(1)
    async with fake, bench(fake) as pod:
        await pod.start()
        await pod.fill(await pod.videos(100))
        await fake.wait_for(lambda: bool(fake.tasks))
        taken = []
        for number in range(1, 100):
            await fake.wait_for(lambda wanted=number: len(fake.tasks) >= wanted)  # type: ignore[misc]
            *_, current = fake.tasks
            await asyncio.sleep(0.05)
            before = sum(request.path.endswith("/execute") for request in fake.requests)
            called = time.monotonic()
            ending = asyncio.create_task(fake.finish(current))
            await fake.wait_for(
                lambda seen=before: sum(r.path.endswith("/execute") for r in fake.requests) > seen  # type: ignore[misc]
            )
            taken.append(time.monotonic() - called)
            await ending
    return latencies("callback to the next POST", taken, limit_p99=50)


async def slot_use() -> list[Figure]:
    """The share of the runners' time that is used while tasks wait, beside a CRON that looks every 3 minutes.

    Ours is measured with tasks of 4 to 12 seconds, while all runners have had one and some still wait: tasks
    of minutes lose less. The CRON is simulated with tasks of minutes: a runner that becomes free waits for
    the next run.
    """
    slots, tasks = 8, 64
    fake = manager(slots)
    lengths = iter([4.0 + (5 * number) % 9 for number in range(tasks)])
    runs: list[tuple[float, float]] = []

    def behaviour(_: Submission) -> Behaviour:
        now, seconds = time.monotonic(), next(lengths)
        runs.append((now, now + seconds))
        return Behaviour(seconds=seconds)

    fake.faults.script = behaviour
    async with fake, bench(fake) as pod:
        videos = await pod.videos(tasks)
        await pod.start()
        await pod.fill(videos)
        await fake.wait_for(lambda: len(runs) == tasks, timeout=150)
    full, empty = runs[slots - 1][0], runs[-1][0]
    busy = sum(max(0.0, min(end, empty) - max(begun, full)) for begun, end in runs)
    ours = 100 * busy / (slots * (empty - full))
    figures = [Figure("slot use with tasks of 4 to 12 seconds", ours, "%", 98, at_least=True)]
    for minutes in (2, 10):
        cron = 100 * _cron_use(float(minutes), every=3.0)
        figures += [
            Figure(f"of a CRON every 3 minutes, tasks of about {minutes} minutes", cron, "%"),
            Figure("… ratio", ours / cron, "x", 1.0, at_least=True),
        ]
    return figures


def _cron_use(mean: float, *, every: float) -> float:
    """Tasks of half to one and a half times the mean, one after the other on one runner."""
    rounds, clock, busy = 1000, 0.0, 0.0
    for number in range(rounds):
        length = mean * (0.5 + number / (rounds - 1))
        clock = -(-clock // every) * every + length
        busy += length
    return busy / clock


async def many_managers() -> list[Figure]:
    """100 managers, 20 of them dead and 10 answering after 20 s: how long until the other 70 are full."""
    slots, good = 2, 70
    fakes = [manager(slots, f"t{n}") for n in range(100)]
    dead, slow, well = fakes[:20], fakes[20:30], fakes[30:]
    async with AsyncExitStack() as stack:
        for fake in fakes:
            await stack.enter_async_context(fake)
        for fake in dead:
            await fake.stop()
        for fake in slow:
            fake.faults.inject(Endpoint.EXECUTE, Fault(kind=FaultKind.SLOW, seconds=20), times=None)
        pod: Bench = await stack.enter_async_context(bench(*fakes, patience=60))
        videos = await pod.videos(400)
        await pod.fill(videos)
        begun = time.monotonic()
        await pod.start()
        async with asyncio.timeout(60):
            while sum(len(fake.tasks) for fake in well) < good * slots:  # noqa: ASYNC110 - many managers
                await asyncio.sleep(0.02)
        filled = time.monotonic() - begun
        await asyncio.sleep(1)
        refilled = []
        for fake in well[:20]:
            before = len(fake.tasks)
            called = time.monotonic()
            await fake.finish(next(iter(fake.tasks)))
            await fake.wait_for(lambda one=fake, seen=before: len(one.tasks) > seen)  # type: ignore[misc]
            refilled.append(time.monotonic() - called)
    return [
        Figure("100 managers, 20 dead, 10 slow: the other 70 are full after", filled, "s", 15),
        *latencies("… and a runner that becomes free has a task again", refilled, limit_p99=500),
    ]

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

    Measured is the idle time from the end of one task to the beginning of the next on the same runner, with
    tasks of about a second; from it follows the use with tasks of minutes. The CRON is simulated: a runner
    that becomes free stays so until the next run.
    """
    slots, tasks = 4, 60
    lengths = [0.7 + 0.1 * ((7 * number) % 7) for number in range(tasks)]
    fake = manager(slots)
    durations = iter(lengths)
    begun_at: list[float] = []

    def behaviour(_: Submission) -> Behaviour:
        begun_at.append(time.monotonic())
        return Behaviour(seconds=next(durations))

    fake.faults.script = behaviour
    async with fake, bench(fake) as pod:
        videos = await pod.videos(tasks)
        await pod.start()
        await pod.fill(videos)
        await fake.wait_for(lambda: len(begun_at) == tasks, timeout=60)
    handovers = (tasks - slots) / slots
    idle = max(0.0, begun_at[-1] - begun_at[slots - 1] - _last_start(lengths, slots)) / handovers
    figures = [Figure("a runner is idle between two tasks for", idle * 1000, "ms")]
    for minutes in (2, 10):
        ours = 100 * minutes * 60 / (minutes * 60 + idle)
        cron = 100 * _cron_use(float(minutes), every=3.0)
        figures += [
            Figure(f"slot use with tasks of about {minutes} minutes", ours, "%", 98, at_least=True),
            Figure("… of a CRON every 3 minutes", cron, "%"),
            Figure("… ratio", ours / cron, "x", 1.0, at_least=True),
        ]
    return figures


def _last_start(lengths: list[float], slots: int) -> float:
    """When the last task begins if no runner is ever idle."""
    free = [0.0] * slots
    begun = 0.0
    for length in lengths:
        begun = min(free)
        free[free.index(begun)] = begun + length
    return begun


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

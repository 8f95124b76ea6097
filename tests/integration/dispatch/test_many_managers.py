"""A hundred managers, some of them dead and some slow: the others are kept full."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.domain.task import RunnerStatus
from poddispatchd.runtime.jobs import Loop
from poddispatchd.runtime.supervisor import JobContext, Pulse, cancel_surely, run_job
from poddispatchd.sandbox.fake_runner_manager import (
    AnswerFault,
    Endpoint,
    FakeRunnerManager,
    FaultKind,
    ManualClock,
)
from poddispatchd.web.listener import listening
from poddispatchd.web.webhook import webhook_application
from tests.integration.dispatch.scene import DOMAIN, Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_DEAD, _SLOW, _WELL = 20, 10, 70
_RUNNERS = 2
_ANSWER_TAKES = 20.0
_REFILLED = 15

_WITHIN = 180
"""Seconds until a test that waits for one of the others is given up: far more than all of it takes."""


@asynccontextmanager
async def _at_work(daemon: Daemon, fakes: Sequence[FakeRunnerManager]) -> AsyncIterator[None]:
    """The dispatcher's own loop, woken by callbacks that these managers make."""
    parts = daemon.parts
    receiver = CallbackReceiver(parts.database, parts.registry, parts.wakeups, parts.clock)
    webhook = webhook_application(receiver, parts.settings.webhook, metrics=parts.metrics, clock=parts.clock)
    async with listening(webhook, parts.settings.webhook.listen, "webhook.listen") as address:
        for fake in fakes:
            fake.connect_to[f"{DOMAIN}:80"] = str(address)  # type: ignore[index]  # a dict
        job = asyncio.create_task(
            run_job(
                Loop("dispatcher", daemon.dispatcher.step, parts.wakeups.dispatcher),
                JobContext(parts.session, parts.clock, Pulse(parts.clock), parts.incidents),
            )
        )
        try:
            yield
        finally:
            await cancel_surely(job)


def _running(fake: FakeRunnerManager) -> int:
    return sum(task.status is RunnerStatus.RUNNING for task in fake.tasks.values())


async def _until_full(fakes: Sequence[FakeRunnerManager]) -> None:
    await asyncio.gather(
        *(fake.wait_for(lambda one=fake: _running(one) == _RUNNERS, _WITHIN) for fake in fakes)  # type: ignore[misc]
    )


async def _taken(pod: Scene, kind: str) -> int:
    """The tasks that managers are known to have taken."""
    ids = [number for name, number in pod.ids.items() if name.startswith(kind)]
    return int(
        await pod.connection.fetchval(
            "SELECT count(*) FROM runner_manager_task"
            " WHERE status = 'running' AND runner_manager_id = ANY ($1)",
            ids,
        )
    )


@pytest.mark.slow
async def test_dead_and_slow_managers_delay_nobody_elses_tasks(
    pod_database: PodDatabase, media_root: Path
) -> None:
    its_time = ManualClock()
    specs = [
        *(Spec(f"dead{number}") for number in range(_DEAD)),
        *(Spec(f"slow{number}", fake_clock=its_time) for number in range(_SLOW)),
        *(Spec(f"well{number}", runners=_RUNNERS) for number in range(_WELL)),
    ]
    async with scene(pod_database, media_root, *specs) as pod:
        dead, slow, well = (
            [pod.fakes[spec.name] for spec in specs if spec.name.startswith(kind)]
            for kind in ("dead", "slow", "well")
        )
        await asyncio.gather(*(fake.stop() for fake in dead))
        for fake in slow:
            answers_late = AnswerFault(kind=FaultKind.SLOW, seconds=_ANSWER_TAKES)
            fake.faults.inject(Endpoint.EXECUTE, answers_late, times=None)
        await pod.encodings(_WELL * _RUNNERS + _SLOW * _RUNNERS + _REFILLED)
        # All have the same priority, and nobody has had a task: the dead and the slow ones are asked first.
        daemon = await pod.daemon(runners={"request_timeout": "60s"}, webhook={"listen": "127.0.0.1:0"})
        async with _at_work(daemon, well):
            await _until_full(well)
            assert await _taken(pod, "slow") == 0

            # A runner that becomes free gets the next task, while the slow ones have still not answered.
            for fake in well[:_REFILLED]:
                await fake.finish(next(iter(fake.tasks)))
            await _until_full(well)
            assert await _taken(pod, "slow") == 0
            assert daemon.dispatcher.in_hand >= _SLOW

            its_time.advance(_ANSWER_TAKES)
            await asyncio.gather(
                *(fake.wait_for(lambda one=fake: _running(one) == _RUNNERS, _WITHIN) for fake in slow)  # type: ignore[misc]
            )
            assert await _taken(pod, "slow") == _SLOW

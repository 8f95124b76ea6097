"""When and how a client is called, and what its answer does to the task and to the slot."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from poddispatchd.sandbox.fake_runner_manager import (
    Behaviour,
    FakeRunnerManager,
    ManualClock,
    Runner,
    RunOutcome,
)
from tests.integration.sandbox.fake_runner_manager.support import TOKEN, Client, Pod, running, until


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    async with Pod() as listening:
        yield listening


def _manager(pod: Pod, clock: ManualClock | None = None) -> FakeRunnerManager:
    return FakeRunnerManager(
        token=TOKEN,
        runners=[Runner()],
        clock=clock,
        connect_to={"pod.test:8090": f"127.0.0.1:{pod.port}"},
    )


async def _next_retry(client: Client, clock: ManualClock, calls: int) -> float:
    """Advance to the next call and give the time of it."""
    record = next(iter(client.manager.tasks.values()))
    due = await clock.next_due()
    clock.advance(due - clock.time())
    await until(client.manager, lambda: len(record.callbacks) >= calls)
    return due


async def test_the_callback_carries_the_token_of_the_submission_and_four_fields(pod: Pod) -> None:
    async with running(_manager(pod)) as client:
        task_id = await client.accepted()
        await client.manager.finish(task_id, script_output="déjà")
        assert pod.received == [
            {"task_id": task_id, "status": "completed", "error_message": None, "script_output": "déjà"}
        ]
        assert pod.headers[0]["Authorization"] == f"Bearer {TOKEN}"
        assert pod.headers[0]["Host"] == "pod.test:8090"
        assert "déjà".encode() in pod.bodies[0]


async def test_an_empty_notify_url_means_no_callback(pod: Pod) -> None:
    async with running(_manager(pod)) as client:
        task_id = await client.accepted(notify_url="")
        await client.manager.finish(task_id)
        assert (await client.status(task_id))["status"] == "completed"
        assert pod.received == []


async def test_a_refused_callback_is_repeated_on_the_recorded_schedule(pod: Pod) -> None:
    clock = ManualClock()
    pod.answers = [401] * 6
    async with running(_manager(pod, clock)) as client:
        task_id = await client.accepted()
        await client.manager.finish(task_id)
        assert (await client.status(task_id))["status"] == "warning"
        times = [await _next_retry(client, clock, calls) for calls in range(2, 7)]
        assert times == [60, 150, 285, 487, 790]
        assert len(pod.received) == 6
        status = await client.status(task_id)
        assert status["status"] == "warning"
        expected = (
            'Notify URL callback http://pod.test:8090/runner/notify_task_end/ failed: 401 - {"answer": 401}'
        )
        assert status["error"] == expected


async def test_a_retry_that_succeeds_makes_it_completed(pod: Pod) -> None:
    clock = ManualClock()
    pod.answers = [500]
    async with running(_manager(pod, clock)) as client:
        task_id = await client.accepted()
        await client.manager.finish(task_id)
        await _next_retry(client, clock, 2)
        status = await client.status(task_id)
        assert (status["status"], status["error"]) == ("completed", None)


@pytest.mark.parametrize("path", ["", "/file/info_video.json"])
async def test_fetching_makes_a_warning_completed(pod: Pod, path: str) -> None:
    pod.answers = [500]
    async with running(_manager(pod, ManualClock())) as client:
        task_id = await client.accepted()
        await client.manager.finish(task_id)
        assert (await client.get(f"/task/result/{task_id}{path}")).status == 200
        assert (await client.status(task_id))["status"] == "completed"


async def test_a_failed_task_stays_failed_and_says_that_its_callback_failed_too(pod: Pod) -> None:
    pod.answers = [500]
    async with running(_manager(pod, ManualClock())) as client:
        task_id = await client.accepted()
        await client.manager.finish(task_id, "failed", error="No.")
        status = await client.status(task_id)
        assert status["status"] == "failed"
        assert str(status["error"]).startswith("No.\n\nNotify callback warning: Notify URL callback ")
        assert pod.received[0]["error_message"] == "No."


async def test_the_slot_is_busy_until_the_client_answered(pod: Pod) -> None:
    pod.gate = asyncio.Event()
    async with running(_manager(pod)) as client:
        task_id = await client.accepted()
        finishing = asyncio.create_task(client.manager.finish(task_id))
        record = next(iter(client.manager.tasks.values()))
        await until(client.manager, lambda: record.status == "completed")
        assert (await client.execute(source_url="http://pod.test/b.mp4")).status == 503
        assert (await client.get(f"/task/result/{task_id}")).status == 200
        pod.gate.set()
        await finishing
        assert (await client.execute(source_url="http://pod.test/b.mp4")).status == 200


async def test_no_answer_within_fifteen_seconds_counts_as_delivered(pod: Pod) -> None:
    clock = ManualClock()
    pod.gate = asyncio.Event()
    async with running(_manager(pod, clock)) as client:
        task_id = await client.accepted()
        finishing = asyncio.create_task(client.manager.finish(task_id))
        await pod.called.wait()
        clock.advance(15)
        await finishing
        record = next(iter(client.manager.tasks.values()))
        assert record.callbacks == [None]
        assert record.status == "completed"
        assert clock.due() is None, "nothing is retried"


async def test_a_client_that_cannot_be_reached_is_a_warning() -> None:
    manager = FakeRunnerManager(token=TOKEN, clock=ManualClock())
    async with running(manager) as client:
        task_id = await client.accepted()
        await manager.finish(task_id)
        status = await client.status(task_id)
        assert status["status"] == "warning"
        assert str(status["error"]).endswith("failed: server error - All connection attempts failed")


async def test_a_restart_loses_the_retries_but_no_record(pod: Pod) -> None:
    clock = ManualClock()
    pod.answers = [500]
    async with running(_manager(pod, clock)) as client:
        ended = await client.accepted()
        await client.manager.finish(ended)
        going_on = await client.accepted()
        await client.manager.restart()
        clock.advance(3600)
        assert (await client.status(ended))["status"] == "warning"
        assert (await client.status(going_on))["status"] == "running"
        assert len(pod.received) == 1


async def test_a_run_that_ends_while_the_manager_is_down_is_told_a_minute_later(pod: Pod) -> None:
    clock = ManualClock()
    async with running(_manager(pod, clock)) as client:
        task_id = await client.accepted()
        record = next(iter(client.manager.tasks.values()))
        await client.manager.stop()
        finishing = asyncio.create_task(client.manager.finish(task_id))
        await clock.next_due()
        await client.manager.start()
        assert record.status == "running"
        clock.advance(60)
        await finishing
        assert [call["status"] for call in pod.received] == ["completed"]


async def test_failed_then_completed_comes_with_the_same_id(pod: Pod) -> None:
    manager = _manager(pod)
    again = Behaviour(seconds=0)
    manager.faults.behaviours.append(Behaviour(outcome=RunOutcome.FAILED, seconds=0, then=again))
    async with running(manager) as client:
        task_id = await client.accepted()
        record = next(iter(manager.tasks.values()))
        await until(manager, lambda: len(record.callbacks) == 2)
        assert [(call["task_id"], call["status"]) for call in pod.received] == [
            (task_id, "failed"),
            (task_id, "completed"),
        ]


async def test_a_callback_can_come_twice_or_never(pod: Pod) -> None:
    manager = _manager(pod)
    async with running(manager) as client:
        await manager.finish(await client.accepted(), behaviour=Behaviour(callbacks=2))
        assert len(pod.received) == 2
        silent = await client.accepted()
        await manager.finish(silent, behaviour=Behaviour(callbacks=0))
        assert len(pod.received) == 2
        assert (await client.status(silent))["status"] == "completed"


async def test_a_callback_can_come_before_the_answer_of_the_submission(pod: Pod) -> None:
    manager = _manager(pod)
    manager.faults.behaviours.append(Behaviour(callback_before_answer=True))
    pod.gate = asyncio.Event()
    async with running(manager) as client:
        submitting = asyncio.create_task(client.accepted())
        await pod.called.wait()
        assert not submitting.done()
        pod.gate.set()
        assert pod.received[0]["task_id"] == await submitting


async def test_a_task_can_be_forgotten_at_its_end(pod: Pod) -> None:
    manager = _manager(pod)
    async with running(manager) as client:
        task_id = await client.accepted()
        await manager.finish(task_id, behaviour=Behaviour(forget=True))
        assert len(pod.received) == 1
        assert (await client.get(f"/task/status/{task_id}")).status == 404


async def test_records_are_gone_after_sixty_days() -> None:
    clock = ManualClock()
    async with running(FakeRunnerManager(token=TOKEN, clock=clock)) as client:
        task_id = await client.accepted(notify_url="")
        clock.advance(60 * 86400)
        assert (await client.get(f"/task/status/{task_id}")).status == 200
        clock.advance(1)
        assert (await client.get(f"/task/status/{task_id}")).status == 404

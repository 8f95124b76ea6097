"""Runners that die and come back, stopped tasks, and what the lists say."""

from poddispatchd.sandbox.fake_runner_manager import (
    Behaviour,
    FakeRunnerManager,
    ManualClock,
    Runner,
    RunOutcome,
)
from tests.integration.sandbox.fake_runner_manager.support import TOKEN, running


async def test_a_dead_runner_leaves_the_list_but_its_task_stays_running_and_blocks_its_payload() -> None:
    clock = ManualClock()
    runners = [Runner(), Runner()]
    async with running(FakeRunnerManager(token=TOKEN, runners=runners, clock=clock)) as client:
        task_id = await client.accepted()
        await client.manager.kill_runner(runners[0])
        assert (await client.get("/api/health")).fields["runners"] == 2
        assert (await client.ask("POST", f"/task/stop/{task_id}")).status == 502
        clock.advance(61)
        listed = (await client.get("/api/runners")).fields["runners"]
        assert isinstance(listed, list)
        assert [runner["id"] for runner in listed] == [runners[1].id]
        reply = await client.ask("POST", f"/task/stop/{task_id}")
        assert (reply.status, reply.detail) == (404, "Runner not found")
        assert (await client.status(task_id))["status"] == "running"
        assert await client.accepted() == task_id


async def test_a_revived_runner_ends_its_task() -> None:
    runner = Runner()
    manager = FakeRunnerManager(token=TOKEN, runners=[runner])
    async with running(manager) as client:
        task_id = await client.accepted(notify_url="")
        await manager.kill_runner(runner)
        assert (await client.execute(source_url="http://pod.test/b.mp4")).status == 503
        words = "Task process is no longer running"
        again = Behaviour(seconds=0)
        manager.revive_runner(
            runner, Behaviour(outcome=RunOutcome.FAILED, error=words, seconds=0, then=again)
        )
        record = next(iter(manager.tasks.values()))
        await manager.wait_for(lambda: record.status == "completed")
        assert record.task_id == task_id
        assert runner.free


async def test_a_stopped_task_fails_in_the_recorded_words() -> None:
    manager = FakeRunnerManager(token=TOKEN, runners=[Runner()])
    async with running(manager) as client:
        task_id = await client.accepted(notify_url="")
        reply = await client.ask("POST", f"/task/stop/{task_id}")
        assert reply.status == 202
        assert set(reply.fields) == {"task_id", "status", "runner_id", "runner_status_code"}
        record = next(iter(manager.tasks.values()))
        await manager.wait_for(record.finished.is_set)
        assert (record.status, record.error) == ("failed", "Cancelled by user.")
        reply = await client.ask("POST", f"/task/stop/{task_id}")
        assert (reply.status, reply.detail) == (409, "Task not running")
        assert manager.runners[0].free


async def test_a_task_that_downloads_its_source_cannot_be_stopped() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    manager.faults.behaviours.append(Behaviour(unstoppable=True))
    async with running(manager) as client:
        task_id = await client.accepted()
        assert (await client.ask("POST", f"/task/stop/{task_id}")).status == 409
        assert (await client.status(task_id))["status"] == "running"


async def test_a_task_runs_for_as_long_as_configured() -> None:
    clock = ManualClock()
    async with running(FakeRunnerManager(token=TOKEN, clock=clock, task_seconds=5)) as client:
        await client.accepted(notify_url="")
        record = next(iter(client.manager.tasks.values()))
        clock.advance(4.9)
        assert not record.finished.is_set()
        clock.advance(0.1)
        await client.manager.wait_for(record.finished.is_set)
        assert record.status == "completed"


async def test_an_administrator_restarts_a_task_under_its_id() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    async with running(manager) as client:
        task_id = await client.accepted(notify_url="")
        await manager.finish(task_id)
        before = await client.status(task_id)
        manager.rerun(task_id)
        again = await client.status(task_id)
        assert (again["status"], again["created_at"]) == ("running", before["created_at"])
        assert again["run_id"] != before["run_id"]
        assert (await client.get(f"/task/result/{task_id}")).status == 425
        assert await client.accepted(notify_url="") == task_id


async def test_a_scaled_manager_lives_faster() -> None:
    manager = FakeRunnerManager(token=TOKEN, time_scale=0.0001, task_seconds=60)
    async with running(manager) as client:
        await client.accepted(notify_url="")
        record = next(iter(manager.tasks.values()))
        await manager.wait_for(record.finished.is_set)
        assert (record.updated_at - record.created_at).total_seconds() >= 60

"""What a submission meets, in the order of the manager's checks."""

import asyncio

from poddispatchd.sandbox.fake_runner_manager import (
    Behaviour,
    Dispatch,
    FakeRunnerManager,
    ManualClock,
    Runner,
)
from tests.integration.sandbox.fake_runner_manager.support import TOKEN, payload, running


async def test_a_submission_is_running_at_once() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        reply = await client.execute()
        assert reply.status == 200
        assert reply.fields["status"] == "running"
        record = await client.status(str(reply.fields["task_id"]))
        assert record["status"] == "running"
        assert record["parameters"] == payload()["parameters"]
        assert TOKEN not in str(record)
        assert [submission.task_type for submission in client.manager.submissions] == ["encoding"]


async def test_the_token_is_checked_before_the_body() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        reply = await client.ask("POST", "/task/execute", json={}, headers={"Authorization": "Bearer no"})
        assert (reply.status, reply.detail) == (401, "Invalid or expired token")
        assert reply.headers["www-authenticate"] == "Bearer"
        reply = await client.ask("POST", "/task/execute", json={}, headers={"Authorization": "Basic abc"})
        assert (reply.status, reply.detail) == (401, "Missing authentication token")


async def test_the_x_api_token_wins_even_when_it_is_wrong() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        assert (await client.get("/api/version", **{"X-API-Token": "wrong"})).status == 401
        assert (await client.ask("GET", "/api/version", headers={"x-api-token": TOKEN})).status == 200


async def test_the_body_is_checked_before_the_notify_url_and_that_before_the_runners() -> None:
    async with running(FakeRunnerManager(token=TOKEN, runners=[])) as client:
        bad_notify = "http://user:word@pod.test/x"
        assert (await client.execute(notify_url=bad_notify, task_type=None)).status == 422
        reply = await client.execute(notify_url=bad_notify)
        assert (reply.status, reply.detail) == (400, "notify_url must not include userinfo")
        reply = await client.execute()
        assert (reply.status, reply.detail) == (503, "No runners available")


async def test_an_identical_submission_in_flight_gets_the_same_id_even_when_all_are_busy() -> None:
    async with running(FakeRunnerManager(token=TOKEN, runners=[Runner()])) as client:
        first = await client.accepted()
        assert await client.accepted(app_version="9", affiliation="other") == first
        assert (await client.execute(notify_url="http://pod.test/?attempt=2")).status == 503
        await client.manager.finish(first)
        assert await client.accepted() != first
        assert len(client.manager.submissions) == 2


async def test_deduplication_is_not_atomic() -> None:
    async with running(FakeRunnerManager(token=TOKEN, runners=[Runner(), Runner()])) as client:
        replies = await asyncio.gather(*(client.execute() for _ in range(6)))
        ids = {reply.fields.get("task_id") for reply in replies if reply.status == 200}
        assert len(ids) <= 2
        assert len(client.manager.tasks) == len(ids)


async def test_a_runner_takes_one_task_of_its_own_types_at_a_time() -> None:
    runners = [Runner(types=frozenset({"encoding"})), Runner(types=frozenset({"transcription"}))]
    async with running(FakeRunnerManager(token=TOKEN, runners=runners)) as client:
        await client.accepted()
        assert (await client.execute(source_url="http://pod.test/media/b.mp4")).status == 503
        await client.accepted(task_type="transcription")
        assert (await client.execute(task_type="studio")).status == 503


async def test_unresponsive_runners_are_asked_one_after_the_other_for_five_seconds_each() -> None:
    clock = ManualClock()
    runners = [Runner(ping_delay=60), Runner(ping_delay=60), Runner()]
    async with running(FakeRunnerManager(token=TOKEN, runners=runners, clock=clock)) as client:
        submitting = asyncio.create_task(client.execute())
        for _ in range(2):
            await clock.next_due()
            clock.advance(5)
        assert (await submitting).status == 200
        assert clock.time() == 10
        assert runners[2].task_id is not None


async def test_the_quota_of_other_domains_is_a_503_of_its_own() -> None:
    manager = FakeRunnerManager(token=TOKEN, own_domains=["own.test"])
    async with running(manager) as client:
        await client.accepted()
        reply = await client.execute(source_url="http://pod.test/media/b.mp4")
        assert reply.status == 503
        assert str(reply.detail).startswith("Non-priority domain rejected")
        assert (await client.execute(notify_url="http://pod.own.test/x")).status == 200


async def test_an_order_that_the_runner_refuses_fails_without_a_callback() -> None:
    manager = FakeRunnerManager(token=TOKEN)
    manager.faults.behaviours.append(Behaviour(dispatch=Dispatch.REFUSED))
    async with running(manager) as client:
        task_id = await client.accepted()
        record = next(iter(manager.tasks.values()))
        await manager.wait_for(lambda: record.status == "failed")
        status = await client.status(task_id)
        assert status["error"] == 'Runner returned status 400: {"detail": "Runner is busy"}'
        assert record.callbacks == []


async def test_a_task_fails_as_a_real_runner_fails_it() -> None:
    async with running(FakeRunnerManager(token=TOKEN)) as client:
        await client.accepted(parameters={"nope": 1}, notify_url="")
        record = next(iter(client.manager.tasks.values()))
        await client.manager.wait_for(record.finished.is_set)
        assert record.status == "failed"
        assert record.error == "Invalid parameters for task type: encoding (invalid fields: nope)"


async def test_a_slash_too_many_is_a_redirect_to_the_host_that_was_asked() -> None:
    async with running(FakeRunnerManager(token=TOKEN, prefix="/manager")) as client:
        reply = await client.ask("POST", "/task/execute/", json=payload())
        assert reply.status == 307
        assert reply.headers["location"] == f"{client.manager.url}/task/execute"
        assert (await client.ask("GET", "")).headers["location"] == f"{client.manager.url}/"


async def test_the_health_path_tells_the_generation() -> None:
    for generation, other in (("api", "manager"), ("manager", "api")):
        async with running(FakeRunnerManager(token=TOKEN, health=generation)) as client:
            root = await client.ask("GET", "/", headers={})
            assert root.fields["health_check"] == f"/{generation}/health"
            assert (await client.get(f"/{generation}/health")).fields["runners"] == 2
            assert (await client.get(f"/{other}/health")).status == 404


async def test_the_limiter_counts_each_path_by_itself_for_a_minute() -> None:
    clock = ManualClock()
    async with running(FakeRunnerManager(token=TOKEN, rate_limit=3, clock=clock)) as client:
        statuses = [(await client.get("/task/status/x")).status for _ in range(4)]
        assert statuses == [404, 404, 404, 429]
        limited = await client.get("/task/status/x")
        assert limited.fields == {"error": "Rate limit exceeded: 3 per 1 minute"}
        assert (await client.get("/task/status/y")).status == 404
        clock.advance(60)
        assert (await client.get("/task/status/x")).status == 404


async def test_a_runner_cannot_encode_what_has_an_apostrophe_in_its_name() -> None:
    async with running(FakeRunnerManager(token=TOKEN, task_seconds=0)) as client:
        await client.accepted(source_url="http://pod.test/l'eau.mp4", notify_url="")
        record = next(iter(client.manager.tasks.values()))
        await client.manager.wait_for(record.finished.is_set)
        assert (record.status, record.error) == ("failed", "ValueError: No closing quotation")

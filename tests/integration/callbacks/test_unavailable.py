"""A callback that cannot be recorded is refused in time: the manager then calls again."""

import asyncio

import pytest

from poddispatchd.callbacks import inbox, recorder
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.callbacks.bench import ShiftedClock, bench
from tests.integration.callbacks.conftest import TOKEN, Pod
from tests.integration.journal.writing import until_one_waits
from tests.integration.pod import rows
from tests.plugins.postgres import PodDatabase


async def test_without_a_database_the_manager_is_told_to_call_again(pod: Pod) -> None:
    await pod.running()
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook:
        assert (await webhook.call(TOKEN, b"[]")).status == 400
        await webhook.parts.database.close()
        answer = await webhook.call(TOKEN, task_id="t-1", status="completed")
        assert (answer.status, answer.json) == (503, {"error": "Try again later."})
        assert answer.headers["Retry-After"] == "30"
        # What is wrong with a request is said all the same, while it is known whose it is.
        assert (await webhook.call(TOKEN, b"[]")).status == 400
        clock.shift += 60
        assert (await webhook.call(TOKEN, b"[]")).status == 503


async def test_a_server_that_stopped_records_nothing_and_that_is_said() -> None:
    clock = ShiftedClock()
    async with PostgresServer() as server:
        database = PodDatabase("postgres", server.dsn(), SchemaVariant.NOPODFILE)
        async with database.connection() as connection:
            await create_schema(connection, SchemaVariant.NOPODFILE)
            manager = await rows.manager(connection, await rows.site(connection, "x"), token=TOKEN)
            await rows.task(connection, status="running", task_id="t-1", runner_manager_id=manager)
        async with bench(database, clock=clock) as webhook:
            await asyncio.to_thread(server.stop)
            clock.shift += 10
            assert (await webhook.call(TOKEN, task_id="t-1", status="failed")).status == 503


@pytest.mark.parametrize("table", ["poddispatchd.callback", "runner_manager"])
async def test_a_database_that_does_not_answer_is_not_waited_for(pod: Pod, table: str) -> None:
    await pod.running()
    clock = ShiftedClock()
    async with (
        bench(pod.database, answer_within=0.3, clock=clock) as webhook,
        pod.database.connection() as blocker,
    ):
        async with blocker.transaction():
            await blocker.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(5):
                answer = await webhook.call(TOKEN, task_id="t-1", status="completed")
            assert answer.status == 503
        clock.shift += 1
        answer = await webhook.call(TOKEN, task_id="t-1", status="completed")
        assert answer.status == 200
        await webhook.settle()
        assert "applied" in {state for _, state, _ in await pod.callbacks()}


async def test_those_who_wait_behind_a_statement_that_hangs_are_told_with_it(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would have had a statement of its own to wait for, one after the other."""
    monkeypatch.setattr(recorder, "_MOST_TOGETHER", 1)
    await pod.running()
    async with bench(pod.database, answer_within=1.0) as webhook, pod.database.connection() as blocker:
        assert (await webhook.call(TOKEN, task_id="t-1", status="running")).status == 200
        before = webhook.receiver._recorder.statements
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE poddispatchd.callback IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(
                *(
                    webhook.call(TOKEN, task_id="t-1", status="running", error_message=str(n))
                    for n in range(12)
                )
            )
        assert {answer.status for answer in answers} == {503}
        assert webhook.receiver._recorder.statements - before < 6
        assert (await webhook.call(TOKEN, task_id="t-1", status="running")).status == 200


async def test_a_callback_that_waits_for_another_session_keeps_no_other_one_waiting(pod: Pod) -> None:
    """One that is recorded by somebody else just now kept all managers waiting until the limit of its own."""
    await pod.running()
    await pod.running("t-2")
    same = Callback(RunnerTaskId("t-1"), RunnerStatus.RUNNING, None, None)
    async with bench(pod.database) as webhook, pod.database.connection() as other:
        async with other.transaction():
            await inbox.record(other, (pod.manager,), same)
            held = asyncio.create_task(webhook.call(TOKEN, task_id="t-1", status="running"))
            await until_one_waits(pod.database)
            assert (await webhook.call(TOKEN, task_id="t-2", status="running")).status == 200
            assert not held.done()
        assert (await held).status == 200
        assert {task_id for task_id, _, _ in await pod.callbacks()} == {"t-1", "t-2"}


async def test_a_callback_is_answered_before_anything_is_done_about_it(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database) as webhook:
        async with pod.database.connection() as blocker, blocker.transaction():
            # Whoever holds the task's row holds up the inbox, and not the answer.
            await blocker.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", task)
            async with asyncio.timeout(5):
                answer = await webhook.call(TOKEN, task_id="t-1", status="failed")
            assert answer.status == 200
            assert await pod.callbacks() == [("t-1", "open", None)]
        await webhook.settle()
        assert (await pod.row(task))["status"] == "failed"


async def test_an_error_nobody_foresaw_is_no_reason_to_lose_a_callback(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("oops")

    async with bench(pod.database) as webhook:
        monkeypatch.setattr(webhook.receiver, "take", broken)
        assert (await webhook.call(TOKEN, task_id="t-1", status="completed")).status == 503

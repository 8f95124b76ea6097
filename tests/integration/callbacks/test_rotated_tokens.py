"""Callbacks of a runner manager whose token was changed in Pod."""

from tests.integration.callbacks.bench import bench
from tests.integration.callbacks.conftest import TOKEN, Pod

NEW = "token-since-today"


async def test_a_call_with_the_old_token_is_refused_and_one_with_the_new_one_is_taken(pod: Pod) -> None:
    task = await pod.running()
    async with bench(pod.database) as webhook:
        before = await webhook.call(TOKEN, task_id="t-1", status="running", script_output="before\\n")
        await pod.connection.execute("UPDATE runner_manager SET token = $1 WHERE token = $2", NEW, TOKEN)
        async with bench(pod.database, instance="later:2:2") as later:
            old = await later.call(TOKEN, task_id="t-1", status="failed", error_message="refused")
            new = await later.call(NEW, task_id="t-1", status="completed")
            await later.settle()
    assert (before.status, old.status, new.status) == (200, 403, 200)
    row = await pod.row(task)
    assert (row["status"], "refused" in str(row["script_output"])) == ("running", False)

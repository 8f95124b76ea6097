"""Fair share with a running daemon: who goes next, which ranks Pod shows, and what people are told."""

import asyncio
import json
from datetime import timedelta

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox.fake_runner_manager import Behaviour
from poddispatchd.sandbox.pod.world import add_task, add_video
from tests.acceptance.process import ANNOUNCED_WITHIN
from tests.acceptance.rig import Rig


async def _add(rig: Rig, owner: str, count: int) -> list[TaskPk]:
    async with rig.database.connection() as connection:
        return [
            await add_task(
                connection,
                TaskType.ENCODING,
                video=await add_video(connection, rig.world, title=f"{owner} {number}", owner=owner),
            )
            for number in range(count)
        ]


async def _ranks(rig: Rig) -> list[TaskPk]:
    rows = await rig.fetch("SELECT id FROM runner_manager_task WHERE rank IS NOT NULL ORDER BY rank")
    return [row["id"] for row in rows]  # type: ignore[misc]  # ids are numbers


async def test_the_few_tasks_of_one_go_before_the_many_of_another(rig: Rig) -> None:
    rig.set("dispatch", fair_share="owner", fair_share_delay="2h")
    rig.manager.faults.script = lambda _: Behaviour(seconds=3600)
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))

    flood = await _add(rig, "employee", 6)
    await daemon.events("task.submitted", 2)  # two runners
    [behind] = await _add(rig, "subscriber", 1)
    await rig.execute("SELECT pg_notify('poddispatchd_task', 'pending')")
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while await _ranks(rig) != [behind, *flood[2:]]:
            await rig.look()

    shown = (await rig.run("tasks", "show", str(flood[2]))).out
    assert (
        "fair share      employee had 0 s of runner time lately; put back by 0 s so far, 2 h 00 min at most"
        in shown
    )
    told = json.loads((await rig.run("tasks", "show", str(behind), "--json")).out)["fair_share"]
    assert (told["by"], told["is_due"], told["longest"]) == ("owner", False, 7200.0)

    # A runner becomes free: the flood is overtaken, and is told by how much.
    first = next(iter(rig.manager.tasks.values()))
    await rig.manager.finish(first.task_id)
    await daemon.event("task.submitted", task=behind)
    running = "SELECT count(*) AS count FROM runner_manager_task WHERE status = 'running'"
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while (await rig.fetch(running))[0]["count"] != 2:  # the result of the first one is imported
            await rig.look()
        while not await rig.fetch("SELECT FROM poddispatchd.overtaking WHERE task_pk = $1", behind):
            await rig.get("/metrics")
    # What counted at that moment as a runner at work depends on how far the callback of the first was.
    begun = (
        "UPDATE poddispatchd.overtaking SET begun_at = now() - $2::interval, share = 0.5 WHERE task_pk = $1"
    )
    await rig.execute(begun, behind, timedelta(minutes=30))
    shown = (await rig.run("tasks", "show", str(flood[2]))).out
    assert "put back by 15 min so far" in shown  # half an hour of one of two runners
    await rig.execute(begun, behind, timedelta(hours=5))
    shown = (await rig.run("tasks", "show", str(flood[2]))).out
    assert "put back by 2 h 30 min so far, goes by Pod's order now" in shown


async def test_by_default_it_is_pods_order_and_nothing_is_told_of_fair_share(rig: Rig) -> None:
    rig.manager.faults.script = lambda _: Behaviour(seconds=3600)
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))

    flood = await _add(rig, "employee", 4)
    await daemon.events("task.submitted", 2)
    [behind] = await _add(rig, "subscriber", 1)
    await rig.execute("SELECT pg_notify('poddispatchd_task', 'pending')")
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while await _ranks(rig) != [*flood[2:], behind]:
            await rig.look()

    assert "fair share" not in (await rig.run("tasks", "show", str(behind))).out
    assert await rig.fetch("SELECT FROM poddispatchd.overtaking") == []

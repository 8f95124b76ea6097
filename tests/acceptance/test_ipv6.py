"""A Pod and its runner managers that have IPv6 alone."""

import aiohttp

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from tests.acceptance.rig import TOKEN, Rig
from tests.ipv6 import needs_ipv6


@needs_ipv6
async def test_tasks_are_given_and_called_back_for_without_ipv4(rig: Rig) -> None:
    rig.set("webhook", listen="[::1]:0", trusted_proxies=["::1"])
    rig.set("ops", listen="[::1]:0")
    # Nothing is found by asking.
    rig.set("reconcile", interval="1h", running_after="1h")
    async with FakeRunnerManager(
        token=TOKEN, host="::1", task_seconds=0.05, connect_to=rig.manager.connect_to
    ) as manager:
        assert manager.url.startswith("http://[::1]:")
        await rig.execute("UPDATE runner_manager SET url = $1", manager.url)
        tasks = await rig.add(TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)
        daemon = await rig.start()
        for task in tasks:
            await daemon.event("task.completed", task=task)
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{rig.webhook}/runner/notify_task_end/",
                headers={"Authorization": "Bearer of-nobody", "X-Forwarded-For": "[2001:db8::7]:4711"},
                json={},
            ) as answer,
        ):
            assert answer.status == 403
        assert (await daemon.event("callback.refused"))["remote"] == "2001:db8::7"
        rig.set("ops", listen=rig.ops.removeprefix("http://"))
        status = await rig.run("status")
        assert (status.status, "schedules" in status.out) == (0, True)
        assert (await rig.get("/status"))[0] == 200
        assert (await rig.run("runners", "test")).status == 0

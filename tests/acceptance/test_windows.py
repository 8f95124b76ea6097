"""Hours for types of tasks and for runner managers, and planned maintenance, with a running daemon."""

import asyncio
import json
import re
import signal
from datetime import UTC, datetime, timedelta

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox.fake_runner_manager import Behaviour
from tests.acceptance.process import ANNOUNCED_WITHIN
from tests.acceptance.rig import Rig


def _hours(begins: timedelta) -> str:
    """Two hours of a window, from so long after now."""
    opens = datetime.now(UTC) + begins
    return f"{opens:%H:%M}-{opens + timedelta(hours=2):%H:%M}"


async def _until(rig: Rig, task: TaskPk, status: str) -> None:
    async with asyncio.timeout(ANNOUNCED_WITHIN):
        while (await rig.statuses())[task] != status:
            await rig.look()


async def test_transcriptions_wait_for_the_night_and_everybody_is_told_until_when(rig: Rig) -> None:
    rig.set("windows", time_zone="UTC", task_types={"transcription": _hours(timedelta(hours=3))})
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))

    [waits, encodes] = await rig.add(TaskType.TRANSCRIPTION, TaskType.ENCODING)
    await _until(rig, encodes, "completed")

    assert (await rig.statuses())[waits] == "pending"
    state = json.loads((await rig.get("/api/status"))[1])
    [queue] = [entry for entry in state["queue"] if entry["type"] == "transcription"]
    assert (queue["why"]["reason"], queue["why"]["severity"]) == ("window_closed", "normal")
    assert (queue["window"]["is_open"], state["problems"]) == (False, [])
    opens_at = datetime.fromisoformat(queue["window"]["opens_at"])
    assert timedelta(hours=2, minutes=58) < opens_at - datetime.now(UTC) <= timedelta(hours=3)
    said = r"waits for its window, which opens .*in 2 h 5\d min"
    for words in (
        (await rig.run("tasks", "show", str(waits))).out,
        (await rig.run("tasks", "list")).out,
        (await rig.get("/status"))[1],
    ):
        assert re.search(said, words)
    status = (await rig.run("status")).out
    assert "transcription: They wait for their window, which opens at" in status
    assert "transcription: window " in status
    [listed] = [
        row for row in json.loads((await rig.run("tasks", "list", "--json")).out) if row["id"] == waits
    ]
    assert datetime.fromisoformat(listed["window_opens_at"]) == opens_at
    assert 'poddispatchd_window_closed{type="transcription"} 1.0' in (await rig.get("/metrics"))[1]
    checked = (await rig.run("check")).out
    assert "ok      windows: transcription: window" in checked

    # The hours are changed while the daemon runs: the task begins, and everybody goes on.
    rig.set("windows", task_types={"transcription": _hours(timedelta(hours=-1))})
    assert rig.config.exists()
    daemon.signal(signal.SIGHUP)
    await _until(rig, waits, "completed")


async def test_a_task_that_runs_when_maintenance_begins_ends_as_if_there_were_none(rig: Rig) -> None:
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    rig.manager.faults.script = lambda _: Behaviour(seconds=3600)
    [runs] = await rig.add(TaskType.ENCODING)
    await daemon.event("task.submitted")

    paused = await rig.run("runners", "pause", "encoders", "--until", "2h", "--reason", "new disks")
    rig.manager.faults.script = None
    [waits] = await rig.add(TaskType.ENCODING)
    await rig.until_paused()

    assert "gets no new tasks until " in paused.out
    state = json.loads((await rig.get("/api/status"))[1])
    [manager] = state["managers"]
    assert (manager["pause_reason"], manager["paused_until"] is not None) == ("new disks", True)
    shown = (await rig.run("tasks", "show", str(waits))).out
    assert "The first pause ends at" in shown
    assert "(in 1 h 59 min): new disks" in (await rig.run("status")).out
    assert "paused since" in (await rig.get("/status"))[1]
    assert await rig.statuses() == {runs: "running", waits: "pending"}

    [record] = rig.manager.tasks.values()
    await rig.manager.finish(record.task_id)
    await _until(rig, runs, "completed")
    assert (await rig.statuses())[waits] == "pending"
    assert (await rig.run("runners", "resume", "encoders")).out == (
        "Runner manager encoders gets tasks again.\n"
    )
    await _until(rig, waits, "completed")


async def test_planned_maintenance_comes_and_passes_without_anybody(rig: Rig) -> None:
    """The plan is in the database: whoever schedules then keeps to it."""
    await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    planned = await rig.run("runners", "pause", "encoders", "--from", "2h", "--until", "1h")
    assert "gets no new tasks from " in planned.out
    await rig.execute(
        "UPDATE poddispatchd.planned_pause SET begins_at = now(), ends_at = now() + interval '4 seconds'"
    )
    await rig.execute("SELECT pg_notify('poddispatchd_task', 'administration')")
    await rig.until_paused()

    [waits] = await rig.add(TaskType.ENCODING)
    assert (await rig.statuses())[waits] == "pending"
    await _until(rig, waits, "completed")
    [row] = await rig.fetch(
        "SELECT submission.created_at >= ends_at AS kept"
        " FROM poddispatchd.submission, poddispatchd.planned_pause"
    )
    assert row["kept"]

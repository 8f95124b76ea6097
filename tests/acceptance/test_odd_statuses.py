"""Tasks whose status is none of Pod's: written by hand, or by a Pod of another release."""

import json

from poddispatchd.domain.task import TaskPk, TaskType
from tests.acceptance.rig import Rig

_MANY = 10_000


async def _odd(rig: Rig, status: str) -> TaskPk:
    [task] = await rig.add(TaskType.ENCODING)
    await rig.execute("UPDATE runner_manager_task SET status = $2 WHERE id = $1", task, status)
    return task


async def test_they_are_told_everywhere_and_hold_up_nothing(rig: Rig) -> None:
    """They were in no figure and no list, and could not be cancelled: a video was in progress for good."""
    paused, empty, loud = [await _odd(rig, status) for status in ("paused", "", "PENDING")]
    await rig.execute(
        "INSERT INTO runner_manager_task (type, status, date_added, video_id)"
        " SELECT 'encoding', 'paused', now(), video_id FROM runner_manager_task, generate_series(1, $2)"
        " WHERE id = $1",
        paused,
        _MANY,
    )
    [other] = await rig.add(TaskType.STUDIO)

    daemon = await rig.start()
    await daemon.event("task.completed", task=other)
    metrics = (await rig.get("/metrics"))[1]
    state = json.loads((await rig.get("/api/status"))[1])
    check = await rig.run("check")
    listed = await rig.run("tasks", "list", "--status", "other", "--limit", "3")
    shown = await rig.run("tasks", "show", str(empty))

    words = (
        f"{_MANY + 3} tasks have a status that Pod does not have, and do not move (as task {paused}): "
        "see 'poddispatchd tasks list --status other', and restart or cancel them."
    )
    assert words in state["notices"]
    assert state["problems"] == []
    assert f"note    pending tasks: {words}" in check.out
    assert f'poddispatchd_tasks{{status="other",type="encoding"}} {_MANY + 3}.0' in metrics
    assert listed.out.count("paused") == 3
    assert f"poddispatchd tasks restart {empty}" in shown.out

    assert (await rig.run("tasks", "cancel", str(loud))).status == 0
    assert (await rig.statuses())[loud] == "failed"
    assert (await rig.run("tasks", "restart", str(empty))).status == 0
    await daemon.event("task.completed", task=empty)
    assert f'type="encoding"}} {_MANY + 1}.0' in (await rig.get("/metrics"))[1]

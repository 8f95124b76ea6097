"""Why tasks wait, as the daemon, its page, its metrics and the commands tell it: one answer everywhere."""

import asyncio
import json
from typing import cast

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox.fake_runner_manager.faults import AnswerFault, FaultKind
from tests.acceptance.process import ANNOUNCED_WITHIN, Process
from tests.acceptance.rig import Rig


async def _status(rig: Rig) -> dict[str, object]:
    return cast("dict[str, object]", json.loads((await rig.get("/api/status"))[1]))


async def _why(rig: Rig, kind: str = "encoding") -> dict[str, str]:
    queue = cast("list[dict[str, object]]", (await _status(rig))["queue"])
    return cast("dict[str, str]", next(entry["why"] for entry in queue if entry["type"] == kind))


async def _started_with_a_full_manager(rig: Rig, tasks: int) -> tuple[Process, list[TaskPk]]:
    rig.manager.faults.inject("execute", AnswerFault(kind=FaultKind.STATUS, status=503), times=None)
    daemon = await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    added = await rig.add(*[TaskType.ENCODING] * tasks)
    await daemon.event("runner_manager.full")
    return daemon, added


async def test_tasks_behind_a_full_manager_say_so_everywhere(rig: Rig) -> None:
    """Ten tasks waited behind full managers under "All is well."."""
    _, tasks = await _started_with_a_full_manager(rig, 2)
    await rig.execute("UPDATE runner_manager_task SET date_added = date_added - interval '50 minutes'")

    why = await _why(rig)

    assert why["reason"] == "managers_full"
    assert why["words"].startswith("They wait for a free runner: encoders is full since ")
    assert "The oldest has been waiting for 50 min." in why["words"]
    state = await _status(rig)
    assert state["problems"] == []
    assert [str(notice) for notice in cast("list[object]", state["notices"])] == [
        f"Pending tasks of type encoding: {why['words']}"
    ]
    page = (await rig.get("/status"))[1]
    assert "They wait for a free runner: encoders is full since " in page
    assert "All is well." not in page
    status = await rig.run("status")
    assert (status.status, "encoding: They wait for a free runner" in status.out) == (0, True)
    async with asyncio.timeout(ANNOUNCED_WITHIN):  # ranks are written by a job of their own
        while not await rig.fetch("SELECT FROM runner_manager_task WHERE id = $1 AND rank = 2", tasks[1]):
            await rig.look()
    shown = (await rig.run("tasks", "show", str(tasks[1]))).out
    assert "why it waits    It waits for a free runner: encoders is full since " in shown
    assert "place 2 in the queue" in shown


async def test_paused_managers_are_to_be_resumed(rig: Rig) -> None:
    await rig.start()
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    assert (await rig.run("db", "init")).status == 0
    assert (await rig.run("runners", "pause", "encoders")).status == 0
    [task] = await rig.add(TaskType.ENCODING)
    await rig.until_paused()

    shown = (await rig.run("tasks", "show", str(task), "--json")).out

    assert "runners resume encoders" in shown
    assert "add one in Pod" not in (await rig.run("check")).text


async def test_a_change_by_hand_shows_at_once_and_figures_are_dated(rig: Rig) -> None:
    daemon, tasks = await _started_with_a_full_manager(rig, 3)
    assert '"pending": 3' in (await rig.get("/api/status"))[1]

    await rig.run("tasks", "cancel", str(tasks[0]))
    await daemon.event("person.acted", act="cancel")  # PostgreSQL tells the daemon when it comes to it

    state = await _status(rig)
    [queue] = [
        entry for entry in cast("list[dict[str, object]]", state["queue"]) if entry["type"] == "encoding"
    ]
    assert queue["counts"] == {"pending": 2, "running": 0, "completed": 0, "failed": 1, "timeout": 0}
    assert state["as_of"] is not None
    assert "Tasks as of 20" in (await rig.run("status")).out


async def test_a_task_whose_row_is_held_names_who_holds_it(rig: Rig) -> None:
    _, tasks = await _started_with_a_full_manager(rig, 1)
    async with rig.database.connection() as holder, holder.transaction():
        await holder.execute("SET application_name = 'somebody'")
        await holder.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", tasks[0])
        await holder.execute("SELECT pg_sleep(6)")
        shown = (await rig.run("tasks", "show", str(tasks[0]))).out
    assert "Its row is locked by somebody" in shown


async def test_a_missing_source_is_told_before_anybody_waits_for_it(rig: Rig) -> None:
    [task] = await rig.add(TaskType.ENCODING)
    await rig.execute("UPDATE video_video SET video = 'videos/gone.mp4'")
    assert (await rig.run("db", "init")).status == 0

    shown = (await rig.run("tasks", "show", str(task))).out

    assert "gone.mp4 does not exist." in shown


async def test_without_a_daemon_nobody_schedules(rig: Rig) -> None:
    [task] = await rig.add(TaskType.ENCODING)
    assert (await rig.run("db", "init")).status == 0

    assert (
        "Nobody schedules: no poddispatchd runs on this database."
        in (await rig.run("tasks", "show", str(task))).out
    )


async def test_every_end_is_told_and_counted_once_whoever_ended_the_task(rig: Rig) -> None:
    """Duplicates ended without a line: 2,588 rows, 23 lines."""
    daemon, tasks = await _started_with_a_full_manager(rig, 3)
    await rig.get("/metrics")

    await rig.run("tasks", "cancel", str(tasks[0]))
    await rig.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", tasks[1])
    rig.manager.faults.clear()
    await daemon.event("task.completed", task=tasks[2])

    ends = [(entry["task"], entry["status"]) for entry in await daemon.events("task.ended", 3)]
    assert sorted(ends) == [(tasks[0], "failed"), (tasks[1], "completed"), (tasks[2], "completed")]
    metrics = (await rig.get("/metrics"))[1]
    assert 'poddispatchd_ended_total{outcome="completed",type="encoding"} 2.0' in metrics
    assert 'poddispatchd_ended_total{outcome="failed",type="encoding"} 1.0' in metrics


async def test_metrics_are_true_when_they_are_read(rig: Rig) -> None:
    rig.manager.faults.inject("file", AnswerFault(kind=FaultKind.HANG), times=None)
    daemon = await rig.start()
    [task] = await rig.add(TaskType.ENCODING)
    await daemon.event("import.started", task=task)

    metrics = (await rig.get("/metrics"))[1]

    for line in (
        'poddispatchd_runner_manager_running_tasks{runner_manager="encoders"} 1.0',
        'poddispatchd_tasks{status="running",type="encoding"} 1.0',
        'poddispatchd_backlog{queue="imports"} 1.0',
        'poddispatchd_backlog{queue="deliveries"} 0.0',
        'poddispatchd_set_aside{queue="callbacks"} 0.0',
        'poddispatchd_runner_manager_paused{runner_manager="encoders"} 0.0',
        "poddispatchd_media_usable 1.0",
        "poddispatchd_config_reload_success 1.0",
    ):
        assert f"\n{line}\n" in metrics, line
    assert 'poddispatchd_job_last_progress_timestamp_seconds{job="dispatcher"} 1' in metrics
    assert "\nprocess_resident_memory_bytes " in metrics
    assert "_created" not in metrics
    assert 'poddispatchd_wait_seconds_count{type="encoding"} 1.0' in metrics
    await rig.execute("UPDATE runner_manager_task SET status = 'failed'")
    await rig.run("runners", "pause", "encoders")
    ended = await daemon.event("task.ended", task=task)
    assert (ended["status"], ended["runner_manager"]) == ("failed", "encoders")
    assert 'poddispatchd_run_seconds_count{type="encoding"} 1.0' in (await rig.get("/metrics"))[1]


async def test_an_inactive_manager_that_cannot_be_reached_is_not_up(rig: Rig) -> None:
    await rig.execute("UPDATE runner_manager SET is_active = false, url = 'http://127.0.0.1:9/'")
    daemon = await rig.start()

    await daemon.event("runner_manager.down")

    assert 'poddispatchd_runner_manager_up{runner_manager="encoders"} 0.0' in (await rig.get("/metrics"))[1]


@pytest.mark.parametrize("path", ["/health/ready", "/status"])
async def test_a_daemon_that_lost_its_database_says_that_and_not_that_another_one_schedules(
    rig: Rig, path: str
) -> None:
    from urllib.parse import urlsplit, urlunsplit  # noqa: PLC0415 - of this test alone

    from chaos.proxy import Proxy  # noqa: PLC0415

    address = urlsplit(rig.database.dsn.get_secret_value())
    async with Proxy(int(address.port or 0)) as proxy:
        login = address.netloc.rpartition("@")[0]
        rig.use(urlunsplit(address._replace(netloc=f"{login}@127.0.0.1:{proxy.port}")))
        daemon = await rig.start()
        proxy.cut()
        await daemon.event("database.down")

        code, text = await rig.get(path)

        assert "The database cannot be reached" in text or "The database closed the connection" in text
        assert "another daemon schedules" not in text
        if path == "/health/ready":
            assert (code, json.loads(text)["ready"]) == (503, False)
            assert json.loads(text)["reason"].startswith("The database ")


async def test_acts_of_people_are_in_the_log_of_the_daemon_and_kept_with_the_task(rig: Rig) -> None:
    daemon, tasks = await _started_with_a_full_manager(rig, 1)

    await rig.run("tasks", "cancel", str(tasks[0]), env={"SUDO_USER": "anna"})
    await daemon.event("person.acted", act="cancel")
    await rig.run("tasks", "restart", str(tasks[0]), env={"SUDO_USER": "anna"})
    await rig.run("runners", "pause", "encoders", env={"SUDO_USER": "bob"})
    paused = await daemon.event("person.acted", act="pause")

    assert (paused["runner_manager"], str(paused["by"]).startswith("bob on ")) == ("encoders", True)
    restarted = await daemon.event("person.acted", act="restart")
    assert (restarted["task"], restarted["status_before"]) == (tasks[0], "failed")
    shown = (await rig.run("tasks", "show", str(tasks[0]))).out
    assert "\nacts:\n  act cancel, by anna on " in shown
    assert "  act restart, by anna on " in shown
    assert "status before failed" in shown

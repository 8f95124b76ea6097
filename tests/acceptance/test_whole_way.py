import json

import aiohttp

from poddispatchd.domain.task import TaskType
from tests.acceptance.rig import TOKEN, Rig

_ALL = (TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)


async def test_tasks_of_every_type_go_from_pending_to_completed(rig: Rig) -> None:
    tasks = await rig.add(*_ALL)
    daemon = await rig.start()

    for task in tasks:
        await daemon.event("task.completed", task=task)

    assert dict.fromkeys(tasks, "completed") == await rig.statuses()
    # The manager really called: nothing was found by asking.
    assert len(tasks) == len([entry for entry in daemon.entries if entry["event"] == "callback.applied"])
    [encoded] = await rig.fetch(
        "SELECT encoding_in_progress AS busy, count(encoding.id) AS encodings FROM video_video AS video"
        " JOIN runner_manager_task AS task ON task.video_id = video.id AND task.type = 'encoding'"
        " LEFT JOIN video_encode_transcript_encodingvideo AS encoding ON encoding.video_id = video.id"
        " GROUP BY video.id"
    )
    assert (encoded["busy"], encoded["encodings"] != 0) == (False, True)


async def test_a_task_that_is_added_while_the_daemon_runs_is_found(rig: Rig) -> None:
    daemon = await rig.start()

    [task] = await rig.add(TaskType.ENCODING)

    await daemon.event("task.completed", task=task)


async def test_nobody_sees_the_token_or_the_password(rig: Rig) -> None:
    # The fixture searches everything that is collected here.
    await rig.add(*_ALL)
    daemon = await rig.start(fresh=True)
    await daemon.event("task.completed")

    rig.witnessed.append(daemon.command_line)
    for path in ("/metrics", "/status", "/api/status", "/health/live", "/health/ready"):
        status, _ = await rig.get(path)
        assert status == 200
    for line in ("config show", "config show --json", "check", "tasks list", "tasks show 1", "db status"):
        assert "Traceback" not in (await rig.run(*line.split())).text
    rig.set("ops", listen=rig.ops.removeprefix("http://"))
    assert "encoders" in (await rig.run("status")).out
    assert "encoders" in (await rig.run("runners", "list", "--json")).out


async def test_an_unauthenticated_client_at_the_webhook_is_turned_away_and_the_manager_is_not(
    rig: Rig,
) -> None:
    await rig.start()
    url = f"{rig.webhook}/runner/notify_task_end/"
    answers = []
    async with aiohttp.ClientSession() as session:
        for token in ("not-" + TOKEN, TOKEN):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            async with session.post(
                url, data=json.dumps({"task_id": "x", "status": "completed"}), headers=headers
            ) as answer:
                answers.append(answer.status)

    assert answers == [403, 404]


async def test_metrics_tell_of_finished_work(rig: Rig) -> None:
    [task] = await rig.add(TaskType.ENCODING)
    daemon = await rig.start()
    await daemon.event("task.completed", task=task)

    _, metrics = await rig.get("/metrics")

    assert 'poddispatchd_imports_total{outcome="completed",type="encoding"} 1.0' in metrics
    submitted = (
        'poddispatchd_submissions_total{outcome="accepted",runner_manager="encoders",type="encoding"} 1.0'
    )
    assert submitted in metrics

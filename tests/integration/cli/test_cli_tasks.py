from datetime import datetime
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest

from poddispatchd.callbacks import inbox
from poddispatchd.cli import task_actions, task_watch
from poddispatchd.database import migration
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk, TaskStatus, TaskType
from poddispatchd.sandbox.pod.world import SampleVideo, add_task, add_video
from tests.integration.cli.conftest import TOKEN, Pod


async def _video(pod: Pod, title: str = "A lecture") -> SampleVideo:
    async with pod.database.connection() as connection:
        return await add_video(connection, pod.world, title=title)


async def _pending(pod: Pod) -> TaskPk:
    video = await _video(pod)
    async with pod.database.connection() as connection:
        return await add_task(connection, TaskType.ENCODING, video=video)


async def _row(pod: Pod, task: TaskPk) -> dict[str, object]:
    [row] = await pod.fetch("SELECT * FROM runner_manager_task WHERE id = $1", task)
    return dict(row)


async def test_tasks_are_listed_newest_first_for_people_and_for_programs(pod: Pod) -> None:
    older, newer = await _pending(pod), await _pending(pod)

    table = await pod.run("tasks", "list")
    listed = await pod.run("tasks", "list", "--json")

    head, *lines = table.out.splitlines()
    assert head.split()[:3] == ["id", "type", "status"]
    assert [line.split()[0] for line in lines] == [str(newer), str(older)]
    rows = cast("list[dict[str, object]]", listed.json())
    assert [row["id"] for row in rows] == [newer, older]
    assert rows[0]["status"] == "pending"


async def test_nothing_to_list_is_said(pod: Pod) -> None:
    table = await pod.run("tasks", "list", "--status", "failed")
    listed = await pod.run("tasks", "list", "--status", "failed", "--json")

    assert (table.status, table.out) == (0, "There are no such tasks.\n")
    assert listed.json() == []


async def test_one_task_is_shown_whole(pod: Pod) -> None:
    task = await _pending(pod)

    shown = await pod.run("tasks", "show", str(task))
    as_json = await pod.run("tasks", "show", str(task), "--json")

    assert "submissions: none" in shown.out
    data = cast("dict[str, object]", as_json.json())
    assert (data["id"], data["submissions"], data["imports"]) == (task, [], [])
    assert data["stage"] == "waiting"
    assert None not in (data["title"], data["owner"])
    assert f"title           {data['title']}\n" in shown.out


async def test_a_task_is_shown_though_a_newer_release_has_words_of_its_own_for_its_import(pod: Pod) -> None:
    await _with_journal(pod)
    task = await _running(pod)
    await pod.execute("ALTER TABLE poddispatchd.import DROP CONSTRAINT import_state_check")
    await pod.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state)"
        f" VALUES ({task}, 1, 'x', 'a word of tomorrow')"
    )
    shown = await pod.run("tasks", "show", str(task))
    assert (shown.status, "a word of tomorrow" in shown.out) == (0, True)


async def test_the_stage_of_a_task_is_shown(pod: Pod) -> None:
    await _with_journal(pod)
    waiting, running = await _pending(pod), await _running(pod)
    await pod.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body)"
        f" VALUES ({waiting}, 'encoding', 1, 1, '')"
    )
    await pod.execute(
        f"INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id) VALUES ({running}, 1, 'x')"
    )

    stages = [
        cast("dict[str, object]", (await pod.run("tasks", "show", str(task), "--json")).json())["stage"]
        for task in (waiting, running)
    ]

    assert stages == ["submitting", "importing"]


async def test_until_when_a_task_waits_is_shown_while_it_does(pod: Pod) -> None:
    await _with_journal(pod)
    waiting, ready = await _pending(pod), await _pending(pod)
    for task, minutes in ((waiting, 5), (ready, -5)):
        await pod.execute(
            "INSERT INTO poddispatchd.own_task (task_pk, date_added, not_before)"
            f" SELECT id, date_added, now() + interval '{minutes} minutes'"
            f" FROM runner_manager_task WHERE id = {task}"
        )

    told = [
        cast("dict[str, object]", (await pod.run("tasks", "show", str(task), "--json")).json())["waits_until"]
        for task in (waiting, ready)
    ]

    [until] = await pod.fetch(f"SELECT not_before FROM poddispatchd.own_task WHERE task_pk = {waiting}")
    assert told == [cast("datetime", until["not_before"]).isoformat(), None]


async def test_a_submission_is_shown_with_its_manager_and_with_what_became_of_it(pod: Pod) -> None:
    await _with_journal(pod)
    task = await _running(pod)
    await pod.run("tasks", "cancel", str(task))

    shown = await pod.run("tasks", "show", str(task))

    [line] = [line for line in shown.out.splitlines() if line.startswith("  attempt 1,")]
    assert "runner manager first" in line
    assert "reason Cancelled by " in line


async def test_a_task_that_does_not_exist_is_status_1(pod: Pod) -> None:
    said = await pod.run("tasks", "show", "999")

    assert (said.status, said.err) == (1, "There is no task 999.\n")


async def _running(pod: Pod) -> TaskPk:
    """A task that really runs on the first manager."""

    payload = {
        "etab_name": "x",
        "app_name": "Pod",
        "app_version": "4.3.0",
        "task_type": "encoding",
        "source_url": "http://pod.example.org/media/videos/x.mp4",
        "notify_url": "http://pod.example.org/runner/notify_task_end/",
        "parameters": {},
    }
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.post(f"{pod.manager.url}/task/execute", json=payload) as answer,
    ):
        task_id = (await answer.json())["task_id"]
    video = await _video(pod)
    async with pod.database.connection() as connection:
        return await add_task(
            connection,
            TaskType.ENCODING,
            video=video,
            status=TaskStatus.RUNNING,
            task_id=task_id,
            runner_manager=pod.world.managers[0].id,
        )


async def _with_journal(pod: Pod) -> None:
    said = await pod.run("db", "init")
    assert said.status == 0, said.err


async def test_a_restarted_task_waits_again_and_its_run_is_stopped(pod: Pod) -> None:
    await _with_journal(pod)
    task = await _running(pod)
    task_id = RunnerTaskId(str((await _row(pod, task))["task_id"]))
    await pod.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id) VALUES ($1, $2, $3)",
        task,
        pod.world.managers[0].id,
        task_id,
    )

    said = await pod.run("tasks", "restart", str(task))

    assert (said.status, said.out) == (
        0,
        f"Task {task}: It waits again, last in the queue. Runner manager first stops it.\n",
    )
    row = await _row(pod, task)
    assert (row["status"], row["task_id"], row["runner_manager_id"]) == ("pending", None, None)
    assert any(request.path.endswith(f"/task/stop/{task_id}") for request in pod.manager.requests)
    assert await pod.fetch("SELECT task_pk FROM poddispatchd.own_task") == [{"task_pk": task}]
    assert await pod.fetch("SELECT state FROM poddispatchd.import") == [{"state": "dropped"}]
    # The next run differs from this one in its bytes, or the manager would hand this one back.
    assert await pod.fetch("SELECT state, task_id FROM poddispatchd.submission") == [
        {"state": "lost", "task_id": task_id}
    ]


@pytest.mark.parametrize("status", [TaskStatus.RUNNING, TaskStatus.PENDING])
async def test_a_cancelled_task_fails_in_words_and_its_late_result_is_not_wanted(
    pod: Pod, status: TaskStatus
) -> None:
    """One that its manager has queued is pending in Pod, and has an id."""
    await _with_journal(pod)
    task = await _running(pod)
    await pod.execute("UPDATE runner_manager_task SET status = $2 WHERE id = $1", task, status.value)

    said = await pod.run("tasks", "cancel", str(task))

    assert (said.status, said.out) == (0, f"Task {task}: It is cancelled. Runner manager first stops it.\n")
    row = await _row(pod, task)
    assert (row["status"], row["task_id"]) == ("failed", None)
    assert str(row["script_output"]).startswith("Cancelled by ")
    [video] = await pod.fetch("SELECT encoding_in_progress FROM video_video WHERE id = $1", row["video_id"])
    assert video["encoding_in_progress"] is False


async def test_a_task_is_cancelled_though_its_manager_does_not_answer(pod: Pod) -> None:
    video = await _video(pod)
    async with pod.database.connection() as connection:
        task = await add_task(
            connection,
            TaskType.ENCODING,
            video=video,
            status=TaskStatus.RUNNING,
            task_id="gone",
            runner_manager=pod.world.managers[1].id,
        )

    said = await pod.run("tasks", "cancel", str(task))

    assert said.status == 0
    assert "It may still run: Runner manager 'second' cannot be reached" in said.out
    assert (await _row(pod, task))["status"] == "failed"


async def test_what_cannot_be_done_is_said_and_the_rest_is_done(pod: Pod) -> None:
    task = await _pending(pod)

    said = await pod.run("tasks", "cancel", str(task), "999", "--json")
    again = await pod.run("tasks", "cancel", str(task))
    restarted = await pod.run("tasks", "restart", str(task), "999")

    assert said.status == 1
    assert said.json() == [
        {"id": task, "done": True, "words": "It is cancelled."},
        {"id": 999, "done": False, "words": "There is no such task."},
    ]
    assert (again.status, again.err) == (1, f"Task {task}: It has ended already: failed.\n")
    assert (restarted.status, "Task 999: There is no such task." in restarted.err) == (1, True)
    assert (await _row(pod, task))["status"] == "pending"


async def _newer(pod: Pod, running: TaskPk) -> TaskPk:
    """A task of the same source that waits, asked for after the other one had begun."""
    [row] = await pod.fetch(
        "INSERT INTO runner_manager_task (type, status, date_added, video_id)"
        " SELECT type, 'pending', now(), video_id FROM runner_manager_task WHERE id = $1 RETURNING id",
        running,
    )
    return TaskPk(cast("int", row["id"]))


async def _on_a_dead_manager(pod: Pod) -> tuple[TaskPk, TaskPk]:
    video = await _video(pod)
    async with pod.database.connection() as connection:
        old = await add_task(
            connection,
            TaskType.ENCODING,
            video=video,
            status=TaskStatus.RUNNING,
            task_id="t-old",
            runner_manager=pod.world.managers[1].id,
        )
    return old, await _newer(pod, old)


async def test_a_pending_task_of_an_unknown_type_says_that_nothing_submits_it(pod: Pod) -> None:
    task = await _pending(pod)
    await pod.fetch("UPDATE runner_manager_task SET type = 'hologram' WHERE id = $1", task)

    shown = await pod.run("tasks", "show", str(task))
    as_json = await pod.run("tasks", "show", str(task), "--json")

    assert "why it waits    Nothing submits tasks of type 'hologram'." in shown.out
    why = cast("dict[str, dict[str, str]]", as_json.json())["why"]
    assert why["reason"] == "type_unknown"
    assert why["remedy"] == f"If nobody needs it: 'poddispatchd tasks cancel {task}'."


async def test_who_waits_for_whom_is_shown_listed_and_said_by_a_restart(pod: Pod) -> None:
    """The one ran on a manager that was gone, the other one waited, and neither said why."""
    await _with_journal(pod)
    old, new = await _on_a_dead_manager(pod)

    shown = await pod.run("tasks", "show", str(new))
    listed = await pod.run("tasks", "list", "--json")
    refused = await pod.run("tasks", "restart", str(new))

    blocker = f"task {old} for the same source, which is running on runner manager second (task id t-old)"
    assert f"waits for       {blocker}\n" in shown.out
    assert {item["id"]: item["waits_for"] for item in cast("list[dict[str, int]]", listed.json())} == {
        new: old,
        old: None,
    }
    assert (refused.status, refused.err) == (
        1,
        f"Task {new}: There is {blocker}: end that one ('poddispatchd tasks cancel {old}'), "
        "or restart this one with --end-others.\n",
    )


async def test_a_restart_ends_the_other_task_of_its_source_when_it_is_told_to(pod: Pod) -> None:
    await _with_journal(pod)
    old, new = await _on_a_dead_manager(pod)

    said = await pod.run("tasks", "restart", str(new), "--end-others")

    assert said.status == 0
    assert f"Task {old}: It is ended. It may still run: Runner manager 'second' cannot be reached" in said.out
    assert f"Task {new}: It waits again, last in the queue.\n" in said.out
    ended, waiting = await _row(pod, old), await _row(pod, new)
    assert (ended["status"], ended["task_id"], waiting["status"]) == ("failed", None, "pending")
    assert "who restarted another task of its source" in str(ended["script_output"])


@pytest.mark.parametrize("which", ["old", "new"])
async def test_either_task_of_one_source_can_be_ended_alone(pod: Pod, which: str) -> None:
    await _with_journal(pod)
    old, new = await _on_a_dead_manager(pod)
    await pod.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id)"
        " SELECT id, type, runner_manager_id, 1, '', 'accepted', task_id"
        " FROM runner_manager_task WHERE id = $1",
        old,
    )
    await pod.execute(
        "INSERT INTO poddispatchd.wish (submission_id, task_pk, date_added)"
        " SELECT submission.id, task.id, task.date_added"
        " FROM poddispatchd.submission, runner_manager_task AS task WHERE task.id = $1",
        new,
    )
    ended, other = (old, new) if which == "old" else (new, old)

    said = await pod.run("tasks", "cancel", str(ended))

    assert said.status == 0
    assert (await _row(pod, ended))["status"] == "failed"
    assert (await _row(pod, other))["status"] == ("pending" if which == "old" else "running")
    if which == "old":
        # The one that waited is not to end as the one that a person has ended.
        assert await pod.fetch("SELECT task_pk FROM poddispatchd.wish") == []


async def test_actions_work_before_the_journal_exists(pod: Pod) -> None:
    task = await _pending(pod)

    assert (await pod.run("tasks", "cancel", str(task))).status == 0
    assert (await pod.run("tasks", "restart", str(task))).status == 0
    async with pod.database.connection() as connection:
        assert await migration.current_version(connection) == 0


async def test_watching_tells_what_waits_and_ends_when_nothing_does(pod: Pod) -> None:
    quiet = await pod.run("tasks", "watch", "--until-done")

    assert (quiet.status, quiet.out) == (0, "")


async def test_each_change_of_a_task_is_one_line_and_what_ended_before_is_none(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, task = await _pending(pod), await _pending(pod)
    await pod.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", ended)
    [first, *_] = pod.world.managers
    changes = [
        "rank = 1",
        f"rank = NULL, status = 'running', task_id = 'x', runner_manager_id = {first.id}",
        "script_output = 'nobody is told of words'",
        "status = 'completed'",
    ]
    waits = []

    async def change(seconds: float) -> None:
        """What happens between two looks; the command has a loop of its own."""
        waits.append(seconds)
        connection = await pod.database.connect()
        await connection.execute(f"UPDATE runner_manager_task SET {changes.pop(0)} WHERE id = $1", task)
        await connection.close()

    monkeypatch.setattr(task_watch, "asyncio", SimpleNamespace(sleep=change))
    said = await pod.run("tasks", "watch", "--until-done", "--interval", "7")

    assert (said.status, said.err, changes, waits) == (0, "", [], [7.0] * 4)
    video = (await _row(pod, task))["video_id"]
    assert [line.split() for line in said.out.splitlines()] == [
        ["task", str(task), "encoding", *facts]
        for facts in (
            ["pending", "video", str(video)],
            ["pending", "video", str(video), "rank", "1"],
            ["running", "video", str(video), "on", "first"],
            ["completed", "video", str(video), "on", "first"],
        )
    ]


async def test_an_old_task_is_watched_to_its_end_however_many_are_newer(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 500 newer ones it was not seen, and the command ended at once as if nothing waited."""
    old, again = await _pending(pod), await _pending(pod)
    newer = [await _pending(pod) for _ in range(3)]
    await pod.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id <> $1", old)
    monkeypatch.setattr(task_watch, "_NEWEST", len(newer))
    monkeypatch.setattr(task_watch, "_SEARCH_EVERY", 0.0)
    changes = [
        f"UPDATE runner_manager_task SET status = 'warning' WHERE id = {old}",
        f"UPDATE runner_manager_task SET status = 'pending' WHERE id = {again}",
        f"UPDATE runner_manager_task SET status = 'completed' WHERE id = {old}",
        f"UPDATE runner_manager_task SET status = 'failed' WHERE id = {again}",
    ]

    async def change(_: float) -> None:
        connection = await pod.database.connect()
        await connection.execute(changes.pop(0))
        await connection.close()

    monkeypatch.setattr(task_watch, "asyncio", SimpleNamespace(sleep=change))
    said = await pod.run("tasks", "watch", "--until-done")

    assert (said.status, changes) == (0, [])
    assert [tuple(line.split()[1:4:2]) for line in said.out.splitlines()] == [
        (str(old), "pending"),
        (str(old), "warning"),
        (str(again), "pending"),
        (str(old), "completed"),
        (str(again), "failed"),
    ]


async def test_more_tasks_than_can_be_restarted_at_once_are_left_as_they_are(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_actions, "MOST_AT_ONCE", 1)
    tasks = [await _pending(pod), await _pending(pod)]
    await pod.execute("UPDATE runner_manager_task SET status = 'failed'")

    said = await pod.run("tasks", "restart", "--failed", "--yes")

    assert (said.status, "These are more than 1 tasks: choose fewer" in said.err) == (2, True)
    assert {(await _row(pod, task))["status"] for task in tasks} == {"failed"}


async def test_nothing_in_an_output_acts_on_the_terminal(pod: Pod) -> None:
    """A runner's output set the title of the window, and could have typed for the person who looked at it."""
    await _with_journal(pod)
    task = await _running(pod)
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\r\nlast line"
    await pod.execute("UPDATE runner_manager_task SET script_output = $1::text, task_id = $1::text", hostile)
    await pod.execute("UPDATE runner_manager SET name = $1", "first\x1b[2J")

    said = [
        await pod.run("tasks", "show", str(task)),
        await pod.run("tasks", "show", str(task), "--json"),
        await pod.run("tasks", "list"),
        await pod.run("tasks", "cancel", str(task)),
        await pod.run("runners", "list"),
    ]

    for answer in said:
        assert not set("\x1b\x07\x9b\u202e\r") & set(answer.out + answer.err)
    assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil" in said[0].out
    assert cast("dict[str, object]", said[1].json())["script_output"] == hostile


async def test_a_callback_that_could_not_be_applied_is_shown_with_its_task_and_why(pod: Pod) -> None:
    """A task whose end could not be written was once shown as at work, and nothing else."""
    video = await _video(pod)
    [first, *_] = pod.world.managers
    async with pod.database.connection() as connection:
        task = await add_task(
            connection,
            TaskType.ENCODING,
            video=video,
            status=TaskStatus.RUNNING,
            task_id="run-1",
            runner_manager=first.id,
        )
        assert (await pod.run("db", "init")).status == 0
        callback = Callback(RunnerTaskId("run-1"), RunnerStatus.COMPLETED)
        await inbox.record(connection, (first.id,), callback)
        await connection.execute(
            "UPDATE poddispatchd.callback SET attempts = 7, last_error = 'The database refused a statement.'"
        )

    shown = await pod.run("tasks", "show", str(task))
    data = cast(
        "dict[str, list[dict[str, object]]]", (await pod.run("tasks", "show", str(task), "--json")).json()
    )

    assert "status completed, state open, attempts 7, last error The database refused a" in shown.out
    assert [entry["attempts"] for entry in data["callbacks"]] == [7]


async def test_callbacks_that_were_applied_are_shown_with_what_they_did(pod: Pod) -> None:
    """Of a task that had ended well it was said that nobody had called."""
    await _with_journal(pod)
    task = await _running(pod)
    [first, *_] = pod.world.managers
    async with pod.database.connection() as connection:
        run = RunnerTaskId(str((await _row(pod, task))["task_id"]))
        for said in (RunnerStatus.FAILED, RunnerStatus.COMPLETED):
            await inbox.record(connection, (first.id,), Callback(run, said))
        await inbox.record(connection, (first.id,), Callback(RunnerTaskId("another"), RunnerStatus.FAILED))
        await connection.execute(
            "UPDATE poddispatchd.callback SET state = 'applied', outcome = 'import', handled_at = now()"
            " WHERE status = 'completed'"
        )

    shown = await pod.run("tasks", "show", str(task))
    data = cast(
        "dict[str, list[dict[str, object]]]", (await pod.run("tasks", "show", str(task), "--json")).json()
    )

    assert [(each["status"], each["state"], each["outcome"]) for each in data["callbacks"]] == [
        ("failed", "open", None),
        ("completed", "applied", "import"),
    ]
    assert "status completed, state applied, outcome import" in shown.out


@pytest.mark.parametrize(("on_terminal", "option"), [(True, ""), (True, "--all"), (False, "")])
async def test_a_long_output_is_shortened_on_a_terminal(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, on_terminal: bool, option: str
) -> None:
    """Hundreds of lines of a runner pushed away what had been said about the task."""
    task = await _running(pod)
    lines = [f"line {number}" for number in range(1, 501)]
    await pod.execute(
        "UPDATE runner_manager_task SET script_output = $2 WHERE id = $1", task, "\n".join(lines)
    )
    monkeypatch.setattr("poddispatchd.cli.tasks._is_terminal", lambda: on_terminal)

    shown = await pod.run("tasks", "show", str(task), *option.split())

    _, _, output = shown.out.partition("output:\n")
    if on_terminal and not option:
        note = "… 470 lines are left out: --all shows them …"
        assert output.splitlines() == [*lines[:10], note, *lines[-20:]]
    else:
        assert output.splitlines() == lines

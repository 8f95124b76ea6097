"""Tasks chosen and listed for people, and begun again many at once."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from poddispatchd.cli.task_list import list_
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.tasks.forecasts import Forecasts
from tests.integration.cli.conftest import Pod


async def _task(
    pod: Pod, title: str, status: TaskStatus, *, words: str | None = None, days: int = 0
) -> TaskPk:
    async with pod.database.connection() as connection:
        video = await add_video(connection, pod.world, title=title)
        task = await add_task(connection, TaskType.ENCODING, video=video, status=status)
        await connection.execute(
            "UPDATE runner_manager_task SET script_output = $2, runner_manager_id = 1,"
            " date_added = date_added - make_interval(days => $3) WHERE id = $1",
            *(task, words, days),
        )
    return task


async def _listed(pod: Pod, *options: str) -> list[object]:
    said = await pod.run("tasks", "list", "--json", *options)
    assert said.status == 0, said.err
    return [row["id"] for row in cast("list[dict[str, object]]", said.json())]


async def _statuses(pod: Pod) -> list[object]:
    return [row["status"] for row in await pod.fetch("SELECT status FROM runner_manager_task ORDER BY id")]


async def test_a_list_fits_80_columns_with_title_owner_age_manager_and_error(pod: Pod) -> None:
    title = "Une introduction très longue à la thermodynamique des systèmes ouverts et fermés"
    task = await _task(
        pod, title, TaskStatus.FAILED, words="effective video duration is 0 seconds\n---\nlog\nlog\n"
    )
    await _task(pod, "Short", TaskStatus.PENDING)

    lines = (await pod.run("tasks", "list")).out.splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["id", "type", "status", "age", "owner", "manager", "title"]
    row = next(line for line in lines if line.split()[0] == str(task))
    assert "failed" in row
    assert " first " in row
    assert "Une introduction" in row
    assert lines[lines.index(row) + 1] == "    effective video duration is 0 seconds"
    await pod.execute("UPDATE runner_manager SET name = 'encoders-of-physics' WHERE name = 'first'")
    await pod.execute(
        "UPDATE auth_user SET username = 'anne-sophie.lefebvre' FROM video_video AS video"
        " WHERE auth_user.id = video.owner_id AND video.title LIKE 'Une introduction%'"
    )
    wide = (await pod.run("tasks", "list", "--wide")).out
    for name in (title, "encoders-of-physics", "anne-sophie.lefebvre"):
        assert name in wide


async def test_tasks_are_chosen_by_what_they_are(pod: Pod) -> None:
    failed = await _task(pod, "Physics 3", TaskStatus.FAILED, words="no")
    late = await _task(pod, "Chemistry", TaskStatus.TIMEOUT)
    old = await _task(pod, "Old physics", TaskStatus.COMPLETED, days=40)

    assert await _listed(pod, "--failed") == [late, failed]
    assert await _listed(pod, "--search", "PHYSICS") == [old, failed]
    assert await _listed(pod, "--since", "7d") == [late, failed]
    assert await _listed(pod, "--since", "2020-01-01", "--status", "completed") == [old]
    assert await _listed(pod, "--manager", "first", "--limit", "1") == [old]
    assert await _listed(pod, "--manager", "second") == []
    assert await _listed(pod, "--site", "pod.example.org", "--type", "encoding") == [old, late, failed]


async def test_a_task_is_found_by_the_address_that_its_owner_sends(pod: Pod) -> None:
    """Whoever asks why a video waits knows the address of its page, and no number of a task."""
    wanted = await _task(pod, "Physics 3", TaskStatus.FAILED, words="no")
    await _task(pod, "Video editing", TaskStatus.TIMEOUT)
    async with pod.database.connection() as connection:
        slug = await connection.fetchval("SELECT slug FROM video_video WHERE title = 'Physics 3'")

    for address in (
        f"https://pod.example.org/video/{slug}/",
        f"https://pod.example.org/my-channel/video/{slug}/5f3c/?start=10",
        # The token of somebody who may see a draft: a UUID, of which some begin with digits alone.
        f"https://pod.example.org/video/{slug}/12345678-9abc-4def-8123-456789abcdef/",
        f"https://pod.example.org/video/edit/{slug}/",
        str(slug),
    ):
        assert await _listed(pod, "--search", address) == [wanted]
    said = await pod.run("tasks", "show", str(slug))
    assert said.status == 2
    assert (
        "is no number of a task: 'poddispatchd tasks list --search TEXT' finds tasks by title, owner"
        in said.err
    )


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["a table", "for programs"])
async def test_a_list_that_is_cut_is_told_as_such_to_whoever_did_not_ask_for_that(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    """A script took the newest fifty tasks for all there are: a terminal alone was told."""
    [limit] = [option for option in list_.params if option.name == "limit"]
    monkeypatch.setattr(limit, "default", 2)
    await _task(pod, "Algebra", TaskStatus.FAILED)
    await _task(pod, "Botany", TaskStatus.FAILED)
    all_of_them = await pod.run("tasks", "list", *form)
    await _task(pod, "Chemistry", TaskStatus.FAILED)

    cut = await pod.run("tasks", "list", *form)
    asked_for = await pod.run("tasks", "list", "--limit", "2", *form)

    assert (all_of_them.err, cut.err, asked_for.err) == (
        "",
        "Only the newest 2: --limit shows more.\n",
        "",
    )
    assert ("Algebra" in cut.out, "Chemistry" in cut.out) == (False, True)


@pytest.mark.parametrize("text", ["", " "])
async def test_an_empty_search_chooses_nothing(pod: Pod, text: str) -> None:
    """With a variable that nobody had set, a script began every task again, the completed ones, too."""
    await _task(pod, "Algebra", TaskStatus.COMPLETED)

    said = await pod.run("tasks", "restart", "--search", text, "--yes")

    assert (said.status, "it is empty" in said.err) == (2, True)
    assert await _statuses(pod) == ["completed"]


async def test_an_apostrophe_is_found_however_it_is_set(pod: Pod) -> None:
    """Word processors set another one, and spaces that do not break, than people type."""
    typed = await _task(pod, "L'été à Évry : qu'en dire ?", TaskStatus.FAILED)
    typeset = await _task(pod, "L\u2019été à Évry\u00a0: qu\u2019en dire\u202f?", TaskStatus.FAILED)

    assert await _listed(pod, "--search", "l'été à évry : qu'en dire ?") == [typeset, typed]
    assert await _listed(pod, "--search", "l\u2019ÉTÉ à évry\u00a0:") == [typeset, typed]
    assert await _listed(pod, "--search", "l-été") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--manager", "nobody"), "there is no runner manager 'nobody'; Pod has first, second."),
        (("--site", "nowhere.org"), "there is no site 'nowhere.org'; Pod has pod.example.org"),
        (("--since", "yesterday"), "'yesterday' is no length of time (30m, 2h, 7d) and no date"),
        (("--since", "999999d"), "'999999d' is no length of time (30m, 2h, 7d) and no date"),
        (("--since", "0001-01-01T00:00+14:00"), "is no length of time (30m, 2h, 7d) and no date"),
    ],
)
async def test_what_does_not_exist_is_named(pod: Pod, options: tuple[str, ...], words: str) -> None:
    said = await pod.run("tasks", "list", *options)

    assert (said.status, words in said.err) == (2, True), said.err


async def test_failed_tasks_begin_again_at_once_when_that_is_confirmed(pod: Pod) -> None:
    failed = [await _task(pod, f"Lecture {n}", TaskStatus.FAILED) for n in range(3)]
    old = await _task(pod, "Old", TaskStatus.FAILED, days=3)

    shown = await pod.run("tasks", "restart", "--failed", "--since", "2h", "--dry-run")
    refused = await pod.run("tasks", "restart", "--failed", "--since", "2h")
    done = await pod.run("tasks", "restart", "--failed", "--since", "2h", "--yes")

    assert shown.out.count("would begin again") == 3
    assert (refused.status, "3 tasks were chosen: --yes restarts them" in refused.err) == (2, True)
    assert done.status == 0
    rows = await pod.fetch("SELECT id, status FROM runner_manager_task ORDER BY id")
    assert {row["id"]: row["status"] for row in rows} == {**dict.fromkeys(failed, "pending"), old: "failed"}


async def test_what_changes_while_somebody_is_asked_stays_as_it_is(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that was restarted, and done, before the question was answered was encoded once more."""
    done, running, failed = [await _task(pod, f"Lecture {n}", TaskStatus.FAILED) for n in range(3)]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def answer(_: str) -> str:
        async def meanwhile() -> None:
            connection = await pod.database.connect()
            await connection.execute(
                "UPDATE runner_manager_task SET date_added = now(),"
                " status = CASE id WHEN $1 THEN 'completed' WHEN $2 THEN 'running' ELSE status END"
                " WHERE id IN ($1, $2)",
                *(done, running),
            )
            await connection.close()

        with ThreadPoolExecutor(1) as another:
            another.submit(asyncio.run, meanwhile()).result()
        return "y"

    monkeypatch.setattr("click.termui.visible_prompt_func", answer)
    said = await pod.run("tasks", "restart", "--failed", "--since", "2h")

    assert said.status == 1
    assert said.out.splitlines()[-1] == f"Task {failed}: It waits again, last in the queue."
    assert f"Task {done}: It is completed by now, and stays as it is." in said.err
    assert f"Task {running}: It is running by now, and stays as it is." in said.err
    rows = await pod.fetch("SELECT id, status FROM runner_manager_task")
    assert {row["id"]: row["status"] for row in rows} == {
        done: "completed",
        running: "running",
        failed: "pending",
    }


async def test_a_rehearsal_speaks_json_and_names_what_is_not_there(pod: Pod) -> None:
    task = await _task(pod, "Lecture", TaskStatus.FAILED)

    told = await pod.run("tasks", "restart", str(task), "4711", "--dry-run")
    as_json = await pod.run("tasks", "restart", str(task), "4711", "--dry-run", "--json")
    nothing = await pod.run("tasks", "restart", "--status", "running", "--yes", "--json")

    assert told.status == 1
    assert told.out == f"Task {task} (encoding, failed, Lecture): It would begin again.\n"
    assert told.err == "Task 4711: There is no such task.\n"
    assert as_json.status == 1
    assert as_json.json() == [
        {"id": task, "done": False, "words": "It would begin again."},
        {"id": 4711, "done": False, "words": "There is no such task."},
    ]
    assert (nothing.status, nothing.json()) == (0, [])
    assert await _listed(pod, "--failed") == [task]


async def test_tasks_are_listed_though_their_forecast_meets_an_error_nobody_foresaw(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await pod.run("db", "init")).status == 0
    task = await _task(pod, "Lecture", TaskStatus.PENDING)

    async def fails(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Forecasts, "read", fails)
    said = {
        words: await pod.run("tasks", *words.split()) for words in ("list", "list --json", f"show {task}")
    }

    told = "When tasks begin and end cannot be told: an error nobody foresaw (ZeroDivisionError)."
    assert [(each.status, each.err) for each in said.values()] == 3 * [(0, f"poddispatchd: {told}\n")]
    assert "Lecture" in said["list"].out
    assert str(task) in said[f"show {task}"].out


async def test_a_rehearsal_says_what_the_restart_would_say(pod: Pod) -> None:
    """It said that tasks would begin again beside another one of their source, or beside each other."""
    older = await _task(pod, "Lecture", TaskStatus.FAILED)
    newer = await _task(pod, "Lecture", TaskStatus.FAILED)
    waiting = await _task(pod, "Lecture", TaskStatus.PENDING)
    await pod.execute(
        "UPDATE runner_manager_task SET video_id = (SELECT min(video_id) FROM runner_manager_task)"
    )
    ids = [str(older), str(newer)]

    said = {
        options: (await pod.run("tasks", "restart", *ids, "--dry-run", *options), await _statuses(pod))
        for options in ((), ("--end-others",))
    }
    done = await pod.run("tasks", "restart", *ids, "--end-others")

    blocked, _ = said[()]
    assert blocked.status == 1
    assert blocked.err.count(f"end that one ('poddispatchd tasks cancel {waiting}')") == 2
    freed, _ = said["--end-others",]
    would_be = freed.out + freed.err
    assert f"Task {newer} (encoding, failed, Lecture): It would begin again." in would_be
    beside = f"Task {older} (encoding, failed, Lecture): Task {newer} for the same source is restarted."
    assert beside in would_be
    assert f"Task {waiting}: It would be ended." in would_be
    assert {tuple(statuses) for _, statuses in said.values()} == {("failed", "failed", "pending")}
    assert (freed.status, done.status) == (1, 1)
    assert f"Task {waiting}: It is ended." in done.out


async def test_nothing_chosen_restarts_nothing(pod: Pod) -> None:
    task = await _task(pod, "Lecture", TaskStatus.FAILED)

    said = await pod.run("tasks", "restart")

    assert (said.status, "Name the tasks by their ids" in said.err) == (2, True)
    assert await _listed(pod, "--failed") == [task]


async def test_a_completed_task_begins_again_on_a_terminal_only_when_that_is_confirmed(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One word too many on the command line, and what everybody watched was encoded anew."""
    task = await _task(pod, "Lecture", TaskStatus.COMPLETED)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["n", "y"])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: next(answers))

    no = await pod.run("tasks", "restart", str(task))
    kept = await _listed(pod, "--status", "completed")
    yes = await pod.run("tasks", "restart", str(task))

    assert (no.status, kept) == (1, [task])
    assert (yes.status, await _listed(pod, "--status", "pending")) == (0, [task])


async def test_a_misspelt_command_is_guessed(pod: Pod) -> None:
    assert "Did you mean tasks" in (await pod.run("taks")).err
    assert "Did you mean restart" in (await pod.run("tasks", "restrat")).err


async def test_no_color_is_heeded(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert "\x1b[" not in (await pod.run("check")).out

"""Results that come after that of a later request for the same source, or whose task was done already."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.callbacks import applied, inbox
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk, TaskType
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.queue import ImportJob
from poddispatchd.pod.imports.plan import ImportPlan
from poddispatchd.sandbox.fake_runner_manager import Mode
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _set(here: Bench, task: TaskPk, status: str) -> None:
    await here.execute("UPDATE runner_manager_task SET status = $2 WHERE id = $1", task, status)


async def _submitted_by_us(here: Bench, *tasks: TaskPk) -> None:
    await here.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
        " SELECT id, type, runner_manager_id, 1, '{}', 'accepted', task_id, now() FROM runner_manager_task"
        " WHERE id = ANY ($1)",
        list(tasks),
    )


async def _called(here: Bench, task: TaskPk) -> None:
    """The manager says that a run is done."""
    said = Callback(RunnerTaskId(await here.of(task, "task_id")), RunnerStatus.COMPLETED)
    async with here.parts.database.connection() as connection:
        await inbox.record(connection, (here.world.managers[0].id,), said)
    await features.callback_worker(here.parts).drain()


async def _asked_about(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
    for _ in range(2):
        here.clock.ahead += here.parts.settings.reconcile.running_after
        await watcher.step()
        await watcher.until_idle()


async def _two_of_one_source(here: Bench, kind: TaskType = TaskType.ENCODING) -> tuple[TaskPk, TaskPk]:
    """A task that has ended on its manager, and one that was asked for later, whose result is in Pod."""
    video = await here.video()
    old = await here.running(kind, video=video)
    await here.end(old)
    new = await here.ready(kind, video=video)
    await here.import_due()
    assert await here.status(new) == "completed"
    return old, new


async def test_a_failure_that_its_runner_mends_after_a_later_request_was_done_is_not_imported(
    here: Bench,
) -> None:
    """A runner that is started again works on what it had failed: the old result replaced the new one."""
    old, new = await _two_of_one_source(here)
    await _set(here, old, "failed")
    files = here.files()
    await _called(here, old)
    await here.import_due()
    assert (await here.status(old), await here.imports_of(old)) == ("completed", [])
    assert f"Task {new} did the same source meanwhile" in await here.words(old)
    assert here.files() == files


async def test_a_transcription_that_ends_without_an_import_leaves_its_video_not_in_progress(
    here: Bench,
) -> None:
    """An encoding that was brought in while it ran had left the video to it: transcripting, for ever."""
    old, _ = await _two_of_one_source(here, TaskType.TRANSCRIPTION)
    await here.execute("UPDATE video_video SET encoding_in_progress = true")
    await _called(here, old)
    assert await here.status(old) == "completed"
    assert not await here.value("SELECT encoding_in_progress FROM video_video")


async def test_what_becomes_of_a_result_that_comes_too_late_is_logged_and_its_runner_is_free(
    here: Bench,
) -> None:
    """A callback was ignored, said the log; and the manager got the next task only after its back-off."""
    old, new = await _two_of_one_source(here)
    manager = here.world.managers[0].id
    here.parts.registry.refresh(here.world.managers, {}, {})
    here.parts.registry.full(manager, TaskType.ENCODING)
    with capture_logs() as lines:
        await _asked_about(here)
    assert await here.status(old) == "completed"
    reason = f"Task {new} did the same source meanwhile and ended as completed."
    told = [(line["event"], line.get("decision", line.get("reason"))) for line in lines]
    assert ("import.dropped", reason) in told
    assert ("reconcile.asked", "complete") in told
    [lane] = [lane for lane in here.parts.registry.lanes() if lane.manager == manager]
    assert lane.full_until[TaskType.ENCODING] <= here.clock.monotonic()


async def test_a_later_task_that_was_completed_by_hand_keeps_no_earlier_result_out(here: Bench) -> None:
    """Nobody had imported anything of the later one: the only result that there was got lost."""
    video = await here.video()
    old = await here.running(video=video)
    await here.end(old)
    new = await here.running(video=video)
    await _submitted_by_us(here, old, new)
    await _set(here, new, "completed")
    await _called(here, old)
    await here.import_due()
    assert (await here.status(old), [state for state, *_ in await here.imports_of(old)]) == (
        "completed",
        ["done"],
    )


async def test_a_later_result_that_pod_brought_in_of_its_own_run_keeps_an_earlier_one_out(
    here: Bench,
) -> None:
    """It was noted as given up, and its row went on with it: it counted as one of ours, completed by hand."""
    video = await here.video()
    old = await here.running(video=video)
    await here.end(old)
    new = await here.running(video=video)
    await _submitted_by_us(here, old)
    await here.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id, settled_at)"
        " SELECT id, type, runner_manager_id, 1, '', 'orphaned', task_id, now() FROM runner_manager_task"
        " WHERE id = $1",
        new,
    )
    await _set(here, new, "completed")
    await _called(here, old)
    await here.import_due()
    assert [state for state, *_ in await here.imports_of(old)] == ["dropped"]


async def test_a_later_result_that_was_imported_for_whoever_shared_its_run_keeps_an_earlier_one_out(
    here: Bench,
) -> None:
    video = await here.video()
    old = await here.running(video=video)
    await here.end(old)
    new = await here.ready(video=video)
    await here.import_due()
    run = [await here.of(new, "runner_manager_id"), await here.of(new, "task_id")]
    sharing = await here.running(video=video)
    await _set(here, new, "failed")
    await here.execute(
        "UPDATE runner_manager_task SET status = 'completed', runner_manager_id = $2, task_id = $3"
        " WHERE id = $1",
        sharing,
        *run,
    )
    await _submitted_by_us(here, old, sharing)
    await _called(here, old)
    await here.import_due()
    assert [state for state, *_ in await here.imports_of(old)] == ["dropped"]


@pytest.mark.parametrize("alone", [False, True])
async def test_the_result_of_a_task_that_was_completed_by_hand_is_not_imported_and_the_log_says_why(
    here: Bench, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if alone:
        monkeypatch.setattr(applied, "LONGEST", -1)
    task = await here.running()
    await _submitted_by_us(here, task)
    await _set(here, task, "completed")
    await here.end(task)
    with capture_logs() as lines:
        await _called(here, task)
        await here.import_due()
    assert await here.imports_of(task) == []
    [told] = [line for line in lines if line["event"] == "callback.ignored"]
    assert "completed by hand, or by Pod, before this result was imported" in told["reason"]
    assert f"tasks restart {task}" in told["reason"]
    assert told["log_level"] == "warning"


async def test_a_result_that_is_told_of_twice_was_not_completed_by_hand(here: Bench) -> None:
    task = await here.ready()
    await _submitted_by_us(here, task)
    await here.import_due()
    with capture_logs() as lines:
        await _called(here, task)
    assert [line.get("reason") for line in lines if line["event"] == "callback.ignored"] == [None]


async def test_a_result_that_came_too_late_and_is_told_of_twice_was_not_completed_by_hand(
    here: Bench,
) -> None:
    """Its task was completed as a later one: the log said that a person had done it, and to run it again."""
    old, new = await _two_of_one_source(here)
    await _submitted_by_us(here, old, new)
    await _asked_about(here)
    assert await here.status(old) == "completed"
    with capture_logs() as lines:
        await _called(here, old)
    assert [line.get("reason") for line in lines if line["event"] == "callback.ignored"] == [None]


async def test_a_later_result_keeps_an_earlier_one_out_when_the_task_that_it_was_imported_for_is_deleted(
    here: Bench,
) -> None:
    """Whoever shared its run counted as completed by hand, and the earlier result was put over the later."""
    video = await here.video()
    old = await here.running(video=video)
    await here.end(old)
    new = await here.ready(video=video)
    await _submitted_by_us(here, old, new)
    await here.import_due()
    run = [await here.of(new, "runner_manager_id"), await here.of(new, "task_id")]
    sharing = await here.running(video=video)
    await here.execute(
        "UPDATE runner_manager_task SET status = 'completed', runner_manager_id = $2, task_id = $3"
        " WHERE id = $1",
        sharing,
        *run,
    )
    await here.execute("DELETE FROM runner_manager_task WHERE id = $1", new)
    files = here.files()
    await _called(here, old)
    await here.import_due()
    assert [state for state, *_ in await here.imports_of(old)] == ["dropped"]
    assert here.files() == files
    await _asked_about(here)
    assert await here.status(old) == "completed"


async def test_a_recording_whose_later_task_made_its_video_makes_no_second_one(here: Bench) -> None:
    recording = await here.recording()
    old = await here.running(TaskType.STUDIO, recording=recording)
    await here.end(old)
    await _set(here, old, "timeout")
    await here.ready(TaskType.STUDIO, recording=recording)
    await here.import_due()
    videos = await here.value("SELECT count(*) FROM video_video")
    await _called(here, old)
    await here.import_due()
    assert await here.value("SELECT count(*) FROM video_video") == videos
    assert await here.status(old) == "completed"


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Task {} did the same source meanwhile"), ("fr", "La tâche {} a traité la même source")],
)
async def test_one_that_ran_meanwhile_ends_as_the_later_one_in_words(
    pod_database: PodDatabase, media_root: Path, language: str, words: str
) -> None:
    changes = {"pod": {"output_language": language}}
    async with bench(pod_database, media_root, mode=Mode.SHARED, changes=changes) as here:
        old, new = await _two_of_one_source(here)
        files = here.files()
        await _called(here, old)
        await here.import_due()
        await _asked_about(here)
        assert await here.status(old) == "completed"
        assert {state for state, *_ in await here.imports_of(old)} <= {"dropped"}
        assert here.files() == files
        assert words.format(new) in await here.words(old)


async def test_one_that_was_asked_for_last_is_imported_though_it_ends_last_too(here: Bench) -> None:
    video = await here.video()
    new = await here.running(video=video)
    old = await here.running(video=video)
    await here.execute(
        "UPDATE runner_manager_task SET date_added = date_added - interval '1 hour' WHERE id = $1", old
    )
    for task in (old, new):
        await here.end(task)
        await _called(here, task)
        await here.import_due()
    assert [state for state, *_ in await here.imports_of(new)] == ["done"]


async def test_a_result_that_was_fetched_while_a_later_one_came_in_replaces_none_of_its_files(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = await here.video()
    old = await here.ready(video=video)
    new = await here.running(video=video)
    record = ImportCommit.record

    async def beaten(commits: ImportCommit, job: ImportJob, plan: ImportPlan) -> None:
        await _set(here, new, "completed")
        await record(commits, job, plan)

    monkeypatch.setattr(ImportCommit, "record", beaten)
    files = here.files()
    await here.import_due()
    assert [state for state, *_ in await here.imports_of(old)] == ["dropped"]
    assert here.files() == files


async def test_a_result_whose_task_is_restarted_while_it_is_fetched_replaces_no_file(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was put in place before anybody looked whether it was still wanted."""
    task = await here.ready(video=await here.video(encoded=True))
    record = ImportCommit.record

    async def restarted(commits: ImportCommit, job: ImportJob, plan: ImportPlan) -> None:
        await here.execute(
            "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL,"
            " date_added = now() WHERE id = $1",
            task,
        )
        await record(commits, job, plan)

    monkeypatch.setattr(ImportCommit, "record", restarted)
    files = here.files()
    await here.import_due()
    assert [state for state, *_ in await here.imports_of(task)] == ["dropped"]
    assert here.files() == files


@pytest.mark.parametrize("status", ["pending", "running"])
@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.STUDIO])
async def test_a_completed_task_that_somebody_sets_back_by_hand_is_completed_and_nothing_imported_twice(
    here: Bench, kind: TaskType, status: str
) -> None:
    """Its manager says that it is done, its import was over: so it stayed, for ever."""
    task = await here.ready(kind)
    await here.import_due()
    videos = await here.value("SELECT count(*) FROM video_video")
    await _set(here, task, status)
    await _asked_about(here)
    await here.import_due()
    assert await here.status(task) == "completed"
    assert [state for state, *_ in await here.imports_of(task)] == ["done"]
    assert await here.value("SELECT count(*) FROM video_video") == videos


@pytest.mark.parametrize("status", ["failed", "timeout"])
async def test_a_completed_task_of_which_somebody_says_by_hand_that_it_failed_is_not_contradicted(
    here: Bench, status: str
) -> None:
    """Its manager still calls it done, and calls again: the result is in Pod, and a person wants another."""
    task = await here.ready()
    await here.import_due()
    await _set(here, task, status)
    files = here.files()
    await _called(here, task)
    await _asked_about(here)
    await here.import_due()
    assert await here.status(task) == status
    assert [state for state, *_ in await here.imports_of(task)] == ["done"]
    assert here.files() == files

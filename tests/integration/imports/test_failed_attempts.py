"""What becomes of results that cannot be imported, or not yet: every end is told in words."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Collection
from datetime import datetime
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from poddispatchd.app import features
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import Manifest
from poddispatchd.domain.task import RunnerTaskId, TaskPk, TaskType, VideoId
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.imports import attempt, queue
from poddispatchd.imports.importer import Importer
from poddispatchd.imports.preparation import Preparation
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal import submissions
from poddispatchd.pod import tasks
from poddispatchd.pod.imports.facts import WantedTask
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.download_limits import DownloadLimits
from poddispatchd.runtime.queue_tables import IMPORTS
from poddispatchd.sandbox.fake_runner_manager import (
    AnswerFault,
    Behaviour,
    Crash,
    Endpoint,
    FaultKind,
    Mode,
    RunOutcome,
)
from tests.integration.imports.bench import Bench, bench, idle
from tests.plugins.postgres import PodDatabase


@pytest.fixture
def mode() -> Mode:
    return Mode.SHARED


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path, mode: Mode) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=mode) as made:
        yield made


@pytest.fixture
def lone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt at each file, so that a fault is not outlived by the download's own attempts."""
    monkeypatch.setattr(attempt, "DownloadLimits", partial(DownloadLimits, attempts=1))


async def video_of(here: Bench, task: TaskPk) -> VideoId:
    return VideoId(await here.of(task, "video_id"))


async def assert_failed_in_words(here: Bench, task: TaskPk, *words: str) -> None:
    assert await here.status(task) == "failed"
    told = await here.words(task)
    assert "Its result cannot be imported: " in told
    video = await here.of(task, "video_id")
    number, step = await here.step_of(video)
    assert number == -1
    for word in words:
        assert word in told
        assert word in step
    assert not await here.value("SELECT encoding_in_progress FROM video_video WHERE id = $1", video)
    assert here.staged() == []


# --- faults of the way -----------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["result", "file"])
@pytest.mark.parametrize(
    "fault",
    [
        AnswerFault(kind=FaultKind.STATUS, status=500),
        AnswerFault(kind=FaultKind.STATUS, status=502, body={"detail": "Error contacting runner: refused"}),
        AnswerFault(kind=FaultKind.STATUS, status=429),
        AnswerFault(kind=FaultKind.STATUS, status=401),
        AnswerFault(kind=FaultKind.DROP),
        AnswerFault(kind=FaultKind.CUT, length=10),
    ],
    ids=["500", "502", "429", "401", "dropped", "cut"],
)
@pytest.mark.usefixtures("lone")
async def test_a_manager_in_trouble_is_waited_for(here: Bench, endpoint: str, fault: AnswerFault) -> None:
    task = await here.ready()
    here.fake.faults.inject(endpoint, fault, times=None)
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, await here.status(task), here.staged()) == ("open", "running", [])
    assert attempts <= 1
    assert reason
    here.fake.faults.clear()
    await here.import_again()
    assert await here.status(task) == "completed"


async def test_a_token_that_was_changed_during_a_download_is_not_the_managers_fault(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file was waited for for minutes: the token with which its download had begun was an old one then."""
    task, manager = await here.ready(), here.world.managers[0].id
    manifest = RunnerClient.manifest

    async def then_changed(self: RunnerClient, asked: RunnerManager, task_id: RunnerTaskId) -> Manifest:
        found = await manifest(self, asked, task_id)
        await here.execute("UPDATE runner_manager SET token = 'another' WHERE id = $1", manager)
        return found

    monkeypatch.setattr(RunnerClient, "manifest", then_changed)
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.STATUS, status=401), times=None)
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 0)
    assert "was changed in Pod meanwhile" in str(reason)
    assert not here.parts.registry.is_down(manager)


async def test_waiting_for_a_manager_never_counts_and_ends_after_a_day_with_another_run(here: Bench) -> None:
    task = await here.ready()
    here.fake.faults.inject("result", AnswerFault(kind=FaultKind.DROP), times=None)
    for _ in range(8):
        await here.import_again()
    assert (await here.imports_of(task))[0][:2] == ("open", 0)
    await here.execute("UPDATE poddispatchd.import SET obstructed_since = now() - interval '25 hours'")
    await here.import_again()
    assert (await here.status(task), await here.of(task, "task_id")) == ("pending", None)
    assert "submitted again" in await here.words(task)


async def test_a_manager_is_waited_for_a_day_of_tries_however_long_nobody_tried(here: Bench) -> None:
    """After a weekend without power the results of before it were thrown away: their managers came up a
    little after the daemon. So they were when the server's clock was put forward by years."""
    task = await here.ready()
    here.fake.faults.inject("result", AnswerFault(kind=FaultKind.DROP), times=None)
    await here.import_due()
    await here.execute(
        "UPDATE poddispatchd.import SET obstructed_since = now() - interval '63 hours',"
        " next_attempt_at = now() - interval '62 hours'"
    )
    await here.import_due()
    assert await here.status(task) == "running"
    assert (await here.imports_of(task))[0][:2] == ("open", 0)
    here.fake.faults.clear()
    await here.import_again()
    assert await here.status(task) == "completed"


@pytest.mark.parametrize(
    "fault",
    [
        AnswerFault(kind=FaultKind.CUT, length=3),
        AnswerFault(kind=FaultKind.WRONG_LENGTH),
        AnswerFault(kind=FaultKind.HTML),
    ],
    ids=["cut", "wrong length", "a page"],
)
@pytest.mark.usefixtures("lone")
async def test_a_file_that_never_arrives_whole_makes_the_task_run_again_and_at_last_fail(
    here: Bench, fault: AnswerFault
) -> None:
    task = await here.ready()
    here.fake.faults.inject("file", fault, times=None)
    for _ in range(5):
        await here.import_again()
    assert await here.imports_of(task) == [("failed", 5, (await here.imports_of(task))[0][2])]
    assert await here.status(task) == "pending"
    # The task has been submitted as often as it may be: the same trouble now is the end of it.
    await lost_before(here, task, times=3)
    second = await restarted(here, task)
    await here.execute("UPDATE poddispatchd.import SET attempts = 4 WHERE state = 'open'")
    await here.import_again()
    await assert_failed_in_words(here, second)


@pytest.mark.parametrize(
    ("match", "length"),
    [(".m3u8", 40), ("overview.png", 5), (".mp4", 8000), (".mp3", 800)],
    ids=["in a tag", "in the form of a picture", "amid a film", "amid sound"],
)
async def test_a_file_that_breaks_off_is_incomplete_and_not_taken_for_hostile(
    here: Bench, match: str, length: int
) -> None:
    """A whole answer with a part of a file, as of a proxy that was cut off from its runner."""
    task = await here.ready()
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.SHORT, length=length, match=match), times=None)
    await here.import_due()
    assert await here.status(task) == "pending"
    words = await here.words(task)
    assert "is cut short" in words
    assert "submitted again" in words


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        ("script_output = 'A line of its callback.'", ("pending", "failed", "A line of its callback.")),
        ("task_id = 'of another run', script_output = 'Mine.'", ("running", "dropped", "Mine.")),
    ],
    ids=["a callback", "another run"],
)
async def test_what_becomes_of_a_row_while_its_import_fails_stays(
    here: Bench, monkeypatch: pytest.MonkeyPatch, meanwhile: str, expected: tuple[str, str, str]
) -> None:
    """What its callback had just said was written over; and an import was told to have failed that nobody
    wanted any more."""
    task = await here.ready(behaviour=Behaviour(crash=next(iter(Crash))))

    async def read_before(connection: Connection, job: ImportJob, *, ours: datetime) -> float:
        await here.execute(f"UPDATE runner_manager_task SET {meanwhile} WHERE id = $1", task)
        return await obstructed_for(connection, job, ours=ours)

    obstructed_for = queue.obstructed_for
    monkeypatch.setattr(queue, "obstructed_for", read_before)
    await here.import_due()
    status, state, words = expected
    assert (await here.status(task), (await here.imports_of(task))[0][0]) == (status, state)
    assert (await here.words(task)).startswith(words)


async def lost_before(here: Bench, task: TaskPk, *, times: int) -> None:
    async with here.pod.connection() as connection:
        for number in range(times):
            await connection.execute(
                "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body,"
                " state, task_id, settled_at, date_added)"
                " SELECT id, 'encoding', $2, $3, '', 'lost', $4, now(), date_added"
                " FROM runner_manager_task WHERE id = $1",
                *(task, here.world.managers[0].id, number + 1, f"lost-{number}"),
            )


async def restarted(here: Bench, task: TaskPk, behaviour: Behaviour | None = None) -> TaskPk:
    """The task runs again on the manager and ends there."""
    video = await video_of(here, task)
    body = {"task_type": "encoding", "notify_url": "", "parameters": {}, "etab_name": "e", "app_name": "a"}
    path = await here.value("SELECT video FROM video_video WHERE id = $1", video)
    body["source_url"] = f"http://pod.example.org/media/{path}"
    accepted = await here.parts.client.execute(here.world.managers[0], json.dumps(body).encode())
    await here.execute(
        "UPDATE runner_manager_task SET status = 'running', task_id = $2, runner_manager_id = $3"
        " WHERE id = $1",
        *(task, accepted.task_id, here.world.managers[0].id),
    )
    await here.end(task, behaviour)
    await here.open_import(task)
    return task


async def test_the_attempts_survive_a_restart(here: Bench) -> None:
    task = await here.ready()
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.HTML), times=None)
    await here.import_again()
    async with here.another() as there:
        await there.import_again()
    assert (await here.imports_of(task))[0][:2] == ("open", 2)


async def test_a_file_server_that_does_not_answer_keeps_a_result_waiting_uncounted(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of NFS mounted with softerr; it was taken for an attempt of twelve hours, and the task ran again."""
    task = await here.ready()
    silence = Mock(side_effect=TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
    with monkeypatch.context() as silent:
        silent.setattr(MediaPath, "exists", silence)
        await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 0)
    assert "Connection timed out" in str(reason)
    await here.import_again()
    assert await here.status(task) == "completed"


async def test_a_wrong_sha256_counts_as_a_spoilt_download(here: Bench) -> None:
    files = [{"file_path": "info_video.json", "sha256": "0" * 64}]
    task = await here.ready(behaviour=Behaviour(manifest=files))
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 1)
    assert reason is not None
    assert "sha256" in reason


async def test_a_result_that_is_gone_is_asked_for_twice_and_then_made_again(here: Bench) -> None:
    task = await here.ready()
    here.fake.purge_result(str(await here.of(task, "task_id")))
    await here.import_due()
    assert (await here.imports_of(task))[0][:2] == ("open", 1)
    await here.import_again()
    assert (await here.imports_of(task))[0][:2] == ("failed", 2)
    assert await here.status(task) == "pending"
    async with here.parts.database.connection() as connection:
        row = await tasks.get_task(connection, task)
        assert row is not None
        assert await submissions.attempts(connection, row) == 1


async def test_a_task_that_the_manager_forgot_fails_where_that_is_wanted(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with bench(pod_database, media_root, changes={"reconcile": {"lost": "fail"}}) as here:
        task = await here.ready()
        here.fake.forget(str(await here.of(task, "task_id")))
        await here.import_due()
        await here.import_again()
        await assert_failed_in_words(here, task, "no longer knows this task")


# --- what the manager says instead of a result -----------------------------------------------------------


async def test_a_task_that_runs_again_on_its_manager_is_watched_again(here: Bench) -> None:
    task = await here.ready()
    here.fake.rerun(str(await here.of(task, "task_id")), Behaviour(outcome=RunOutcome.NEVER))
    await here.import_due()
    assert ((await here.imports_of(task))[0][0], await here.status(task)) == ("dropped", "running")
    await here.end(task)
    await here.open_import(task)
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_a_task_that_failed_meanwhile_fails_with_the_runners_words(here: Bench) -> None:
    task = await here.ready()
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error="Bad medium", script_output="log"))
    await here.import_due()
    assert (await here.status(task), (await here.imports_of(task))[0][0]) == ("failed", "dropped")
    assert "Bad medium" in await here.words(task)


async def test_a_manager_that_contradicts_itself_is_not_asked_for_ever(here: Bench) -> None:
    task = await here.ready()
    body = {"detail": "Task not completed. Status: running"}
    here.fake.faults.inject("result", AnswerFault(kind=FaultKind.STATUS, status=425, body=body), times=None)
    for _ in range(5):
        await here.import_again()
    await assert_failed_in_words(here, task, "Task not completed")


# --- what is wrong with the result -----------------------------------------------------------------------


@pytest.mark.parametrize("crash", list(Crash))
async def test_a_partial_tree_is_run_again_and_at_last_fails(here: Bench, crash: Crash) -> None:
    video = await here.video(encoded=True)
    before = here.files()
    task = await here.ready(behaviour=Behaviour(crash=crash), video=video)
    await here.import_due()
    assert (await here.status(task), (await here.imports_of(task))[0][0]) == ("pending", "failed")
    assert before == here.files()
    await lost_before(here, task, times=3)
    await restarted(here, task, Behaviour(crash=crash))
    await here.import_due()
    await assert_failed_in_words(here, task)
    assert before == here.files()


async def test_a_result_that_says_that_it_failed_is_not_imported(here: Bench) -> None:
    info = json.dumps({"duration": 1, "encode_result": False, "error": "codec"}).encode()
    task = await here.ready(behaviour=Behaviour(files={"info_video.json": info}))
    await here.import_due()
    await assert_failed_in_words(here, task)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
async def test_an_unsafe_name_refuses_the_whole_result(here: Bench, name: str) -> None:
    task = await here.ready(behaviour=Behaviour(manifest=["info_video.json", name]))
    await here.import_due()
    await assert_failed_in_words(here, task)
    assert not [request for request in here.fake.requests if "/file/" in request.path]


async def test_a_transcription_without_subtitles_and_a_studio_result_without_video_fail(here: Bench) -> None:
    """Pod leaves both running for ever."""
    video = await here.video(transcript="fr")
    silent = await here.ready(TaskType.TRANSCRIPTION, Behaviour(manifest=["info_video.json"]), video=video)
    blind = await here.ready(TaskType.STUDIO, Behaviour(files={"studio_base.mp4": None}))
    for task in (silent, blind):
        await lost_before(here, task, times=3)
    videos = await here.value("SELECT count(*) FROM video_video")
    await here.import_due()
    await assert_failed_in_words(here, silent)
    assert await here.status(blind) == "failed"
    comment = await here.value(
        "SELECT comment FROM recorder_recording WHERE id = $1", await here.of(blind, "recording_id")
    )
    assert "studio_base.mp4" in comment
    assert await here.value("SELECT count(*) FROM video_video") == videos
    assert here.staged() == []


# --- obstacles on this machine ---------------------------------------------------------------------------


async def test_a_full_disk_is_waited_for(pod_database: PodDatabase, media_root: Path) -> None:
    async with bench(pod_database, media_root, changes={"imports": {"keep_free": "1000000GiB"}}) as here:
        task = await here.ready()
        for _ in range(6):
            await here.import_again()
        [(state, attempts, reason)] = await here.imports_of(task)
        assert (state, attempts, here.staged()) == ("open", 0, [])
        assert "imports.keep_free" in str(reason)
        plenty = replace(here.parts.settings.imports, keep_free=1)
        here.parts.settings = replace(here.parts.settings, imports=plenty)
        await here.import_again()
        assert await here.status(task) == "completed"


async def test_a_directory_that_cannot_be_written_is_waited_for_however_long_it_takes(
    here: Bench,
) -> None:
    video = await here.video()
    task = await here.ready(video=video)
    # A file where the output directory should be: nobody may write there, not even root.
    (here.world.media_root / video.output_directory).write_bytes(b"")
    before = here.files()
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts, await here.status(task)) == ("open", 0, "running")
    assert video.output_directory in str(reason)
    await here.execute("UPDATE poddispatchd.import SET obstructed_since = now() - interval '25 hours'")
    await here.import_again()
    assert await here.status(task) == "running"
    assert "cannot be" in str(here.parts.media_health.problems)
    assert here.files() == before
    # Nothing is lost by that: the result comes in as soon as somebody has seen to it.
    (here.world.media_root / video.output_directory).unlink()
    await here.import_again()
    assert await here.status(task) == "completed"


# --- rows that change meanwhile --------------------------------------------------------------------------


async def holding(here: Bench) -> Importer:
    """An import that waits for its first file."""
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.SLOW, seconds=0.4))
    importer = features.importer(here.parts)
    await importer.step()
    await here.fake.wait_for(lambda: any("/file/" in request.path for request in here.fake.requests))
    return importer


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("DELETE FROM runner_manager_task WHERE id = $1", None),
        ("UPDATE runner_manager_task SET status = 'pending', task_id = NULL WHERE id = $1", "pending"),
        ("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", "completed"),
        ("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", "failed"),
    ],
    ids=["deleted", "restarted", "completed", "failed"],
)
async def test_a_row_that_someone_changes_meanwhile_is_left_to_them(
    here: Bench, change: str, status: str | None
) -> None:
    video = await here.video(encoded=True)
    task = await here.ready(video=video)
    rows = "SELECT array_agg(id ORDER BY id) FROM video_encode_transcript_encodingvideo"
    before = await here.value(rows)
    importer = await holding(here)
    await here.execute(change, task)
    await idle(importer)
    assert (await here.imports_of(task))[0][0] == "dropped"
    assert await here.value("SELECT status FROM runner_manager_task WHERE id = $1", task) == status
    assert await here.value(rows) == before
    assert here.staged() == []


async def test_what_a_failed_attempt_had_put_in_place_is_deleted_and_what_was_there_stays(
    here: Bench,
) -> None:
    video = await here.video(encoded=True)
    task = await here.ready(video=video)
    before = here.files()
    finish = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$"
    )
    await here.execute(finish)
    await here.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON video_encode_transcript_encodingvideo"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 1)
    assert "check violation (23514)" in str(reason)
    assert here.files().keys() == before.keys()
    await here.execute("UPDATE poddispatchd.import SET attempts = 4")
    await here.import_again()
    await assert_failed_in_words(here, task)
    after = here.files()
    assert after.keys() == before.keys()
    replaced = {f"{video.output_directory}/playlist.m3u8"}
    assert {name for name in before if before[name] != after[name]} <= replaced
    assert await here.value("SELECT count(*) FROM poddispatchd.import_file") == 0


@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO])
async def test_nothing_is_left_of_a_result_that_pod_imports_itself_when_all_files_are_in_place(
    here: Bench, monkeypatch: pytest.MonkeyPatch, kind: TaskType
) -> None:
    """The names that it had chosen, because Pod's had been taken, belonged to nobody afterwards."""
    video = None if kind is TaskType.STUDIO else await here.video(encoded=True, transcript="fr")
    task = await here.ready(kind, video=video)
    before = here.files()
    prove_placed = Preparation.prove_placed

    async def overtaken(
        preparation: Preparation, tree: MediaTree, wanted: WantedTask, brought: Collection[str]
    ) -> None:
        await prove_placed(preparation, tree, wanted, brought)
        assert here.files().keys() > before.keys()
        await here.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", task)

    monkeypatch.setattr(Preparation, "prove_placed", overtaken)
    await here.import_due()
    assert (await here.imports_of(task))[0][0] == "dropped"
    left = {*here.files()} - {*before}
    if kind is TaskType.ENCODING:
        # Pod's result has the same names in the directory of the video.
        assert video is not None
        assert left
        left = {path for path in left if not path.startswith(f"{video.output_directory}/")}
    assert left == set()
    assert await here.value("SELECT count(*) FROM poddispatchd.import_file") == 0
    assert await here.value("SELECT count(*) FROM poddispatchd.obsolete_file") == 0


async def test_a_deleted_manager_leaves_the_row_to_the_reconciler(here: Bench) -> None:
    task = await here.ready()
    await here.execute("UPDATE runner_manager_task SET runner_manager_id = NULL")
    await here.execute("DELETE FROM runner_manager")
    await here.import_due()
    assert ((await here.imports_of(task))[0][0], await here.status(task)) == ("dropped", "running")


async def test_a_result_of_a_manager_that_was_added_a_moment_ago_is_imported(here: Bench) -> None:
    """Its manager was taken for deleted by rows read before that; twice, and the task ran again."""
    task = await here.ready()
    await here.execute("CREATE TABLE kept AS SELECT * FROM runner_manager")
    await here.execute("UPDATE runner_manager_task SET runner_manager_id = NULL")
    await here.execute("DELETE FROM runner_manager")
    await here.parts.managers.refresh(within=0)
    await here.execute("INSERT INTO runner_manager SELECT * FROM kept")
    await here.execute("UPDATE runner_manager_task SET runner_manager_id = (SELECT id FROM kept LIMIT 1)")
    await here.import_due()
    assert ((await here.imports_of(task))[0][0], await here.status(task)) == ("done", "completed")


async def test_a_deleted_video_ends_in_words(here: Bench) -> None:
    task = await here.ready()
    await here.execute("UPDATE runner_manager_task SET video_id = NULL")
    await here.import_due()
    assert await here.status(task) == "failed"
    assert "does not exist any more" in await here.words(task)


# --- the database goes away ------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", range(9))
async def test_a_database_lost_at_any_step_costs_no_attempt(
    here: Bench, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each use of the database in turn it is away, once."""
    task = await here.ready()
    importer = features.importer(here.parts)
    uses, me = iter(range(1000)), asyncio.current_task()
    connection = Database.connection

    def unreliable(database: Database) -> object:
        if asyncio.current_task() is not me and next(uses) == moment:
            raise DatabaseUnavailableError
        return connection(database)

    monkeypatch.setattr(Database, "connection", unreliable)
    await here.import_due(importer)
    monkeypatch.undo()
    here.clock.ahead += 1.0  # no import is begun in the second after one that had no connection
    await here.import_due(importer)
    assert await here.status(task) == "completed"
    assert await here.imports_of(task) == [("done", 1, None)]
    assert here.staged() == []


async def test_a_result_over_which_the_database_says_nothing_is_told_from_the_second_time_on(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger of the site's that hangs: it was tried every minute, and no page or check told of it."""
    task = await here.ready()
    importer, told = features.importer(here.parts), []

    async def silent(*_: object) -> None:
        raise DatabaseUnavailableError("The database cannot be reached: no answer in time.")

    with monkeypatch.context() as database:
        database.setattr(Preparation, "prepare", silent)
        for _ in range(3):
            await importer.step()
            await idle(importer)
            told.append([incident.words for incident in here.parts.incidents.active])
            here.clock.ahead += 1.0
    fails, why = f"The import fails (task {task})", "The database cannot be reached: no answer in time."
    assert told == [[], [f"{fails}, 1 times by now: {why}"], [f"{fails}, 2 times by now: {why}"]]

    await here.import_due(importer)
    assert await here.status(task) == "completed"
    assert not here.parts.incidents.active


async def test_a_bug_in_an_import_ends_in_words_as_well(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    task = await here.ready()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Preparation, "prepare", broken)
    for _ in range(5):
        await here.import_again()
    await assert_failed_in_words(here, task, "nobody foresaw (ZeroDivisionError)")


@pytest.mark.parametrize("mode", [Mode.PROXY])
@pytest.mark.parametrize("ending", [".mp4", ".mp3", ".png", ".vtt", ".json", ".ts"])
async def test_no_half_of_a_file_that_nothing_ends_is_ever_imported(here: Bench, ending: str) -> None:
    """A manager that died behind nginx once left half a video in the place of the whole old one."""
    video = await here.video(encoded=True)
    here.fake.faults.inject(
        Endpoint.FILE, AnswerFault(kind=FaultKind.UNENDED, length=333, match=ending), times=2
    )
    task = await here.ready(video=video)
    await here.import_due()

    assert await here.status(task) == "completed"
    files = here.files()
    sizes = {len(content) for name, content in files.items() if name.endswith(ending) and "/0001/" in name}
    assert sizes
    assert 333 not in sizes


@pytest.mark.parametrize("mode", [Mode.PROXY])
async def test_a_name_that_the_manager_never_gives_ends_the_task_at_once(here: Bench) -> None:
    """It was once encoded three times over: each run gives its files the same names."""
    task = await here.ready(behaviour=Behaviour(files={"360p_video_(2).ts": b"x"}))
    await here.import_due()

    [(state, attempts, _)] = await here.imports_of(task)
    assert (state, attempts) == ("failed", 1)
    await assert_failed_in_words(here, task, "'360p_video_(2).ts'")
    for said in ("RUNNERS_STORAGE_ENABLED", "rename the source file"):
        assert said in await here.words(task)


async def test_a_result_that_a_person_dismissed_is_not_tried_again_by_itself(here: Bench) -> None:
    """Its manager was asked a minute later, and called it completed: it was fetched as often as before."""
    task = await here.ready()
    await here.execute("UPDATE poddispatchd.import SET state = 'set_aside', finished_at = now()")
    async with here.pod.connection() as connection:
        key = await connection.fetchval("SELECT id::text FROM poddispatchd.import")
        assert await IMPORTS.dismiss(connection, key)
    watcher = features.reconciler(here.parts)

    await watcher.step()
    await watcher.until_idle()

    assert [state for state, *_ in await here.imports_of(task)] == ["dropped"]
    assert await here.status(task) == "running"

"""Imports from lease to clean-up, on a real Pod and with results of a fake runner manager."""

import asyncio
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from socket import gethostname

import pytest
from msgspec.structs import replace

from poddispatchd.app import features
from poddispatchd.domain.lifecycle import Decision
from poddispatchd.domain.task import SUBMITTABLE, RunnerStatus, TaskPk, TaskType
from poddispatchd.imports import queue
from poddispatchd.pod import tasks
from poddispatchd.pod.imports.encoding_files import Encoded
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runtime.instances import instance_name, is_dead
from poddispatchd.runtime.queue_tables import IMPORTS
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Behaviour, Crash, FaultKind, Mode
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.transitions import apply_report
from tests.integration.imports.bench import Bench, bench, idle, release_dead, until
from tests.plugins.postgres import PodDatabase

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""

_SOMEBODY_WAITS = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock')"
)


@pytest.fixture
def mode() -> Mode:
    return Mode.SHARED


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path, mode: Mode) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=mode) as made:
        yield made


def lock_file(here: Bench, task: TaskPk) -> Path:
    return here.world.media_root / f".runner_task_locks/{task}.lock"


def lock_is_free(path: Path) -> bool:
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("variant", list(SchemaVariant))
async def test_an_encoding_replaces_the_old_one_and_leaves_nothing_behind(here: Bench) -> None:
    video = await here.video(encoded=True, transcript="fr")
    old = {name for name in here.files() if name.startswith(video.output_directory)}
    task = await here.ready(video=video)
    await here.import_due()
    assert (await here.status(task), await here.imports_of(task)) == ("completed", [("done", 1, None)])
    named = await here.value(
        "SELECT array_agg(source_file) FROM video_encode_transcript_encodingvideo WHERE video_id = $1",
        video.id,
    )
    files = here.files()
    assert set(named) <= files.keys()
    assert {
        f"{video.output_directory}/{name}" for name in ("playlist.m3u8", "info_video.json")
    } <= files.keys()
    assert not (old - {f"{video.output_directory}/playlist.m3u8"}) & files.keys()
    assert here.staged() == []
    assert await here.value("SELECT count(*) FROM poddispatchd.import_file") == 0
    assert await here.value("SELECT count(*) FROM poddispatchd.obsolete_file") == 0
    assert await here.value("SELECT count(*) FROM runner_manager_task WHERE type = 'transcription'") == 1
    assert lock_is_free(lock_file(here, task))


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_transcription_becomes_a_track(here: Bench) -> None:
    video = await here.video(transcript="fr")
    task = await here.ready(TaskType.TRANSCRIPTION, video=video)
    await here.import_due()
    assert await here.status(task) == "completed"
    stored = await here.value(
        "SELECT file.file FROM completion_track AS track JOIN podfile_customfilemodel AS file"
        " ON file.id = track.src_id WHERE track.video_id = $1",
        video.id,
    )
    assert here.files()[stored].startswith(b"WEBVTT")
    assert here.staged() == []
    assert await here.step_of(video.id) == (0, "done")


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_studio_task_becomes_exactly_one_video(here: Bench) -> None:
    before = await here.value("SELECT count(*) FROM video_video")
    task = await here.ready(TaskType.STUDIO)
    await here.import_due()
    await here.import_again()
    assert await here.status(task) == "completed"
    assert await here.value("SELECT count(*) FROM video_video") == before + 1
    source = await here.value("SELECT video FROM video_video ORDER BY id DESC LIMIT 1")
    assert source in here.files()
    assert here.staged() == []


@pytest.mark.parametrize("kind", SUBMITTABLE)
@pytest.mark.parametrize(("setting", "mode"), [("0640", 0o640), (None, 0o604)])
async def test_every_file_has_the_mode_that_pod_gives_to_uploads(
    pod_database: PodDatabase, media_root: Path, kind: TaskType, setting: str | None, mode: int
) -> None:
    changes = {"pod": {"file_permissions": setting}}
    async with bench(pod_database, media_root, changes=changes) as here:
        video = None if kind is TaskType.STUDIO else await here.video(transcript="fr")
        task = await here.ready(kind, video=video)
        before = here.files().keys()
        umask = os.umask(0o062)
        try:
            await here.import_due()
        finally:
            os.umask(umask)
        assert await here.status(task) == "completed"
        new = [media_root / name for name in here.files().keys() - before]
    assert new
    assert {stat.S_IMODE(path.stat().st_mode) for path in new} == {mode}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in new} == {(os.geteuid(), os.getegid())}


async def test_a_task_that_pod_imports_itself_is_postponed_without_counting(here: Bench) -> None:
    task = await here.ready()
    path = lock_file(here, task)
    path.parent.mkdir()
    path.touch()
    with subprocess.Popen(  # noqa: ASYNC220 - a process of its own is the point
        [sys.executable, "-c", _HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"
        await here.import_due()
        [(state, attempts, reason)] = await here.imports_of(task)
        assert (state, attempts) == ("open", 0)
        assert reason == f"Another process is importing task {task}."
        assert await here.status(task) == "running"
        holder.kill()
    await here.import_again()
    assert await here.status(task) == "completed"


async def test_files_are_left_alone_while_somebody_else_holds_the_lock_of_their_task(here: Bench) -> None:
    """An earlier attempt brought a file; whoever holds the lock now may be bringing it again."""
    task = await here.ready()
    brought = here.world.media_root / "videos/brought.ts"
    brought.write_bytes(b"x")
    await here.execute(
        "INSERT INTO poddispatchd.import_file (import_id, path, is_new)"
        " SELECT id, 'videos/brought.ts', true FROM poddispatchd.import"
    )
    await here.execute("UPDATE runner_manager_task SET status = 'pending', task_id = NULL")
    async with task_lock(here.parts.media, task):
        await here.import_due()
        assert ((await here.imports_of(task))[0][0], brought.exists()) == ("dropped", True)
    await features.maintenance(here.parts).purge()
    assert not brought.exists()


async def test_two_daemons_import_a_result_once(here: Bench) -> None:
    tasks = [await here.ready() for _ in range(2)]
    async with here.another() as there:
        await asyncio.gather(here.import_due(), there.import_due())
        await asyncio.gather(here.import_due(), there.import_due())
    for task in tasks:
        assert await here.status(task) == "completed"
        assert await here.imports_of(task) == [("done", 1, None)]
    manifests = [request for request in here.fake.requests if request.path.startswith("/task/result/")]
    lists = [request.path for request in manifests if "/file/" not in request.path]
    assert len(lists) == len(set(lists)) == 2


@pytest.mark.parametrize(("spoilt", "end"), [(None, "completed"), (Crash.EARLY, "pending")])
async def test_a_report_that_comes_while_an_import_is_settled_waits_for_it(
    here: Bench, monkeypatch: pytest.MonkeyPatch, spoilt: Crash | None, end: str
) -> None:
    """One held the import and wanted the row, the other held the row and wanted the import: a deadlock."""
    pk = await here.ready(behaviour=Behaviour(crash=spoilt))
    reports: list[asyncio.Task[Decision]] = []

    async def report() -> Decision:
        async with here.parts.database.transaction() as connection:
            task = await tasks.get_task(connection, pk)
            assert task is not None
            report = RunReport(RunnerStatus.COMPLETED)
            return await apply_report(connection, task, report, retries=here.parts.retries)

    def reported(settle: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
        async def settled(*arguments: object, **named: object) -> bool:
            answer = await settle(*arguments, **named)
            reports.append(asyncio.create_task(report()))
            await until(lambda: here.value(_SOMEBODY_WAITS))
            return answer

        return settled

    monkeypatch.setattr(queue, "finish", reported(queue.finish))
    monkeypatch.setattr(queue, "settle", reported(queue.settle))
    await here.import_due()
    assert await asyncio.gather(*reports) == [Decision.IGNORE]
    assert await here.status(pk) == end


async def test_the_lease_is_kept_during_a_long_download_although_nobody_takes_a_step(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IMPORTS, "table", replace(IMPORTS.table, lease_seconds=0.2))
    task = await here.ready()
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.HANG))
    importer = features.importer(here.parts)
    await importer.step()
    await here.fake.wait_for(lambda: any("/file/" in request.path for request in here.fake.requests))
    await here.execute("UPDATE poddispatchd.import SET lease_expires_at = now()")
    await until(
        lambda: here.value(
            "SELECT lease_expires_at > now() FROM poddispatchd.import WHERE task_pk = $1", task
        )
    )
    await importer.stop(5)
    assert importer.running == 0


async def test_a_lease_that_ran_out_is_taken_over_and_its_old_holder_commits_nothing(here: Bench) -> None:
    task = await here.ready()
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.SLOW, seconds=0.5))
    late = features.importer(here.parts)
    await late.step()
    await here.fake.wait_for(lambda: any("/file/" in request.path for request in here.fake.requests))
    # The first holder was out of reach for longer than its lease; another one is at it now.
    await here.execute("UPDATE poddispatchd.import SET lease_owner = 'elsewhere:1:1', attempts = 2")
    await idle(late)
    assert (await here.status(task), here.staged()) == ("running", [])
    assert await here.value("SELECT lease_owner FROM poddispatchd.import") == "elsewhere:1:1"
    await here.execute("UPDATE poddispatchd.import SET lease_expires_at = now(), next_attempt_at = now()")
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_only_what_is_worked_on_keeps_its_lease(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that a lost database left behind was renewed for ever while other imports ran."""
    stranded = await here.ready()
    importer = features.importer(here.parts)
    await here.execute(
        "UPDATE poddispatchd.import SET lease_owner = $1, lease_expires_at = now() + interval '1 hour'",
        here.parts.instance,
    )
    monkeypatch.setattr(IMPORTS, "table", replace(IMPORTS.table, lease_seconds=0.1))
    busy = await here.ready()
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.HANG))
    await importer.step()
    await here.fake.wait_for(lambda: any("/file/" in request.path for request in here.fake.requests))
    # Whoever renews it, and however long ago that is by then, makes it another moment than this one.
    await here.execute("UPDATE poddispatchd.import SET lease_expires_at = '-infinity'")
    renewed = "SELECT array_agg(task_pk) FROM poddispatchd.import WHERE lease_expires_at > '-infinity'"
    await until(lambda: here.value(renewed))
    assert (await here.value(renewed), stranded != busy) == ([busy], True)
    await importer.stop(5)


async def test_leases_of_a_killed_daemon_of_this_host_are_given_back_at_once(here: Bench) -> None:
    task = await here.ready()
    script = (
        "import sys\nfrom poddispatchd.runtime.instances import instance_name\n"
        "print(instance_name(), flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(  # noqa: ASYNC220 - a process of its own is the point
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        owner = (await asyncio.to_thread(daemon.stdout.readline)).strip()
        await here.execute(
            "UPDATE poddispatchd.import SET lease_owner = $1, attempts = 1,"
            " lease_expires_at = now() + make_interval(secs => $2)",
            *(owner, IMPORTS.table.lease_seconds),
        )
        await release_dead(here)
        assert (is_dead(owner), await here.value("SELECT lease_owner FROM poddispatchd.import")) == (
            False,
            owner,
        )
        daemon.kill()
        daemon.wait()
    await release_dead(here)
    assert await here.imports_of(task) == [("open", 0, None)]
    await here.import_due()
    assert await here.status(task) == "completed"


def test_a_daemon_of_another_host_is_never_called_dead() -> None:
    assert not is_dead("elsewhere:1:1")
    assert not is_dead(instance_name())


def test_a_daemon_of_another_machine_or_container_of_the_same_name_is_never_called_dead() -> None:
    """What it was at was given back, and begun a second time: a mail was sent twice."""
    host, process, began = instance_name().split(":")
    pid, _, place = process.partition("@")
    assert not is_dead(f"{host}:{pid}@another:{began}1")
    assert not is_dead(f"{host}:{2**22 + 1}@another:{began}")
    assert is_dead(f"{host}:{pid}@{place}:{began}1")
    # As the release before called itself.
    assert is_dead(f"{host}:{pid}:{began}1")
    assert not is_dead(f"{host}:{pid}:{began}")


def test_a_living_daemon_is_not_called_dead_by_the_release_before() -> None:
    """It knew no place, and took one behind the beginning for another beginning: all was begun twice."""
    host, _, rest = instance_name().partition(":")
    pid, _, began = rest.partition(":")
    began_here = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    # All that it asks before it calls one dead.
    assert not (host == gethostname() and pid.isdigit() and began != began_here)


async def test_a_stop_hands_back_what_is_before_its_commit_point_without_counting(here: Bench) -> None:
    task = await here.ready()
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.HANG))
    importer = features.importer(here.parts)
    await importer.step()
    await here.fake.wait_for(lambda: any("/file/" in request.path for request in here.fake.requests))
    await importer.stop(5)
    assert (await here.status(task), await here.imports_of(task)) == ("running", [("open", 0, None)])
    assert await here.value("SELECT lease_owner FROM poddispatchd.import") is None
    assert lock_is_free(lock_file(here, task))
    await here.import_due()
    assert await here.imports_of(task) == [("done", 1, None)]


async def test_a_stop_lets_an_import_past_its_commit_point_finish_under_the_lock(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await here.ready()
    loop, reached, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    apply = Encoded.apply

    def held(files: Encoded) -> None:
        loop.call_soon_threadsafe(reached.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        apply(files)

    monkeypatch.setattr(Encoded, "apply", held)
    importer = features.importer(here.parts)
    await importer.step()
    await reached.wait()
    stopping = asyncio.create_task(importer.stop(30))
    await asyncio.sleep(0)
    assert not lock_is_free(lock_file(here, task))
    go_on.set()
    await stopping
    assert (await here.status(task), importer.running) == ("completed", 0)
    assert here.staged() == []


async def test_a_stopped_importer_takes_nothing_new(here: Bench) -> None:
    importer = features.importer(here.parts)
    await importer.stop(1)
    task = await here.ready()
    await here.import_due(importer)
    assert await here.imports_of(task) == [("open", 0, None)]


async def test_a_lock_acquired_for_nobody_is_let_go(media_root: Path) -> None:
    """A stop while the lock was being acquired kept it for as long as the process lived."""

    async def hold() -> None:
        async with task_lock(MediaTree(media_root), TaskPk(1)):
            raise AssertionError("cancelled before")

    waiting = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    path = media_root / ".runner_task_locks/1.lock"

    async def is_free() -> bool:
        return path.exists() and lock_is_free(path)

    await until(is_free)


async def test_no_more_results_are_imported_at_once_than_allowed(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with bench(pod_database, media_root, changes={"imports": {"concurrency": 1}}) as here:
        for _ in range(2):
            await here.ready()
        here.fake.faults.inject("result", AnswerFault(kind=FaultKind.SLOW, seconds=0.2))
        importer = features.importer(here.parts)
        await importer.step()
        await importer.step()
        assert importer.running == 1
        await here.import_due(importer)
        await here.import_due(importer)
        done = await here.value("SELECT count(*) FROM runner_manager_task WHERE status = 'completed'")
        assert done == 2


async def test_an_encoding_twice_in_a_row_ends_as_one(here: Bench) -> None:
    """What one import replaced may be brought again by the next: it must not be deleted late."""
    video = await here.video()
    await here.ready(video=video)
    await here.import_due()
    once = set(here.files())
    brought = await here.value(
        "SELECT source_file FROM video_encode_transcript_encodingvideo WHERE video_id = $1 LIMIT 1", video.id
    )
    await here.execute("INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ($1, 1)", brought)
    task = await here.ready(video=video, behaviour=Behaviour())
    await here.import_due()
    assert await here.status(task) == "completed"
    assert brought in here.files()
    assert {name for name in once if "files/" not in name} <= set(here.files())
    assert await here.value("SELECT count(*) FROM poddispatchd.obsolete_file") == 0

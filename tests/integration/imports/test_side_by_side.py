"""Two imports at once never meet: neither under a name of their own, nor under one that both would like."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import Task, TaskPk, TaskType
from poddispatchd.errors import MediaNotWritableError
from poddispatchd.imports import commit, deletion, recorded_files
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.queue import ImportJob
from poddispatchd.imports.recorded_files import Recorded
from poddispatchd.pod.imports import encoding_files
from poddispatchd.pod.imports.plan import ImportPlan
from poddispatchd.pod.imports.stored import choose_stored_name
from poddispatchd.pod.media.files import Undeleted
from poddispatchd.pod.media.placing import Ready
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.runtime.queue_tables import IMPORTS
from poddispatchd.sandbox.fake_runner_manager import Behaviour
from poddispatchd.sandbox.fake_runner_manager.results import RESULTS
from tests.integration.imports.bench import Bench, bench, idle, schedule, until
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def stored_files(here: Bench, table: str) -> list[str]:
    async with here.pod.connection() as connection:
        return [row[0] for row in await connection.fetch(f"SELECT file FROM {table} ORDER BY id")]


@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.TRANSCRIPTION])
async def test_two_results_that_would_have_one_name_get_two(
    here: Bench, monkeypatch: pytest.MonkeyPatch, kind: TaskType
) -> None:
    """Both have chosen before either of them says so."""
    videos = [await here.video(title=title, transcript="fr") for title in ("One", "Other")]
    tasks = [await here.ready(kind, video=video) for video in videos]
    variant = here.pod.variant
    table = variant.custom_image if kind is TaskType.ENCODING else variant.custom_file
    before = await stored_files(here, table)
    chosen = asyncio.Event()
    waiting: list[object] = []
    record = ImportCommit.record

    async def at_once(commits: ImportCommit, *arguments: object) -> None:
        waiting.append(commits)
        if len(waiting) >= 2:
            chosen.set()
        await chosen.wait()
        await record(commits, *arguments)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(ImportCommit, "record", at_once)
    with capture_logs() as logged:
        await here.import_due()
        await here.import_again()
    assert [await here.status(task) for task in tasks] == ["completed", "completed"]
    new = [path for path in await stored_files(here, table) if path not in before]
    assert len(set(new)) == len(new) == 2
    assert all(here.files()[path] for path in new)
    assert not [entry for entry in logged if entry["event"] == "media.obstructed"]
    assert [entry for entry in logged if "poddispatchd-" in str(entry.get("reason"))] == []
    assert here.staged() == []


async def test_a_name_that_somebody_else_takes_at_the_last_moment_is_left_to_him(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pod's users upload files beside ours."""
    task = await here.ready(video=await here.video())
    appear = Ready.appear
    theirs: list[Path] = []

    def too_late(ready: Ready) -> None:
        if not theirs:
            theirs.append(Path(str(ready.move.target)))
            theirs[0].write_bytes(b"an upload")
        appear(ready)

    monkeypatch.setattr(Ready, "appear", too_late)
    await here.import_due()
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 0)
    assert "put there by somebody else" in str(reason)
    await here.import_again()
    assert await here.status(task) == "completed"
    assert theirs[0].read_bytes() == b"an upload"


@pytest.mark.parametrize("longer", [0, 40], ids=["a short name", "one that is as long as Pod can store"])
async def test_a_result_is_imported_though_its_second_name_is_taken_as_well(
    here: Bench, monkeypatch: pytest.MonkeyPatch, longer: int
) -> None:
    """After a restore an import met its own files, which the journal had forgotten, and waited for ever."""

    async def choose(*arguments: object, name: str, **others: object) -> str:
        return await choose_stored_name(*arguments, name="long-" * longer + name, **others)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(encoding_files, "choose_stored_name", choose)
    task = await here.ready(video=await here.video())
    chosen: list[str] = []
    record = ImportCommit.record

    async def seen(commits: ImportCommit, job: ImportJob, plan: ImportPlan) -> None:
        [name] = plan.stored
        chosen.append(name)
        if len(chosen) <= 2:
            (here.world.media_root / name).parent.mkdir(parents=True, exist_ok=True)
            (here.world.media_root / name).write_bytes(b"of an earlier life")
        await record(commits, job, plan)

    monkeypatch.setattr(ImportCommit, "record", seen)
    with capture_logs() as logged:
        await here.import_due()
        for _ in range(3):
            await here.import_again()

    retried = [entry for entry in logged if entry["event"] == "import.retried"]
    assert [entry["log_level"] for entry in retried] == ["warning"] * 2
    assert await here.status(task) == "completed"
    assert len(chosen) == len(set(chosen)) == 3
    old = [(here.world.media_root / name).read_bytes() for name in chosen[:2]]
    assert old == [b"of an earlier life"] * 2
    assert (await stored_files(here, here.pod.variant.custom_image))[-1] == chosen[2]


async def test_imports_that_record_their_names_at_the_same_moment_wait_without_a_connection(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each held one while the others committed, and was put off after a second: it was fetched again."""
    tasks = [await here.ready() for _ in range(2)]
    record, record_files = ImportCommit.record, recorded_files.record_files
    both, waiting = asyncio.Event(), 0
    recording, most = 0, 0

    async def at_once(commits: ImportCommit, job: ImportJob, plan: ImportPlan) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both.set()
        await both.wait()
        await record(commits, job, plan)

    async def counted(
        connection: Connection,
        job: ImportJob,
        task: Task,
        brought: Collection[str],
        *,
        there: Collection[str],
        stored: Collection[str],
    ) -> Recorded:
        nonlocal recording, most
        recording += 1
        most = max(most, recording)
        recorded = await record_files(connection, job, task, brought, there=there, stored=stored)
        recording -= 1
        return recorded

    monkeypatch.setattr(ImportCommit, "record", at_once)
    monkeypatch.setattr(recorded_files, "record_files", counted)
    await here.import_due()
    assert [await here.status(task) for task in tasks] == ["completed", "completed"]
    assert most == 1


async def test_what_an_attempt_withdrew_and_cannot_delete_has_its_name_again(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that takes and deletes nothing any more each attempt left another thumbnail, up to fifty."""
    task = await here.ready(video=await here.video(encoded=True))
    before, is_full = here.files().keys(), True
    write, delete = ImportCommit._write_rows_with_retries, deletion._delete

    async def writes(commits: ImportCommit, *arguments: Any) -> object:  # noqa: ANN401 - as it was called
        if is_full:
            raise MediaNotWritableError("No space left on device.")
        return await write(commits, *arguments)

    def deletes(tree: MediaTree, paths: list[str], is_ours: Callable[[str], bool]) -> dict[str, Undeleted]:
        if is_full:
            return {path: Undeleted("No space left on device.", True) for path in paths}
        return delete(tree, paths, is_ours)

    monkeypatch.setattr(ImportCommit, "_write_rows_with_retries", writes)
    monkeypatch.setattr(deletion, "_delete", deletes)
    await here.import_due()
    await here.import_again()
    await here.import_again()
    [left] = [name for name in here.files().keys() - before if name.startswith("files/")]

    is_full = False
    await here.import_again()

    assert await here.status(task) == "completed"
    assert left in await stored_files(here, here.pod.variant.custom_image)


async def test_two_results_of_one_video_are_never_a_mixture(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for twice within a second, it was encoded by two runner managers, whose results came together.

    The playlist of the one was put beside the segments of the other.
    """
    video = await here.video()
    stem = Path(video.path).stem
    names = [f"{height}p_{stem}.ts" for height in (360, 720)]
    segments = [(RESULTS / "encoding" / f"{height}p_source.ts").read_bytes() for height in (360, 720)]
    longer = {name: content + bytes(188) for name, content in zip(names, segments, strict=True)}
    tasks = [await here.ready(video=video), await here.ready(behaviour=Behaviour(files=longer), video=video)]
    swap, go_on = Ready.swap, threading.Event()
    first: list[MediaPath] = []

    def slowly(ready: Ready) -> None:
        # The first one stops between its segments, until the other one is there or has said that it waits.
        staging = ready.move.staged.parent
        if not first:
            first.append(staging)
        swap(ready)
        if staging == first[0] and ready.move.target.name == names[0]:
            assert go_on.wait(60)

    monkeypatch.setattr(Ready, "swap", slowly)
    importer = features.importer(here.parts)
    await importer.step()

    async def one_left() -> bool:
        return importer.running < 2

    await until(one_left)
    go_on.set()
    await idle(importer)
    await here.import_again()
    # Where the later one was quicker, the earlier one follows it when it is asked about.
    await _asked_about(here)

    assert [await here.status(task) for task in tasks] == ["completed", "completed"]
    files = here.files()
    sizes = [len(files[f"{video.output_directory}/{name}"]) for name in names]
    extra = {size - len(content) for size, content in zip(sizes, segments, strict=True)}
    assert extra in ({0}, {188})


async def _asked_about(here: Bench) -> None:
    schedule(here.parts, 1)
    reconciler = features.reconciler(here.parts)
    await reconciler.step()
    await reconciler.until_idle()


async def test_a_daemon_that_was_frozen_while_it_put_files_in_place_leaves_those_of_another_alone(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went on where it was, beside the other's segments: the video was a mixture of two results."""
    monkeypatch.setattr(IMPORTS, "table", replace(IMPORTS.table, lease_seconds=400.0))
    video = await here.video()
    stem = Path(video.path).stem
    names = [f"{height}p_{stem}.ts" for height in (360, 720)]
    segments = [(RESULTS / "encoding" / f"{height}p_source.ts").read_bytes() for height in (360, 720)]
    longer = {name: content + bytes(188) for name, content in zip(names, segments, strict=True)}
    frozen = await here.ready(video=video)
    swap, is_frozen, go_on = Ready.swap, threading.Event(), threading.Event()

    def slowly(ready: Ready) -> None:
        swap(ready)
        if not is_frozen.is_set() and ready.move.target.name == names[0]:
            is_frozen.set()
            assert go_on.wait(60)

    monkeypatch.setattr(Ready, "swap", slowly)
    importer = features.importer(here.parts)
    await importer.step()
    await asyncio.to_thread(is_frozen.wait, 60)
    here.clock.ahead += 400
    await here.execute("UPDATE poddispatchd.import SET lease_expires_at = now()")
    other = await here.ready(behaviour=Behaviour(files=longer), video=video)
    async with here.another() as elsewhere:
        await elsewhere.import_due()
    assert await here.status(other) == "completed"
    go_on.set()
    await idle(importer)

    files = here.files()
    assert [files[f"{video.output_directory}/{name}"] for name in names] == list(longer.values())
    assert (await here.status(frozen), here.staged()) == ("running", [])
    await here.import_again()
    await _asked_about(here)
    assert await here.status(frozen) == "completed"
    assert here.files() == files


async def test_a_result_that_is_fetched_once_more_keeps_no_other_one_of_its_video_waiting(
    here: Bench,
) -> None:
    """A crash amid the first attempt had left its files recorded: the other one was put off all the time."""
    video = await here.video()
    again, other = [await here.ready(video=video) for _ in range(2)]
    name = f"{video.output_directory}/360p_{Path(video.path).stem}.ts"
    await here.execute(
        "INSERT INTO poddispatchd.import_file (import_id, path, is_new)"
        " SELECT id, $2, true FROM poddispatchd.import WHERE task_pk = $1",
        *(again, name),
    )
    await here.execute(
        "UPDATE poddispatchd.import SET is_placing = false, lease_owner = 'another',"
        " lease_expires_at = now() + interval '10 minutes' WHERE task_pk = $1",
        again,
    )
    await here.import_due()
    assert [await here.status(task) for task in (again, other)] == ["running", "completed"]


async def test_what_a_daemon_of_the_release_before_is_at_is_waited_for(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says to nobody that it puts files in place, and may do so until it has ended."""
    monkeypatch.setattr(commit, "_OTHERS_WITHIN", 1)
    video = await here.video()
    older, other = [await here.ready(video=video) for _ in range(2)]
    name = f"{video.output_directory}/360p_{Path(video.path).stem}.ts"
    await here.execute(
        "INSERT INTO poddispatchd.import_file (import_id, path, is_new)"
        " SELECT id, $2, true FROM poddispatchd.import WHERE task_pk = $1",
        *(older, name),
    )
    await here.execute(
        "UPDATE poddispatchd.import SET lease_owner = 'another',"
        " lease_expires_at = now() + interval '10 minutes' WHERE task_pk = $1",
        older,
    )
    await here.import_due()
    assert [await here.status(task) for task in (older, other)] == ["running", "running"]
    assert name not in here.files()


async def test_what_another_import_has_put_in_place_since_an_import_looked_is_not_its_own_to_withdraw(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked, waited, recorded all files as new ones, failed: segments of the other one were deleted."""
    video = await here.video()
    tasks = [await here.ready(video=video) for _ in range(2)]
    cleared, second_has_looked, first_is_over = commit._cleared, threading.Event(), threading.Event()

    def looks_early(
        tree: MediaTree, brought: Collection[str], earlier: Collection[str], task: TaskPk
    ) -> set[str]:
        found = cleared(tree, brought, earlier, task)
        if task == tasks[1]:
            second_has_looked.set()
            assert first_is_over.wait(60)
        assert second_has_looked.wait(60)
        return found

    monkeypatch.setattr(commit, "_cleared", looks_early)
    importer = features.importer(here.parts)
    await importer.step()

    async def one_left() -> bool:
        return importer.running == 1

    await until(one_left)
    before = here.files()
    first_is_over.set()
    await idle(importer)
    assert await here.status(tasks[0]) == "completed"
    lost = [name for name in before.keys() - here.files().keys() if "poddispatchd" not in name]
    assert lost == []

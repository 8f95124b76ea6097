"""A disk that is full keeps a result waiting, for as long as it takes, and nothing else happens (I11)."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.domain.task import TaskType
from poddispatchd.imports import attempt
from poddispatchd.observability.metrics import ImportOutcome
from poddispatchd.pod.imports import encoding_files, transcription
from poddispatchd.pod.media import staging
from poddispatchd.pod.media.directory import Directory
from poddispatchd.runtime.jobs import Progress
from poddispatchd.sandbox.fake_runner_manager import Mode
from tests.integration.imports.bench import Bench, bench
from tests.integration.imports.full_disk import Disk, PretendedDisk, may_mount, small_disk
from tests.integration.imports.test_crashes import run_until
from tests.plugins.postgres import PodDatabase

MOMENTS: dict[str, tuple[object, str, int]] = {
    "at the lock": (attempt, "task_lock", 0),
    "before the download": (staging, "begin", 0),
    "amid the download": (Directory, "replace_file", 1),
    "at the log": (encoding_files, "write_staged", 0),
    "at the thumbnail": (encoding_files, "write_staged", 2),
    "at the subtitles": (transcription, "write_staged", 0),
    "beside the first target": (Directory, "link", 0),
    "beside the third target": (Directory, "link", 2),
}
"""When the disk fills up: right before which call of which function."""

OF_ENCODINGS = (
    *("at the lock", "before the download", "amid the download", "at the log", "at the thumbnail"),
    *("beside the first target", "beside the third target"),
)
OF_TRANSCRIPTIONS = (
    "before the download",
    "amid the download",
    "at the subtitles",
    "beside the first target",
)

CASES = [
    *((TaskType.ENCODING, moment) for moment in OF_ENCODINGS),
    *((TaskType.STUDIO, moment) for moment in OF_ENCODINGS),
    *((TaskType.TRANSCRIPTION, moment) for moment in OF_TRANSCRIPTIONS),
]

needs_mount = pytest.mark.skipif(
    not may_mount(), reason="only root can mount a disk; it is pretended besides"
)


@pytest.fixture(params=[pytest.param("tmpfs", marks=needs_mount), "pretended"])
def disk(request: pytest.FixtureRequest, media_root: Path) -> Iterator[Disk]:
    """The disk of MEDIA_ROOT."""
    if request.param == "tmpfs":
        with small_disk(media_root) as mounted:
            yield mounted
    else:
        pretended = PretendedDisk()
        yield pretended
        pretended.room()


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path, disk: Disk) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.PROXY) as made:
        yield made


def fill(monkeypatch: pytest.MonkeyPatch, disk: Disk, moment: str) -> None:
    """Let the disk fill up at a moment of an import."""
    owner, name, number = MOMENTS[moment]
    function: Callable[..., object] = getattr(owner, name)
    calls = iter(range(10**6))

    def filling(*arguments: object, **named: object) -> object:
        if next(calls) == number:
            disk.full()
        there = getattr(owner, name)
        return (function if there is filling else there)(*arguments, **named)

    monkeypatch.setattr(owner, name, filling)


def tree(here: Bench) -> dict[str, bytes | None]:
    """Files with their content, and directories, without Pod's locks and the ballast."""
    root = here.world.media_root
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if not {".runner_task_locks", ".ballast", "tasks"} & {*path.relative_to(root).parts}
    }


@pytest.mark.parametrize(("kind", "moment"), CASES)
async def test_a_disk_that_fills_up_at_any_moment_of_an_import_is_waited_for(
    here: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch, kind: TaskType, moment: str
) -> None:
    video = None if kind is TaskType.STUDIO else await here.video(encoded=True, transcript="fr")
    task = await here.ready(kind, video=video)
    before = tree(here)
    fill(monkeypatch, disk, moment)
    with capture_logs() as logged:
        await here.import_due()
        for _ in range(2):
            await here.import_again()

    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts, await here.status(task)) == ("open", 0, "running")
    assert reason is not None
    assert "No space left on device ('df' and 'df -i' tell what is used up)" in reason
    assert (tree(here), here.staged()) == (before, [])
    assert [entry["event"] for entry in logged if entry["event"].startswith("media.")] == ["media.obstructed"]
    retried = here.parts.metrics.imports.labels(kind, ImportOutcome.RETRIED)
    assert retried._value.get() == 3
    [problem] = [
        problem
        for problem in features.status(here.parts).state(Progress()).problems
        if problem.startswith("Results wait: ")
    ]
    assert "No space left on device" in problem

    disk.room()
    with capture_logs() as logged:
        await here.import_again()
    assert await here.status(task) == "completed"
    assert await here.imports_of(task) == [("done", 1, None)]
    assert [entry["event"] for entry in logged if entry["event"].startswith("media.")] == ["media.usable"]
    assert not here.parts.media_health.problems
    assert here.staged() == []
    assert await here.value("SELECT count(*) FROM poddispatchd.import_file") == 0
    assert await here.value("SELECT count(*) FROM poddispatchd.obsolete_file") == 0


async def test_a_file_larger_than_may_be_written_is_waited_for(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """A limit of the process stands for a quota: the kernel refuses in the middle of a file, without root."""
    async with bench(pod_database, media_root) as here:
        video = await here.video(encoded=True)
        task = await here.ready(video=video)
        before = tree(here)
        status, output = await run_until(here, "limit 20000")
        assert status == 0, output
        [(state, attempts, reason)] = await here.imports_of(task)
        assert (state, attempts, await here.status(task)) == ("open", 0, "running")
        assert "File too large" in str(reason)
        assert (tree(here), here.staged()) == (before, [])
        await here.import_again()
        assert await here.status(task) == "completed"


async def test_a_result_that_waits_for_room_is_not_shown_for_ever_when_another_daemon_writes_it(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with bench(pod_database, media_root) as here:
        task = await here.ready()
        here.parts.media_health.obstructed("There is no space.", task)
        await here.execute("UPDATE poddispatchd.import SET last_error = 'There is no space.'")
        maintenance = features.maintenance(here.parts)
        await maintenance.measure()
        assert list(here.parts.media_health.problems) == ["There is no space."]
        async with here.another() as there:
            await there.import_due()
        await maintenance.measure()
        assert not here.parts.media_health.problems


@pytest.mark.parametrize(
    "since",
    [
        "lease_owner = 'another', lease_expires_at = now() + interval '20 s'",
        "last_error = 'The runner manager does not answer.'",
    ],
)
async def test_what_keeps_another_daemon_from_a_result_is_not_what_kept_this_one(
    pod_database: PodDatabase, media_root: Path, since: str
) -> None:
    async with bench(pod_database, media_root) as here:
        task = await here.ready()
        here.parts.media_health.obstructed("There is no space.", task)
        await here.execute("UPDATE poddispatchd.import SET last_error = 'There is no space.'")
        await here.execute(f"UPDATE poddispatchd.import SET {since}")
        await features.maintenance(here.parts).measure()
        assert not here.parts.media_health.problems


async def test_too_little_room_is_shown_before_any_result_meets_it(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with bench(pod_database, media_root, changes={"imports": {"keep_free": "1000000GiB"}}) as here:
        with capture_logs() as logged:
            for _ in range(3):
                await features.maintenance(here.parts).measure()
        assert [entry["event"] for entry in logged] == ["media.obstructed"]
        assert "less than imports.keep_free" in str(here.parts.media_health.problems)
        assert here.parts.metrics.media_free_bytes._value.get() > 0
        plenty = replace(here.parts.settings.imports, keep_free=1)
        here.parts.settings = replace(here.parts.settings, imports=plenty)
        await features.maintenance(here.parts).measure()
        assert not here.parts.media_health.problems

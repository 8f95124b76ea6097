"""A media tree that hangs, or is not the right one, keeps results waiting and nothing else (I12, I16)."""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.errors import ImportBusyError
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.preparation import Preparation
from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.root import MediaRoot
from poddispatchd.pod.media.tree import FileTimeouts, MediaTree
from tests.integration.imports.bench import Bench, bench, idle, until
from tests.plugins.postgres import PodDatabase

_SOON = FileTimeouts(look=0.2, space=0.2, step=0.2, file=0.2)


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


class Hang:
    """A call that hangs from some moment on, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self._go = threading.Event()
        self._call = getattr(owner, name)
        self.begun = 0

        def call(*arguments: object, **named: object) -> object:
            return self(*arguments, **named)

        monkeypatch.setattr(owner, name, call)  # a function is bound to its owner's objects

    def __call__(self, *arguments: object, **named: object) -> object:
        self.begun += 1
        assert self._go.wait(60)
        return self._call(*arguments, **named)

    def let_go(self) -> None:
        self._go.set()


@pytest.mark.parametrize(
    ("owner", "name"), [(File, "sync"), (Directory, "rename"), (File, "write"), (Directory, "lock_file")]
)
async def test_an_import_whose_files_hang_waits_uncounted_and_is_done_when_they_answer(
    here: Bench, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    task = await here.ready(video=await here.video(encoded=True))
    here.parts.media.limits = _SOON
    hang = Hang(monkeypatch, owner, name)
    try:
        async with asyncio.timeout(60):
            await here.import_due()
            assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        [(state, attempts, reason)] = await here.imports_of(task)
        assert (state, attempts, await here.status(task)) == ("open", 0, "running")
        assert "did not answer" in str(reason) or "does not answer" in str(reason)
        assert here.parts.media_health.problems
        begun = hang.begun
        await here.import_again()  # the thread still has the lock: nobody else may come near the files
        assert hang.begun - begun <= 1
    finally:
        hang.let_go()
    here.parts.media.limits = FileTimeouts()

    async def is_done() -> bool:
        # A thread that was let go late may have the lock for a moment: the import is put off, and done later.
        await here.import_again()
        return await here.status(task) == "completed"

    await until(is_done)
    assert [attempts for _, attempts, _ in await here.imports_of(task)] == [1]
    await features.maintenance(here.parts).purge()
    assert here.staged() == []


async def test_a_stop_does_not_wait_for_a_file_that_hangs(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.ready(video=await here.video())
    hang = Hang(monkeypatch, File, "write")
    importer = features.importer(here.parts)
    await importer.step()

    async def hangs() -> bool:
        return hang.begun > 0

    await until(hangs)
    try:
        async with asyncio.timeout(30):
            await importer.stop(1.0)
        assert await here.value("SELECT lease_owner FROM poddispatchd.import") is None
    finally:
        hang.let_go()
        await idle(importer)


async def test_people_hear_of_a_result_while_what_it_has_left_is_still_being_deleted(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mails, and the transcription that follows, waited until a slow disk had done so."""
    task, rings = await here.ready(), []

    async def tidy(*_: object, **__: object) -> None:
        rings.append((here.parts.wakeups.notifier.rings, await here.status(task)))

    monkeypatch.setattr(ImportCommit, "tidy", tidy)
    await here.import_due()
    assert rings == [(1, "completed")]


async def test_sweeping_purging_and_measuring_a_tree_that_hangs_ends(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.parts.media.limits = _SOON
    await here.execute("INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ('videos/x/a', 1)")
    hang = Hang(monkeypatch, MediaRoot, "walk")
    try:
        async with asyncio.timeout(60):
            for _ in range(3):
                await features.maintenance(here.parts).measure()
                await features.maintenance(here.parts).purge()
        assert "does not answer" in str(here.parts.media_health.problems) or "did not" in str(
            here.parts.media_health.problems
        )
    finally:
        hang.let_go()


@pytest.mark.parametrize("gone", ["everything", "videos"])
async def test_in_a_tree_that_is_not_the_right_one_nothing_is_deleted_or_imported(
    here: Bench, gone: str
) -> None:
    root = here.world.media_root
    videos = [await here.video(encoded=True, title=f"Old {number}") for number in range(3)]
    task = await here.ready(video=videos[0])
    away = root.with_name("away")
    place = root if gone == "everything" else root / "videos"
    await asyncio.to_thread(place.rename, away)
    # What a cron job, or Pod itself, may have put where the tree is not mounted.
    left = root / "videos/x/.0001.poddispatchd-9999/file.ts"
    entry = root / "opencast-files/room-1/a.webm"
    obsolete = root / "videos/x/obsolete.mp4"
    for file in (left, entry, obsolete):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    os.utime(entry.parent, (0, 0))
    await here.execute(
        "INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ('videos/x/obsolete.mp4', 1)"
    )
    retention = replace(here.parts.settings.retention, opencast_files_days=1)
    here.parts.settings = replace(here.parts.settings, retention=retention)
    await features.maintenance(here.parts).purge()
    await features.deletion(here.parts).delete_obsolete()
    await here.import_due()
    assert all(file.exists() for file in (left, entry, obsolete))
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts, await here.status(task)) == ("open", 0, "running")
    assert "videos that the database knows have no file under" in str(reason)

    for file in (left, obsolete):
        file.unlink()
    left.parent.rmdir()
    left.parent.parent.rmdir()
    if gone == "videos":
        place.rmdir()
        away.rename(place)
    else:
        root.rename(root.with_name("wrong"))
        away.rename(root)
    here.clock.ahead += 60
    await here.import_again()
    assert await here.status(task) == "completed"
    assert here.parts.evidence.problem is None


@pytest.mark.parametrize("kind", [TaskType.STUDIO, TaskType.ENCODING])
async def test_nothing_is_imported_into_an_empty_directory_of_videos_that_was_full_a_moment_ago(
    here: Bench, kind: TaskType
) -> None:
    """A recording lies elsewhere: it was there, and its video was made where the share was not mounted."""
    videos = [await here.video(encoded=True, title=f"Old {number}") for number in range(3)]
    task = await here.ready(kind, video=None if kind is TaskType.STUDIO else videos[0])
    assert await here.parts.evidence.check() is None
    place, away = here.world.media_root / "videos", here.world.media_root.with_name("away")
    place.rename(away)
    place.mkdir()
    await here.import_due()
    assert list(place.rglob("*")) == []
    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts, await here.status(task)) == ("open", 0, "running")
    assert "videos that the database knows have no file under" in str(reason)
    place.rmdir()
    away.rename(place)
    here.clock.ahead += 60
    await here.import_again()
    assert await here.status(task) == "completed"


@pytest.mark.parametrize(
    ("owner", "moment"),
    [(ImportCommit, "record"), (Preparation, "prove_placed")],
    ids=["before they are placed", "after"],
)
async def test_files_that_are_hidden_before_the_commit_are_put_in_place_again(
    here: Bench, monkeypatch: pytest.MonkeyPatch, owner: object, moment: str
) -> None:
    """The fault campaign mounted an empty directory on videos/ amid an import: rows named hidden files."""
    task = await here.ready(video=await here.video(encoded=True))
    videos, aside = here.world.media_root / "videos", here.world.media_root.parent / "aside"
    step = getattr(owner, moment)

    async def hide(*arguments: object) -> None:
        if moment == "record":
            await step(*arguments)
        videos.rename(aside)
        videos.mkdir()
        if moment != "record":
            await step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, hide)
        await here.import_due()
    [(state, attempts, _)] = await here.imports_of(task)
    assert (state, attempts, await here.status(task)) == ("open", 0, "running")
    shutil.rmtree(videos)
    aside.rename(videos)
    here.clock.ahead += 60
    await here.import_again()
    assert await here.status(task) == "completed"


async def test_the_first_result_of_a_pod_is_not_put_where_even_its_source_is_not(here: Bench) -> None:
    """No video was finished whose file could be looked for."""
    task = await here.ready()
    place, away = here.world.media_root / "videos", here.world.media_root.with_name("away")
    place.rename(away)
    place.mkdir()
    await here.import_due()
    assert list(place.rglob("*")) == []
    assert await here.status(task) == "running"
    place.rmdir()
    away.rename(place)
    here.clock.ahead += 60
    await here.import_again()
    assert await here.status(task) == "completed"


async def test_a_lock_is_held_for_as_long_as_a_thread_is_at_the_files(media_root: Path) -> None:
    tree = MediaTree(media_root, limits=_SOON)
    go = threading.Event()
    async with task_lock(tree, TaskPk(7)) as held:
        with pytest.raises(Exception, match="did not answer"):
            await held.run(go.wait, 60)
    with pytest.raises(ImportBusyError):
        async with task_lock(tree, TaskPk(7)):
            pass
    go.set()

    async def is_free() -> bool:
        try:
            async with task_lock(tree, TaskPk(7)):
                return True
        except ImportBusyError:
            return False

    await until(is_free)

"""What is not there is told apart from a tree that is not there, and nothing waits for a file (I12, I16)."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.dispatch import payloads
from poddispatchd.dispatch.payloads import Presence, SourceFiles
from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.opened import EntryStatus
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import FileTimeouts, MediaTree
from poddispatchd.runtime.jobs import Progress
from poddispatchd.sandbox.pod.world import SampleVideo, add_encodings, add_video
from tests.integration.dispatch.scene import Scene, scene
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root) as made:
        yield made


async def finished(pod: Scene, count: int = 3) -> list[SampleVideo]:
    """Videos of which the database knows that their files are there."""
    videos = [await add_video(pod.connection, pod.world, title=f"Old {number}") for number in range(count)]
    for video in videos:
        await add_encodings(pod.connection, pod.world, video)
    return videos


@pytest.mark.parametrize("gone", ["everything", "videos", "what is in videos"])
async def test_a_tree_without_what_the_database_knows_fails_nothing_until_it_is_there(
    pod: Scene, media_root: Path, gone: str
) -> None:
    await finished(pod)
    waiting = [await pod.encoding(title="One"), await pod.transcription()]
    place = media_root if gone == "everything" else media_root / "videos"
    away = media_root.with_name("away")
    place.rename(away)
    if gone != "videos":
        place.mkdir()
    daemon = await pod.daemon()
    with capture_logs() as logged:
        for _ in range(3):
            await daemon.settle()
            daemon.clock.advance(6)
    assert [await pod.status(pk) for pk in waiting] == ["pending", "pending"]
    assert pod.posts("first") == 0
    assert [entry["event"] for entry in logged if entry["event"].startswith("media.")] == ["media.missing"]
    problems = features.status(daemon.parts).state(Progress()).problems
    assert any("Until" in words or "until it is" in words for words in problems)

    if gone != "videos":
        place.rmdir()
    away.rename(place)
    daemon.clock.advance(6)
    await daemon.settle()
    assert [await pod.status(pk) for pk in waiting] == ["running", "running"]
    await daemon.parts.evidence.check(within=0)
    assert daemon.parts.evidence.problem is None


async def test_a_new_upload_in_the_wrong_tree_does_not_make_it_the_right_one(
    pod: Scene, media_root: Path
) -> None:
    await finished(pod, 5)
    missing = await pod.encoding(title="Before the mount went away")
    away = media_root.with_name("away")
    await asyncio.to_thread(media_root.rename, away)
    await asyncio.to_thread((media_root / "videos").mkdir, parents=True)
    new = await pod.encoding(title="Uploaded since")
    daemon = await pod.daemon()
    await daemon.settle()
    assert await pod.status(missing) == "pending"
    assert await pod.status(new) == "running"


async def test_a_pod_without_any_finished_video_is_fine_but_where_nothing_is_nothing_can_be_missing(
    pod: Scene, media_root: Path
) -> None:
    daemon = await pod.daemon()
    assert await daemon.parts.evidence.check(within=0) is None
    pk = await pod.encoding(title="gone", with_file=False)
    await daemon.settle()
    assert await pod.status(pk) == "pending"
    (media_root / "videos/of-somebody").mkdir(parents=True)
    daemon.clock.advance(6)
    await daemon.settle()
    assert await pod.status(pk) == "failed"


async def test_videos_whose_ids_have_come_to_the_end_of_their_numbers_are_known(pod: Scene) -> None:
    """The search for some of them left those numbers: no recording was imported."""
    await pod.connection.execute("ALTER TABLE video_video ALTER COLUMN id RESTART WITH 9223372036854775800")
    await finished(pod)
    daemon = await pod.daemon()
    assert await daemon.parts.evidence.check(within=0) is None


async def test_a_source_without_a_byte_fails_in_words(pod: Scene, media_root: Path) -> None:
    await finished(pod)
    video = await add_video(pod.connection, pod.world, title="Nothing")
    (media_root / video.path).write_bytes(b"")
    pk = await pod.encoding_of(video)
    daemon = await pod.daemon()
    await daemon.settle()
    row = await pod.row(pk)
    assert row["status"] == "failed"
    assert "is empty (0 bytes): upload it again" in row["script_output"]
    assert pod.posts("first") == 0


async def test_a_source_that_is_a_fifo_fails_and_one_behind_a_link_is_left_to_the_web_server(
    pod: Scene, media_root: Path
) -> None:
    await finished(pod)
    one, other = [await add_video(pod.connection, pod.world, title=title) for title in ("Fifo", "Link")]
    (media_root / one.path).unlink()
    os.mkfifo(media_root / one.path)
    archive = media_root.with_name("archive.mp4")
    (media_root / other.path).rename(archive)
    (media_root / other.path).symlink_to(archive)
    pks = [await pod.encoding_of(one), await pod.encoding_of(other)]
    daemon = await pod.daemon()
    await daemon.settle()
    assert [await pod.status(pk) for pk in pks] == ["failed", "running"]
    assert "is not a regular file" in (await pod.row(pks[0]))["script_output"]


@pytest.mark.parametrize("obstacle", ["fifo", "link", "linked directory"])
async def test_what_stands_in_the_place_of_the_log_stops_nothing(
    pod: Scene, media_root: Path, obstacle: str
) -> None:
    video = await add_video(pod.connection, pod.world, title="Attacked")
    folder, outside = media_root / video.output_directory, media_root.with_name("outside")
    outside.mkdir()
    (outside / "encoding.log").write_text("precious")
    if obstacle == "linked directory":
        folder.symlink_to(outside)
    else:
        folder.mkdir()
        log = folder / "encoding.log"
        if obstacle == "fifo":
            os.mkfifo(log)
        else:
            log.symlink_to(outside / "encoding.log")
    another = await add_video(pod.connection, pod.world, title="Another")
    pks = [await pod.encoding_of(video), await pod.encoding_of(another)]
    daemon = await pod.daemon()
    async with asyncio.timeout(30):
        await daemon.settle()
        while not (media_root / another.output_directory / "encoding.log").exists():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert [await pod.status(pk) for pk in pks] == ["running", "running"]
    assert (outside / "encoding.log").read_text() == "precious"
    if obstacle != "linked directory":
        assert (folder / "encoding.log").read_text().startswith("Start at")


async def test_sources_of_one_folder_that_are_asked_for_at_once_are_looked_for_together(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = await pod.daemon()
    paths = [(await add_video(pod.connection, pod.world, title=f"Film {n}")).path for n in range(9)]
    looks: list[Look] = []
    look = MediaTree.look_within

    async def counted(
        tree: MediaTree, limit: float, kind: Look, function: Callable[[], object], *, place: str
    ) -> object:
        looks.append(kind)
        return await look(tree, limit, kind, function, place=place)

    monkeypatch.setattr(MediaTree, "look_within", counted)
    sources = SourceFiles(daemon.parts.media, daemon.parts.settings.pod)
    found = await asyncio.gather(*(sources.look(path) for path in [*paths, "videos/nothing.mp4"]))
    assert [file.presence for file in found] == [Presence.THERE] * 9 + [Presence.MISSING]
    assert all(file.size for file in found[:9])
    assert looks == [Look.SOURCE]


def media_threads() -> int:
    return sum(thread.name.startswith("media") for thread in threading.enumerate())


async def test_tasks_wait_for_a_media_tree_that_hangs_and_nothing_else_does(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    status = Directory.status

    def hang(directory: Directory, name: str) -> EntryStatus | None:
        go.wait(60)
        return status(directory, name)

    pks = await pod.encodings(2)
    daemon = await pod.daemon()
    before = media_threads()
    daemon.parts.media.limits = FileTimeouts(look=0.05, space=0.05, step=0.05, file=0.05)
    monkeypatch.setattr(Directory, "status", hang)
    try:
        with capture_logs() as logged:
            async with asyncio.timeout(30):
                for _ in range(3):
                    await daemon.settle()
                    daemon.clock.advance(6)
                assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        # Its result could be written nowhere, and the web server reads the same files.
        assert [await pod.status(pk) for pk in pks] == ["pending"] * 2
        assert pod.posts("first") == 0
        assert media_threads() - before <= 3
        assert [entry["event"] for entry in logged if entry["event"].startswith("media.")] == ["media.slow"]
        state = features.status(daemon.parts).state(Progress())
        assert any("cannot be looked at" in words for words in state.problems)
    finally:
        go.set()
    daemon.parts.media.limits = FileTimeouts()
    async with asyncio.timeout(30):
        while await pod.statuses() != {"running": 2}:
            daemon.clock.advance(6)
            await daemon.settle()
    assert daemon.parts.evidence.place_problems == ()


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
async def test_tasks_wait_for_a_file_system_in_trouble_and_cost_no_attempt(
    pod: Scene, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_directory: Directory, _name: str) -> EntryStatus | None:
        raise OSError(code, os.strerror(code))

    pk = await pod.encoding(title="One")
    daemon = await pod.daemon()
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "status", refuse)
        await daemon.settle()
        assert (await pod.status(pk), pod.posts("first")) == ("pending", 0)
    daemon.clock.advance(6)
    await daemon.settle()
    assert await pod.status(pk) == "running"


async def test_what_only_we_may_not_see_is_left_to_the_web_server(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_directory: Directory, _name: str) -> EntryStatus | None:
        raise PermissionError(errno.EACCES, "Permission denied")

    pk = await pod.encoding(title="One")
    daemon = await pod.daemon()
    monkeypatch.setattr(Directory, "status", refuse)
    await daemon.settle()
    assert await pod.status(pk) == "running"


async def test_one_mount_that_is_not_there_keeps_only_the_tasks_whose_sources_are_in_it(
    pod: Scene, media_root: Path
) -> None:
    await finished(pod)
    studio = await pod.studio()
    missing = await pod.encoding(title="Deleted", with_file=False)
    pending = await pod.encoding(title="New")
    recording = await pod.connection.fetchval("SELECT source_file FROM recorder_recording")
    recordings = media_root / Path(recording).relative_to(media_root).parts[0]
    recordings.rename(media_root.with_name("away"))
    recordings.mkdir()
    daemon = await pod.daemon()
    for _ in range(2):
        await daemon.settle()
        daemon.clock.advance(6)
    assert [await pod.status(pk) for pk in (studio, missing, pending)] == ["pending", "failed", "running"]
    # Neither imports nor the purge are kept by it.
    assert await daemon.parts.evidence.check(within=0) is None
    state = features.status(daemon.parts).state(Progress())
    assert any(f"{recordings} is missing or empty" in words for words in state.problems)

    # A person gives it up: nothing goes on doubting for its sake.
    await pod.connection.execute("DELETE FROM runner_manager_task WHERE id = $1", studio)
    daemon.clock.advance(601)
    await daemon.parts.evidence.check(within=0)
    assert daemon.parts.evidence.place_problems == ()


@pytest.mark.parametrize("parent", ["data", "videos"])
async def test_a_mount_in_another_directory_keeps_the_tasks_with_sources_in_it_though_that_one_is_not_bare(
    pod: Scene, media_root: Path, parent: str
) -> None:
    """Every recording failed for good while OPENCAST_FILES_DIR, beside or below that of videos, was away."""
    await finished(pod)
    studio = await pod.studio()
    (media_root / parent / "studio").mkdir(parents=True)
    (media_root / parent / "other").mkdir()
    await pod.connection.execute(
        "UPDATE recorder_recording SET source_file = $1", f"{media_root}/{parent}/studio/1/mix.xml"
    )
    here = {"https": False, "media_root": str(media_root), "use_podfile": True}
    daemon = await pod.daemon(pod={**here, "opencast_files_dir": f"{parent}/studio"})
    for _ in range(2):
        await daemon.settle()
        daemon.clock.advance(6)
    assert await pod.status(studio) == "pending"
    state = features.status(daemon.parts).state(Progress())
    assert any(f"{media_root}/{parent}/studio is missing or empty" in words for words in state.problems)

    (media_root / parent / "studio/1").mkdir()
    (media_root / parent / "studio/1/mix.xml").write_text("<x/>", encoding="ascii")
    daemon.clock.advance(6)
    await daemon.settle()
    assert await pod.status(studio) == "running"


async def test_two_mounts_that_are_asked_for_at_once_are_both_known_not_to_be_there(
    pod: Scene, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look forgot what the other one had found: it was told anew with every task."""
    await finished(pod)
    evidence = (await pod.daemon()).parts.evidence
    (media_root / "one").mkdir()
    look, both = MediaTree.look_within, asyncio.Barrier(2)

    async def together(self: MediaTree, *arguments: object) -> object:
        await both.wait()
        return await look(self, *arguments)  # type: ignore[arg-type]  # passed on as they come

    with monkeypatch.context() as patched, capture_logs() as logged:
        patched.setattr(MediaTree, "look_within", together)
        for _ in range(2):
            await asyncio.gather(*(evidence.check(source=f"{place}/film.mp4") for place in ("one", "two")))
            assert len(evidence.place_problems) == 2
    assert [entry["event"] for entry in logged] == ["media.missing", "media.missing"]

    (media_root / "one" / "film.mp4").touch()
    assert await evidence.check(source="one/film.mp4") is None
    [left] = evidence.place_problems
    assert "two is missing or empty" in left


async def test_originals_that_were_taken_away_for_good_do_not_make_a_tree_the_wrong_one(
    pod: Scene, media_root: Path
) -> None:
    for video in await finished(pod):
        (media_root / video.path).unlink()
    missing = await pod.encoding(title="Deleted", with_file=False)
    daemon = await pod.daemon()
    await daemon.settle()
    assert await pod.status(missing) == "failed"


async def test_directories_in_which_nothing_is_looked_for_any_more_are_not_remembered(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "_MOST_PLACES", 3)
    monkeypatch.setattr("poddispatchd.pod.media.threads._MOST_TURNS", 3)
    parts = (await pod.daemon()).parts
    media, sources = parts.media, SourceFiles(parts.media, parts.settings.pod)
    for number in range(9):
        assert (await sources.look(f"place{number}/video.mp4")).presence is Presence.MISSING
    assert len(sources._places) <= 3
    assert len(media._threads._turns) <= 3

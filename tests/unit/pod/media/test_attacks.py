"""Somebody who may write under MEDIA_ROOT makes us neither write outside of it nor wait (invariant I14)."""

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, VideoId
from poddispatchd.errors import MediaNotWritableError, MediaSlowError
from poddispatchd.pod.media import root as root_module
from poddispatchd.pod.media import staging
from poddispatchd.pod.media.directory import NotPlainError, real_path
from poddispatchd.pod.media.files import delete_files, delete_tree, existing_files, list_files, read_text
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.placing import Move, move_into_place
from poddispatchd.pod.media.staging import StagingStorage
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import FileTimeouts, MediaPath, MediaTree
from tests.unit.pod.trees import staged

TASK = TaskPk(7)
VIDEO = "videos/abc/film.mp4"
FOLDER = "videos/abc/0001"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must not change: a directory with one file."""
    return staged(tmp_path / "outside", precious="precious")


@pytest.fixture
def tree(tmp_path: Path) -> MediaTree:
    staged(tmp_path / "media", **{VIDEO.replace("/", "__"): "film"})
    return MediaTree(tmp_path / "media")


def real(path: MediaPath) -> Path:
    return Path(str(path))


def untouched(outside: Path) -> bool:
    return {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "precious"}


def result(tree: MediaTree) -> MediaPath:
    """A staged result of two files."""
    directory = tree.staging_directory(VIDEO, VideoId(1), TASK)
    staging.begin(directory, TASK)
    staged(real(directory), **{"360p.mp4": "mp4", "encoding.log": "log"})
    return directory


def moves(tree: MediaTree, directory: MediaPath) -> list[Move]:
    return [Move(directory / name, tree.path(f"{FOLDER}/{name}")) for name in ("360p.mp4", "encoding.log")]


def test_a_log_that_is_a_link_is_replaced_and_never_written_through(tree: MediaTree, outside: Path) -> None:
    folder = real(tree.path(FOLDER))
    folder.mkdir()
    (folder / "encoding.log").symlink_to(outside / "precious")
    tree.path(f"{FOLDER}/encoding.log").rewrite(b"Start at : now\n")
    assert not (folder / "encoding.log").is_symlink()
    (folder / "encoding.log").unlink()
    (folder / "encoding.log").symlink_to(outside / "precious")
    move_into_place(moves(tree, result(tree)), 0o644)
    assert (folder / "encoding.log").read_text() == "log"
    assert not (folder / "encoding.log").is_symlink()
    assert untouched(outside)


def test_a_log_that_is_a_hard_link_to_another_file_leaves_that_one_alone(
    tree: MediaTree, outside: Path
) -> None:
    folder = real(tree.path(FOLDER))
    folder.mkdir()
    os.link(outside / "precious", folder / "encoding.log")
    tree.path(f"{FOLDER}/encoding.log").rewrite(b"Start at : now\n")
    move_into_place(moves(tree, result(tree)), 0o600)
    assert untouched(outside)


@pytest.mark.parametrize("linked", [FOLDER, "videos/abc"], ids=["output directory", "directory of the owner"])
def test_nothing_is_put_into_a_directory_that_is_a_link(tree: MediaTree, outside: Path, linked: str) -> None:
    directory = tree.studio_staging_directory(TASK)
    staging.begin(directory, TASK)
    staged(real(directory), **{"360p.mp4": "mp4", "encoding.log": "log"})
    place = real(tree.path(linked))
    if place.exists():
        place.rename(place.with_name("away"))
    place.symlink_to(outside)
    with pytest.raises(
        MediaNotWritableError, match="is a symbolic link: links are followed on the first level"
    ):
        move_into_place(moves(tree, directory), 0o644)
    with pytest.raises(OSError, match="symbolic link"):
        tree.path(f"{FOLDER}/encoding.log").rewrite(b"x")
    with pytest.raises(MediaNotWritableError, match="symbolic link"):
        staging.begin(tree.path(f"{linked}/.poddispatchd-7-0"), TASK)
    assert list(delete_files(tree, [f"{linked}/precious"])) == [f"{linked}/precious"]
    with pytest.raises(MediaNotWritableError, match="symbolic link"):
        existing_files(tree, [f"{linked}/precious"])
    assert untouched(outside)


def test_a_link_under_the_name_of_the_staging_directory_is_refused(tree: MediaTree, outside: Path) -> None:
    directory = tree.staging_directory(VIDEO, VideoId(1), TASK)
    real(directory).symlink_to(outside)
    with pytest.raises(MediaNotWritableError, match="something else has its name"):
        staging.begin(directory, TASK)
    assert untouched(outside)


def test_a_link_put_there_while_the_manifest_is_awaited_is_refused(tree: MediaTree, outside: Path) -> None:
    directory = tree.staging_directory(VIDEO, VideoId(1), TASK)
    staging.begin(directory, TASK)
    real(directory).rmdir()
    real(directory).symlink_to(outside)
    storage = StagingStorage(directory)
    with pytest.raises(NotPlainError, match="symbolic link"):
        storage.prepare()
    with pytest.raises(NotPlainError, match="symbolic link"):
        storage.create("0", None)
    storage.clean()
    delete_tree(directory)
    assert untouched(outside)


def test_a_link_put_into_a_result_while_it_is_downloaded_is_not_followed(
    tree: MediaTree, outside: Path
) -> None:
    directory = result(tree)
    (real(directory) / "360p.mp4").unlink()
    (real(directory) / "360p.mp4").symlink_to(outside / "precious")
    with pytest.raises(MediaNotWritableError, match="not a plain file"):
        list_files(directory)
    with pytest.raises(MediaNotWritableError, match="not a plain file"):
        move_into_place(moves(tree, directory), 0o600)
    with pytest.raises(MediaNotWritableError, match="symbolic link"):
        read_text(directory / "360p.mp4")
    assert untouched(outside)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("make", [fifo, unix_socket])
def test_what_never_answers_is_not_waited_for(tree: MediaTree, make: Callable[[Path], None]) -> None:
    folder = real(tree.path(FOLDER))
    folder.mkdir()
    make(folder / "encoding.log")
    with pytest.raises(MediaNotWritableError, match="is not a regular file"):
        read_text(tree.path(f"{FOLDER}/encoding.log"))
    directory = result(tree)
    move_into_place(moves(tree, directory), 0o644)
    assert (folder / "encoding.log").read_text() == "log"
    (real(directory) / "360p.mp4").unlink()
    make(real(directory) / "360p.mp4")
    with pytest.raises(MediaNotWritableError, match="not a plain file"):
        list_files(directory)


async def test_a_lock_that_is_a_fifo_or_a_link_is_refused_at_once(tree: MediaTree, outside: Path) -> None:
    locks = tree.root / ".runner_task_locks"
    locks.mkdir()
    os.mkfifo(locks / "7.lock")
    with pytest.raises(MediaNotWritableError, match="not a regular file"):
        async with task_lock(tree, TASK):
            pass
    (locks / "8.lock").symlink_to(outside / "made")
    with pytest.raises(MediaNotWritableError, match=r"8\.lock cannot be locked"):
        async with task_lock(tree, TaskPk(8)):
            pass
    assert untouched(outside)


def test_a_directory_in_the_place_of_a_file_is_told(tree: MediaTree) -> None:
    (real(tree.path(FOLDER)) / "360p.mp4").mkdir(parents=True)
    with pytest.raises(MediaNotWritableError, match=r"360p\.mp4 cannot be put in place: it is a directory"):
        move_into_place(moves(tree, result(tree)), 0o644)


def test_links_on_the_first_level_are_followed_as_they_were_at_the_start_until_a_person_says_otherwise(
    tmp_path: Path, outside: Path
) -> None:
    """Results were put where a link led that an administrator had changed, and nobody saw them there."""
    staged(tmp_path / "mount", abc__a="x")
    (tmp_path / "media").mkdir()
    (tmp_path / "media/videos").symlink_to(tmp_path / "mount")
    tree = MediaTree(tmp_path / "media")
    assert tree.first_level_links() == {"videos": tmp_path / "mount"}
    assert list_files(tree.path("videos")) == {"abc/a": 1}
    (tmp_path / "media/videos").unlink()
    (tmp_path / "media/videos").symlink_to(outside)
    (tmp_path / "media/files").symlink_to(outside)
    with pytest.raises(MediaNotWritableError, match=r"is not what it was at the start, a link to .*/mount"):
        list_files(tree.path("videos"))
    with pytest.raises(MediaNotWritableError, match="only those that were there at the start"):
        list_files(tree.path("files"))
    tree.media_root.look_anew()
    assert list_files(tree.path("videos")) == list_files(tree.path("files")) != {"abc/a": 1}


def test_a_directory_in_the_place_of_a_link_is_not_taken_for_where_it_led(tmp_path: Path) -> None:
    staged(tmp_path / "mount", abc__a="x")
    (tmp_path / "media").mkdir()
    (tmp_path / "media/videos").symlink_to(tmp_path / "mount")
    tree = MediaTree(tmp_path / "media")
    assert list_files(tree.path("videos")) == {"abc/a": 1}
    (tmp_path / "media/videos").unlink()
    (tmp_path / "media/videos").mkdir()
    with pytest.raises(MediaNotWritableError, match="systemctl reload"):
        list_files(tree.path("videos"))
    tree.media_root.look_anew()
    assert list_files(tree.path("videos")) == {}


def test_a_media_root_that_leads_to_another_disk_by_now_is_followed(tmp_path: Path) -> None:
    """After such a move all that was imported went to the old disk, and Pod had no file of it."""
    for disk in ("old", "new"):
        staged(tmp_path / disk / "videos", **{f"abc__{disk}": "x"})
    (tmp_path / "media").symlink_to(tmp_path / "old")
    tree = MediaTree(tmp_path / "media")
    assert list_files(tree.path("videos")) == {"abc/old": 1}
    (tmp_path / "media").unlink()
    (tmp_path / "media").symlink_to(tmp_path / "new")
    assert list_files(tree.path("videos")) == {"abc/new": 1}


async def test_a_link_to_a_file_system_that_hangs_keeps_nobody_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a start with a dead mount behind one link, whatever went to MEDIA_ROOT waited for it."""
    staged(tmp_path / "mount", abc__a="x")
    (tmp_path / "media").mkdir()
    for name in ("archive", "videos"):
        (tmp_path / f"media/{name}").symlink_to(tmp_path / ("dead" if name == "archive" else "mount"))
    let_go = threading.Event()

    def hang(path: Path) -> Path:
        if path.name == "dead":
            assert let_go.wait(60)
        return real_path(path)

    monkeypatch.setattr(root_module, "real_path", hang)
    tree = MediaTree(tmp_path / "media", limits=FileTimeouts(look=0.1))
    try:
        with pytest.raises(MediaSlowError):
            await tree.look(Look.ACCESS, tree.first_level_links)
        tree.limits = FileTimeouts(look=30)
        found = await tree.look_within(30, Look.SOURCE, tree.path("videos/abc/a").is_file, place="videos")
        assert found
    finally:
        let_go.set()
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead/b").write_text("x")
    assert await tree.look_within(30, Look.SOURCE, tree.path("archive/b").is_file, place="archive")


def test_a_tree_that_is_mounted_later_brings_its_own_links(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    tree = MediaTree(tmp_path / "media")
    assert tree.first_level_links() == {}
    staged(tmp_path / "mount", abc__a="x")
    (tmp_path / "media").rename(tmp_path / "unmounted")
    (tmp_path / "media").mkdir()
    (tmp_path / "media/videos").symlink_to(tmp_path / "mount")
    assert tree.path("videos/abc/a").is_file()


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("mode", [None, 0o640])
def test_nothing_is_ever_writable_by_everybody(tree: MediaTree, mode: int | None) -> None:
    directory = tree.staging_directory(VIDEO, VideoId(1), TASK)
    staging.begin(directory, TASK)
    storage = StagingStorage(directory)
    storage.prepare()
    file = storage.create("0", mode)
    file.write([b"mp4"])
    seen = [path.lstat().st_mode for path in tree.root.rglob("*") if "poddispatchd" in str(path)]
    file.finish("360p.mp4")
    file.close()
    move_into_place([Move(directory / "360p.mp4", tree.path(f"{FOLDER}/360p.mp4"))], mode)
    tree.path(f"{FOLDER}/encoding.log").rewrite(b"x")
    folder = real(tree.path(FOLDER))
    seen += [path.lstat().st_mode for path in (folder, *folder.iterdir())]
    assert not [oct(each) for each in seen if each & stat.S_IWOTH]
    assert (folder / "360p.mp4").stat().st_mode & 0o777 == (0o664 if mode is None else mode)

"""Files get into place atomically, in order and inside MEDIA_ROOT, under Pod's own lock."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, VideoId
from poddispatchd.errors import (
    ImportBusyError,
    NoSpaceError,
    ResultError,
    ResultIncompleteError,
    ResultRefusedError,
)
from poddispatchd.pod.media_tree import MediaTree, Move, delete_files, list_files, move_into_place, task_lock

TASK = TaskPk(7)


def staged(directory: Path, **files: str) -> Path:
    for name, content in files.items():
        path = directory / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_path_that_leaves_the_tree_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ResultRefusedError):
        MediaTree(tmp_path).path(path)


def test_a_symbolic_link_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "media"
    root.mkdir()
    (root / "videos").symlink_to(tmp_path)
    with pytest.raises(ResultRefusedError, match="symbolic link"):
        MediaTree(root).path("videos/x.mp4")


def test_a_media_root_that_is_a_symbolic_link_itself_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "media").symlink_to(tmp_path / "real")
    tree = MediaTree(tmp_path / "media")
    assert tree.path("videos/x.mp4") == tmp_path / "media" / "videos" / "x.mp4"


def test_the_places_of_a_video_lie_beside_its_file(tmp_path: Path) -> None:
    tree = MediaTree(tmp_path)
    assert tree.output_directory("videos/abc/x.mp4", VideoId(3)) == "videos/abc/0003"
    assert tree.staging_directory("videos/abc/x.mp4", VideoId(3), TASK) == (
        tmp_path / "videos/abc/.0003.poddispatchd-7"
    )
    assert tree.studio_staging_directory(TASK) == tmp_path / "tasks/7"


async def test_two_importers_never_hold_one_task(tmp_path: Path) -> None:
    async with task_lock(tmp_path, TASK):
        with pytest.raises(ImportBusyError):
            async with task_lock(tmp_path, TASK):
                pass
        async with task_lock(tmp_path, TaskPk(8)):
            pass
    async with task_lock(tmp_path, TASK):
        pass


async def test_pods_own_lock_is_respected_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / ".runner_task_locks" / "7.lock"
    path.parent.mkdir()
    with path.open("w") as pods:
        fcntl.flock(pods, fcntl.LOCK_EX)
        with pytest.raises(ImportBusyError):
            async with task_lock(tmp_path, TASK):
                pass
    async with task_lock(tmp_path, TASK):
        pass
    assert path.is_file()


def test_files_are_listed_by_name_without_our_own(tmp_path: Path) -> None:
    staged(tmp_path, a="1", sub__b="22", **{".poddispatchd__c": "333"})
    assert list_files(tmp_path) == {"a": 1, "sub/b": 2}


def test_a_symbolic_link_in_a_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/etc/passwd")
    with pytest.raises(ResultRefusedError, match="not a plain file"):
        list_files(tmp_path)


def test_a_playlist_is_put_in_place_after_its_segments_and_the_master_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["playlist.m3u8", "360p.m3u8", "overview.vtt", "360p.ts", "overview.png"]
    source = staged(tmp_path / "staging", **dict.fromkeys(names, "x"))
    placed: list[str] = []
    replace = Path.replace

    def spy(path: Path, target: Path) -> Path:
        placed.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", spy)
    move_into_place([Move(source / name, tmp_path / "out" / name) for name in names], 0o644)
    assert placed == ["360p.ts", "overview.png", "overview.vtt", "360p.m3u8", "playlist.m3u8"]


def test_what_is_replaced_is_replaced_at_once_with_the_mode_asked_for(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="new")
    target = staged(tmp_path / "out", a="old") / "a"
    with target.open() as viewer:
        move_into_place([Move(source / "a", target)], 0o640)
        assert viewer.read() == "old"
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["a"]


def test_new_directories_have_the_mode_that_pod_gives_them(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="x")
    mask = os.umask(0o027)
    try:
        move_into_place([Move(source / "a", tmp_path / "files/abc/a")], 0o644)
    finally:
        os.umask(mask)
    assert (tmp_path / "files").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "files/abc").stat().st_mode & 0o777 == 0o750


def test_putting_files_in_place_can_be_redone_at_any_moment(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="1", b="2")
    moves = [Move(source / name, tmp_path / "out" / name) for name in ("a", "b")]
    move_into_place(moves[:1], 0o644)
    move_into_place(moves, 0o644)
    move_into_place(moves, 0o644)
    (source / "a").unlink()
    move_into_place(moves, 0o644)
    assert list_files(tmp_path / "out") == {"a": 1, "b": 1}


def test_a_staged_file_that_has_vanished_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResultIncompleteError, match="vanished"):
        move_into_place([Move(tmp_path / "a", tmp_path / "b")], 0o644)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV])
def test_file_systems_without_links_between_the_places_do_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    source = staged(tmp_path / "staging", a="new")
    target = staged(tmp_path / "out", a="old") / "a"
    move_into_place([Move(source / "a", target)], 0o644)
    assert target.read_text() == "new"


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, NoSpaceError), (errno.EDQUOT, NoSpaceError), (errno.EIO, ResultError)]
)
def test_what_the_disk_refuses_is_said_in_words_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[ResultError]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    source = staged(tmp_path / "staging", a="new")
    target = staged(tmp_path / "out", a="old") / "a"
    with pytest.raises(error, match="cannot be put in place"):
        move_into_place([Move(source / "a", target)], 0o644)
    assert target.read_text() == "old"


def test_a_directory_in_the_way_is_said_in_words(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="new")
    (tmp_path / "out" / "a").mkdir(parents=True)
    with pytest.raises(ResultError, match="cannot be put in place"):
        move_into_place([Move(source / "a", tmp_path / "out" / "a")], 0o644)


def test_deleting_passes_over_what_is_gone_and_tells_what_it_cannot_do(tmp_path: Path) -> None:
    staged(tmp_path, videos__a="x", videos__dir__b="x")
    problems = delete_files(MediaTree(tmp_path), ["videos/a", "videos/gone", "../outside", "videos/dir"])
    assert not (tmp_path / "videos/a").exists()
    assert list(problems) == ["../outside", "videos/dir"]

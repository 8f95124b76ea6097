"""Old entries of a directory: found and deleted, and nothing beyond a symbolic link touched."""

import os
import shutil
from pathlib import Path

import pytest

from poddispatchd.pod.media import opencast
from poddispatchd.pod.media.opencast import Removal
from poddispatchd.pod.media.tree import MediaTree


def old_entries(directory: Path, before: float) -> list[str]:
    return opencast.old_entries(
        MediaTree(directory.parent.parent).path(f"{directory.parent.name}/{directory.name}"), before
    )


def remove_entries(directory: Path, names: list[str], before: float) -> Removal:
    return opencast.remove_entries(
        MediaTree(directory.parent.parent).path(f"{directory.parent.name}/{directory.name}"), names, before
    )


NOW = 1_700_000_000.0
WEEK = NOW - 7 * 86400


def put(root: Path, name: str, *, days: float, directory: bool = True) -> Path:
    path = root / name
    if directory:
        path.mkdir()
        (path / "a.webm").write_bytes(b"x")
    else:
        path.write_bytes(b"x")
    os.utime(path, (NOW - days * 86400,) * 2)
    return path


def test_entries_are_as_old_as_their_own_last_change_and_the_oldest_come_first(tmp_path: Path) -> None:
    put(tmp_path, "week", days=7)
    put(tmp_path, "older", days=30)
    put(tmp_path, "file", days=8, directory=False)
    put(tmp_path, "young", days=6.9)
    assert old_entries(tmp_path, WEEK) == ["older", "file"]


def test_a_directory_that_does_not_exist_has_no_entries(tmp_path: Path) -> None:
    assert old_entries(tmp_path / "none", WEEK) == []


def test_directories_and_files_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, "directory", days=8)
    put(tmp_path, "file", days=8, directory=False)
    put(tmp_path, "other", days=8)
    assert sorted(remove_entries(tmp_path, ["directory", "file"], WEEK).removed) == ["directory", "file"]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_an_entry_that_was_changed_meanwhile_is_kept(tmp_path: Path) -> None:
    entry = put(tmp_path, "entry", days=8)
    (entry / "b.webm").write_bytes(b"x")
    assert remove_entries(tmp_path, ["entry", "gone"], WEEK).removed == []
    assert entry.exists()


def test_symbolic_links_are_neither_followed_nor_deleted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    precious = put(elsewhere, "precious", days=8)
    files = tmp_path / "opencast-files"
    files.mkdir()
    entry = put(files, "entry", days=8)
    (entry / "link").symlink_to(precious)
    os.utime(entry, (NOW - 8 * 86400,) * 2)
    (files / "link").symlink_to(precious)
    os.utime(files / "link", (NOW - 8 * 86400,) * 2, follow_symlinks=False)
    assert old_entries(files, WEEK) == ["entry"]
    assert remove_entries(files, ["link", "entry"], WEEK).removed == ["entry"]
    assert (precious / "a.webm").exists()
    assert (files / "link").is_symlink()


def test_a_directory_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    put(real, "entry", days=8)
    link = tmp_path / "link"
    link.symlink_to(real)
    for ask in (lambda: old_entries(link, WEEK), lambda: remove_entries(link, ["entry"], WEEK)):
        with pytest.raises(OSError, match="symbolic link"):
            ask()
    assert (real / "entry").exists()


def test_a_name_that_no_row_can_hold_is_left_alone(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff")
    odd.mkdir()
    os.utime(odd, (0, 0))
    assert old_entries(tmp_path, WEEK) == []


def test_one_entry_that_cannot_be_deleted_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "good"):
        put(tmp_path, name, days=8)
    remove = shutil.rmtree

    def picky(name: str, *, dir_fd: int) -> None:
        if name == "bad":
            raise PermissionError(13, "Permission denied")
        remove(name, dir_fd=dir_fd)

    monkeypatch.setattr(shutil, "rmtree", picky)
    done = remove_entries(tmp_path, ["bad", "good"], WEEK)
    assert done.removed == ["good"]
    assert done.problems == {"bad": f"{tmp_path / 'bad'} cannot be deleted: Permission denied."}

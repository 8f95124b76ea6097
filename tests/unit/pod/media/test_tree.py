"""Nothing leaves MEDIA_ROOT, and a task's files are touched under Pod's own lock."""

import fcntl
import re
from pathlib import Path

import pytest

from poddispatchd.domain.media import output_directory
from poddispatchd.domain.task import TaskPk, VideoId
from poddispatchd.errors import ImportBusyError, MediaNotWritableError, ResultRefusedError
from poddispatchd.pod.media import staging
from poddispatchd.pod.media.access import rehearse, trouble_with
from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.evidence import examine
from poddispatchd.pod.media.files import delete_files, list_files, read_text
from poddispatchd.pod.media.lock import task_lock
from poddispatchd.pod.media.opened import EntryStatus
from poddispatchd.pod.media.tree import MediaTree, own_name
from tests.unit.pod.trees import staged

TASK = TaskPk(7)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_path_that_leaves_the_tree_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ResultRefusedError):
        MediaTree(tmp_path).path(path)


def test_a_media_root_that_is_a_symbolic_link_itself_is_fine(tmp_path: Path) -> None:
    staged(tmp_path / "real", videos__a="x")
    (tmp_path / "media").symlink_to(tmp_path / "real")
    tree = MediaTree(tmp_path / "media")
    assert tree.path("videos/a").is_file()
    assert str(tree.path("videos/a")) == str(tmp_path / "media/videos/a")


def test_the_places_of_a_video_lie_beside_its_file_and_nobody_can_guess_where_it_is_staged(
    tmp_path: Path,
) -> None:
    tree = MediaTree(tmp_path)
    assert output_directory("videos/abc/x.mp4", VideoId(3)) == "videos/abc/0003"
    names = {tree.staging_directory("videos/abc/x.mp4", VideoId(3), TASK).relative for _ in range(9)}
    assert len(names) == 9
    for name in names:
        assert re.fullmatch(r"videos/abc/\.0003\.poddispatchd-7-[0-9a-f]{16}", name)
    studio = tree.studio_staging_directory(TASK).relative
    assert re.fullmatch(r"tasks/\.poddispatchd-7-[0-9a-f]{16}", studio)


async def test_two_importers_never_hold_one_task(tmp_path: Path) -> None:
    async with task_lock(MediaTree(tmp_path), TASK):
        with pytest.raises(ImportBusyError):
            async with task_lock(MediaTree(tmp_path), TASK):
                pass
        async with task_lock(MediaTree(tmp_path), TaskPk(8)):
            pass
    async with task_lock(MediaTree(tmp_path), TASK):
        pass


async def test_pods_own_lock_is_respected_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / ".runner_task_locks" / "7.lock"
    path.parent.mkdir()
    with path.open("w") as pods:
        fcntl.flock(pods, fcntl.LOCK_EX)
        with pytest.raises(ImportBusyError):
            async with task_lock(MediaTree(tmp_path), TASK):
                pass
    async with task_lock(MediaTree(tmp_path), TASK):
        pass
    assert path.is_file()


def test_files_are_listed_by_name_without_our_own(tmp_path: Path) -> None:
    staged(tmp_path, a="1", sub__b="22", **{".poddispatchd__c": "333"})
    assert list_files(MediaTree(tmp_path).top) == {"a": 1, "sub/b": 2}


def test_a_symbolic_link_in_a_result_says_nothing_about_the_result(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/etc/passwd")
    with pytest.raises(MediaNotWritableError, match="not a plain file"):
        list_files(MediaTree(tmp_path).top)


def test_deleting_passes_over_what_is_gone_and_tells_what_it_cannot_do(tmp_path: Path) -> None:
    staged(tmp_path, videos__a="x", videos__dir__b="x")
    problems = delete_files(MediaTree(tmp_path), ["videos/a", "videos/gone", "../outside", "videos/dir"])
    assert not (tmp_path / "videos/a").exists()
    assert list(problems) == ["../outside", "videos/dir"]


def test_a_text_that_is_far_too_large_to_be_one_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "source.vtt"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ResultRefusedError, match=r"source\.vtt is larger than 16 MiB"):
        read_text(MediaTree(tmp_path).path(path.name))
    path.write_bytes(b"WEBVTT")
    assert read_text(MediaTree(tmp_path).path(path.name)) == b"WEBVTT"


def test_a_text_that_the_disk_does_not_give_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaNotWritableError, match="cannot be read"):
        read_text(MediaTree(tmp_path).path("gone"))


def test_what_a_look_left_that_was_killed_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / f".{own_name(None)}"
    others = [tmp_path / name for name in (".poddispatchd-7-0123456789abcdef", "poddispatchd-0", "x.mp4")]
    for path in (left, *others):
        path.write_bytes(b"")
    assert trouble_with(MediaTree(tmp_path).top) is None
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_look_asks_nothing_about_what_others_have_in_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In that of videos there are as many as users: on NFS each costs a question to the server."""
    asked: list[str] = []
    status = Directory.status

    def asking(directory: Directory, name: str) -> EntryStatus | None:
        asked.append(name)
        return status(directory, name)

    for number in range(3):
        (tmp_path / f"user{number}").mkdir()
    monkeypatch.setattr(Directory, "status", asking)

    assert trouble_with(MediaTree(tmp_path).top) is None
    assert asked == []


def test_a_directory_of_videos_in_another_one_is_used_like_any_other(tmp_path: Path) -> None:
    """Its directories of results are swept, its files prove that the tree is the right one."""
    tree, videos = MediaTree(tmp_path), "data/2026/videos"
    somebodys = tmp_path / videos / "somebody"
    missing, _ = examine(tree, videos, [(f"{videos}/somebody/1.mp4", None)], ["data"])
    somebodys.mkdir(parents=True)
    (somebodys / "1.mp4").touch()
    staging.begin(tree.staging_directory(f"{videos}/somebody/1.mp4", VideoId(7), TaskPk(7)), TaskPk(7))

    assert [str(found.task) for found in staging.staging_directories(tree, videos)] == ["7"]
    assert (missing or "").startswith(f"{tmp_path}/{videos} does not exist")
    assert examine(tree, videos, [(f"{videos}/somebody/1.mp4", None)], ["data"]) == (None, frozenset())
    assert rehearse(tree, videos, 0o644).problems == ()


def test_the_staging_directories_of_a_full_folder_are_found_without_a_look_at_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of somebody with a thousand videos is looked through at every import."""
    folder = tmp_path / "videos/somebody"
    folder.mkdir(parents=True)
    for number in range(50):
        (folder / f"{number}.mp4").touch()
    left = folder / ".0007.poddispatchd-7-0123456789abcdef"
    left.mkdir()
    looked_at: list[str] = []
    status = Directory.status

    def look(directory: Directory, name: str) -> EntryStatus | None:
        looked_at.append(name)
        return status(directory, name)

    monkeypatch.setattr(Directory, "status", look)
    tree = MediaTree(tmp_path)
    staging.begin(tree.staging_directory("videos/somebody/1.mp4", VideoId(7), TaskPk(7)), TaskPk(7))
    assert not left.exists()
    assert set(looked_at) <= {left.name}


def test_a_place_that_is_held_is_opened_once_and_nothing_that_takes_its_place_counts(tmp_path: Path) -> None:
    staged(tmp_path / "videos/abc/staging", file="of the result", sub__file="below")
    tree = MediaTree(tmp_path)
    place = tree.path("videos/abc/staging")
    with place.held():
        (tmp_path / "videos/abc/staging").rename(tmp_path / "videos/abc/moved")
        staged(tmp_path / "videos/abc/staging", file="of somebody else")
        assert read_text(place / "file") == b"of the result"
        assert read_text(place / "file") == b"of the result"
        assert read_text(tree.path("videos/abc/staging/sub/file")) == b"below"
    assert read_text(place / "file") == b"of somebody else"


def test_a_place_that_is_not_there_cannot_be_held_and_is_missed_by_whoever_looks(tmp_path: Path) -> None:
    place = MediaTree(tmp_path).path("videos/gone")
    with place.held():
        assert list_files(place) == {}

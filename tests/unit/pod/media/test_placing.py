"""Files get into place all together, each atomically, and in an order in which viewers miss nothing."""

import errno
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import (
    ImportBusyError,
    MediaNotWritableError,
    NameTakenError,
    NoSpaceError,
    ResultError,
)
from poddispatchd.pod.media import placing
from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.files import delete_temporaries, list_files, read_text
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.placing import Move, move_into_place, write_staged
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from tests.unit.pod.trees import staged


def at(path: Path) -> MediaPath:
    """A place in the tree of the test."""
    root = next(parent for parent in path.parents if parent.name.startswith("test_"))
    return MediaTree(root).path(path.relative_to(root).as_posix())


def move(staged: Path, target: Path) -> Move:
    return Move(at(staged), at(target))


def test_a_playlist_is_put_in_place_after_its_segments_and_the_master_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["playlist.m3u8", "zz.m3u8", "overview.vtt", "zz.ts", "overview.png"]
    source = staged(tmp_path / "staging", **dict.fromkeys(names, "x"))
    placed: list[str] = []
    rename = Directory.rename

    def spy(directory: Directory, name: str, into: Directory, new: str) -> None:
        placed.append(new)
        rename(directory, name, into, new)

    monkeypatch.setattr(Directory, "rename", spy)
    move_into_place([move(source / name, tmp_path / "out" / name) for name in names], 0o644)
    assert placed == ["overview.png", "zz.ts", "overview.vtt", "zz.m3u8", "playlist.m3u8"]


@pytest.mark.parametrize("is_new", [True, False])
def test_nothing_more_is_put_in_place_once_somebody_else_may_be_at_it(tmp_path: Path, is_new: bool) -> None:
    """A process that was frozen for longer than its lease went on with its renames."""
    source = staged(tmp_path / "staging", a="ours", b="ours")
    out = staged(tmp_path / "out", **({} if is_new else {"a": "old", "b": "old"}))
    moves = [Move(at(source / name), at(out / name), is_new=is_new) for name in "ab"]
    asked = iter([True, False])
    for each in moves:
        each.target.tree.is_ours = lambda: next(asked)
    with pytest.raises(ImportBusyError, match="longer than its lease"):
        move_into_place(moves, 0o644)
    found = {path.name: path.read_text() for path in out.iterdir() if path.name in "ab"}
    assert found == ({"a": "ours"} if is_new else {"a": "ours", "b": "old"})


def new(staged: Path, target: Path) -> Move:
    return Move(at(staged), at(target), is_new=True)


@pytest.fixture(params=["hard links", "no hard links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without what makes a name appear only if nobody has taken it."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("links")
def test_a_name_that_was_chosen_for_a_new_file_is_taken_once(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="mine")
    move_into_place([new(source / "a", tmp_path / "out/a")], 0o640)
    assert (tmp_path / "out/a").read_text() == "mine"
    assert (tmp_path / "out/a").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


@pytest.mark.usefixtures("links")
def test_a_file_that_somebody_else_has_put_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """Whoever uploads in Pod chooses names in the same directory."""
    source = staged(tmp_path / "staging", a="mine", b="mine, too")
    out = staged(tmp_path / "out", b="of a user")
    with pytest.raises(NameTakenError, match="put there by somebody else") as taken:
        move_into_place([move(source / "a", out / "a"), new(source / "b", out / "b")], 0o644)
    assert taken.value.paths == ("out/b",)
    # Nothing is in place of the others either: it is done again under another name.
    assert {path.name: path.read_text() for path in out.iterdir()} == {"b": "of a user"}
    assert {path.name for path in source.iterdir()} == {"a", "b"}


def test_a_new_file_that_lies_there_already_is_ours_from_before_a_crash(tmp_path: Path) -> None:
    source, out = staged(tmp_path / "staging", a="mine"), staged(tmp_path / "out", a="mine")
    there = (out / "a").stat()
    move_into_place([new(source / "a", out / "a")], 0o644)
    assert (out / "a").stat().st_ino == there.st_ino
    # To a file of the former encoding that is to be replaced that does not apply.
    move_into_place([move(source / "a", out / "a")], 0o644)
    assert (out / "a").stat().st_ino == (source / "a").stat().st_ino


def test_a_large_file_is_copied_whole_to_another_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(placing, "_CHUNK", 4)
    source = staged(tmp_path / "staging", a="first second third")
    move_into_place([move(source / "a", tmp_path / "out/a")], 0o640)
    assert (tmp_path / "out/a").read_text() == "first second third"
    assert (tmp_path / "out/a").stat().st_mode & 0o777 == 0o640


def test_what_an_nfs_server_does_twice_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers were lost as it was started anew: a whole result was fetched again, or left lying about."""
    source = staged(tmp_path / "staging", fresh="new", again="better")
    out = staged(tmp_path / "out", again="old")

    for name in ("link", "rename", "unlink"):
        monkeypatch.setattr(os, name, _twice(getattr(os, name)))
    move_into_place([new(source / "fresh", out / "fresh"), move(source / "again", out / "again")], None)

    assert {file.name: file.read_text() for file in out.iterdir()} == {"fresh": "new", "again": "better"}


def _twice(call: Callable[..., None]) -> Callable[..., None]:
    def done_twice(*arguments: object, **named: object) -> None:
        call(*arguments, **named)
        call(*arguments, **named)

    return done_twice


def test_what_is_replaced_is_replaced_at_once_with_the_mode_asked_for(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="new")
    target = staged(tmp_path / "out", a="old") / "a"
    with target.open() as viewer:
        move_into_place([move(source / "a", target)], 0o640)
        assert viewer.read() == "old"
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["a"]


def test_a_daemon_killed_while_it_begins_a_log_leaves_nothing_beside_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "videos/0001/encoding.log"
    staged(log.parent, **{log.name: "of the run before"})
    there: list[str] = []
    write = File.write

    def spy(file: File, content: bytes) -> None:
        there.extend(path.name for path in log.parent.iterdir())
        write(file, content)

    monkeypatch.setattr(File, "write", spy)
    at(log).rewrite(b"Start at : now\n")
    assert there == ["encoding.log"]
    assert log.read_text() == "Start at : now\n"


def test_new_directories_have_the_mode_that_pod_gives_them(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="x")
    mask = os.umask(0o027)
    try:
        move_into_place([move(source / "a", tmp_path / "files/abc/a")], 0o644)
    finally:
        os.umask(mask)
    assert (tmp_path / "files").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "files/abc").stat().st_mode & 0o777 == 0o750


def test_putting_files_in_place_can_be_redone_at_any_moment(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="1", b="2")
    moves = [move(source / name, tmp_path / "out" / name) for name in ("a", "b")]
    move_into_place(moves[:1], 0o644)
    move_into_place(moves, 0o644)
    move_into_place(moves, 0o644)
    (source / "a").unlink()
    move_into_place(moves, 0o644)
    assert list_files(at(tmp_path / "out")) == {"a": 1, "b": 1}


def test_a_staged_file_that_has_vanished_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaNotWritableError, match="vanished"):
        move_into_place([move(tmp_path / "a", tmp_path / "b")], 0o644)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.EACCES])
def test_file_systems_without_links_between_the_places_do_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    source = staged(tmp_path / "staging", a="new")
    target = staged(tmp_path / "out", a="old") / "a"
    move_into_place([move(source / "a", target)], 0o644)
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
        move_into_place([move(source / "a", target)], 0o644)
    assert target.read_text() == "old"


def test_a_directory_in_the_way_is_said_in_words(tmp_path: Path) -> None:
    source = staged(tmp_path / "staging", a="new")
    (tmp_path / "out" / "a").mkdir(parents=True)
    with pytest.raises(ResultError, match="cannot be put in place"):
        move_into_place([move(source / "a", tmp_path / "out" / "a")], 0o644)


@pytest.mark.parametrize("log", ["", "x", "a long log of the runner"])
def test_an_end_is_written_behind_a_log_once(tmp_path: Path, log: str) -> None:
    (tmp_path / "log").write_text(log)
    write_staged(at(tmp_path / "first"), b"the end", behind=at(tmp_path / "log"))
    write_staged(at(tmp_path / "second"), b"the end", behind=at(tmp_path / "first"))
    assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text() == f"{log}the end"


def test_what_cannot_be_written_or_renamed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = staged(tmp_path / "staging", a="new")
    monkeypatch.setattr(Directory, "rename", refuse)
    with pytest.raises(NoSpaceError, match="out/a cannot be put in place: No space left"):
        move_into_place([move(source / "a", tmp_path / "out/a")], 0o644)
    monkeypatch.setattr(File, "write", refuse)
    with pytest.raises(NoSpaceError, match="first cannot be written: No space left"):
        write_staged(at(tmp_path / "first"), b"the end")


def test_directories_that_were_made_for_nothing_are_taken_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = staged(tmp_path / "staging", a="new", b="new", c="new")
    link, calls = os.link, iter(range(9))

    def full(*arguments: Path, **named: bool) -> None:
        if next(calls) == 2:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        link(*arguments, **named)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(NoSpaceError):
        move_into_place([move(source / name, tmp_path / "files" / name / name) for name in "abc"], 0o644)
    assert [path.name for path in tmp_path.iterdir()] == ["staging"]


@pytest.mark.parametrize("replaces", [True, False], ids=["over old files", "into a new directory"])
def test_a_disk_that_fills_up_amid_the_files_leaves_the_tree_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    """Half of a new encoding under the names of the old one could not be watched."""
    source = staged(tmp_path / "staging", a="new", b="new", c="new")
    out = tmp_path / "files/abc"
    if replaces:
        staged(out, a="old", b="old", c="old")
    link, calls = os.link, iter(range(9))

    def full(*arguments: Path, **named: bool) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        link(*arguments, **named)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(NoSpaceError, match="c cannot be put in place: No space left"):
        move_into_place([move(source / name, out / name) for name in "abc"], 0o644)
    assert (out.exists(), (tmp_path / "files").exists()) == (replaces, replaces)
    if replaces:
        assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys("abc", "old")


def test_what_a_crash_left_is_found_by_its_name_without_a_look_at_what_users_have_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        "photo.png",
        ".poddispatchd-7-1",
        ".poddispatchd-70-1",
        ".poddispatchd-8-1",
        "a.poddispatchd-7-1",
    ]
    folder = staged(tmp_path / "files", **dict.fromkeys(names, "x"))
    looked_at: list[str] = []
    status = Directory.status

    def spy(directory: Directory, name: str) -> object:
        looked_at.append(name)
        return status(directory, name)

    monkeypatch.setattr(Directory, "status", spy)
    delete_temporaries(MediaTree(tmp_path), ["files/photo.png"], TaskPk(7))
    assert looked_at == [".poddispatchd-7-1"]
    assert {path.name for path in folder.iterdir()} == {*names} - {".poddispatchd-7-1"}


def test_a_small_text_takes_no_more_memory_than_it_has_bytes(tmp_path: Path) -> None:
    text = at(staged(tmp_path / "staging", a="#EXTM3U") / "a")
    tracemalloc.start()
    try:
        assert read_text(text) == b"#EXTM3U"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()

"""What comes of a file, on its way to the disk."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from poddispatchd.domain.completeness import Completeness
from poddispatchd.errors import NoSpaceError
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.staging import StagingStorage
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runner.filesink import FileSink, SmallFiles

T = TypeVar("T")

SMALL = b"a thumbnail"
LARGE = os.urandom(200_000)


class CountingStorage(StagingStorage):
    """Counts the calls of threads."""

    calls = 0

    async def run(self, function: Callable[[], T], *, is_long: bool = False) -> T:
        self.calls += 1
        return await super().run(function, is_long=is_long)


@pytest.fixture
def storage(tmp_path: Path) -> CountingStorage:
    made = CountingStorage(MediaTree(tmp_path).path("staging"))
    made.prepare()
    return made


def partial(tmp_path: Path) -> list[Path]:
    """The half-written files."""
    return list(tmp_path.glob("staging/.*/*"))


async def test_a_small_file_costs_one_call_of_a_thread(storage: CountingStorage, tmp_path: Path) -> None:
    sink = FileSink(storage, "0", mode=0o644)
    await sink.write([SMALL[:5], SMALL[5:]])
    assert await sink.digest() == hashlib.sha256(SMALL).hexdigest()
    await sink.finish("source_0.png")
    await sink.close()
    assert storage.calls == 1
    assert (tmp_path / "staging/source_0.png").read_bytes() == SMALL


async def test_a_large_file_is_written_while_it_comes(storage: CountingStorage, tmp_path: Path) -> None:
    sink = FileSink(storage, "0", mode=0o644)
    await sink.write([LARGE[:1000]])
    await sink.write([LARGE[1000:]])
    await sink.flush()
    assert [path.read_bytes() for path in partial(tmp_path)] == [LARGE]
    assert await sink.digest() == hashlib.sha256(LARGE).hexdigest()
    await sink.finish("720p.mp4")
    await sink.close()
    assert (tmp_path / "staging/720p.mp4").read_bytes() == LARGE


@pytest.mark.parametrize("before", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("after", [SMALL[::-1], LARGE[::-1], b""], ids=["small", "large", "empty"])
async def test_what_came_before_a_restart_is_forgotten(
    storage: CountingStorage, tmp_path: Path, before: bytes, after: bytes
) -> None:
    sink = FileSink(storage, "0", mode=0o644)
    await sink.write([before])
    await sink.restart()
    await sink.write([after])
    assert (sink.size, await sink.digest()) == (len(after), hashlib.sha256(after).hexdigest())
    await sink.finish("file")
    await sink.close()
    assert (tmp_path / "staging/file").read_bytes() == after


async def test_the_form_of_a_small_file_is_judged_like_that_of_a_large_one(storage: CountingStorage) -> None:
    sink = FileSink(storage, "0", mode=0o644)
    await sink.write([b"\x89PNG\r\n\x1a\n"])
    assert await sink.completeness("source_0.png") is Completeness.CUT
    await sink.close()


async def test_what_is_given_up_before_it_was_written_leaves_nothing(
    storage: CountingStorage, tmp_path: Path
) -> None:
    sink = FileSink(storage, "0", mode=0o644)
    await sink.write([SMALL])
    await sink.close()
    assert storage.calls == 0
    assert partial(tmp_path) == []


async def test_a_quota_that_is_told_when_the_file_is_closed_refuses_it(
    storage: CountingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS writes what it has kept when a file is closed, and says only then that there is no room."""
    close = File.close

    def close_late(file: File) -> None:
        close(file)
        raise OSError(errno.EDQUOT, "quota exceeded")

    sink = FileSink(storage, "0", mode=0o644)
    await sink.write([SMALL])
    monkeypatch.setattr(File, "close", close_late)
    with pytest.raises(NoSpaceError):
        await sink.finish("source_0.png")
    monkeypatch.undo()
    await sink.close()


async def test_small_files_are_written_together(storage: CountingStorage, tmp_path: Path) -> None:
    files = SmallFiles(storage, mode=0o640)
    for name in ("360p.m3u8", "a/b.vtt", "a/c.vtt"):
        sink = FileSink(storage, name, mode=0o640)
        await sink.write([SMALL[:5], SMALL[5:]])
        content = sink.take_small()
        assert content == SMALL
        await files.add(name, content)
        await sink.close()
    assert storage.calls == 0
    await files.write()
    await files.close()
    assert storage.calls == 1
    written = [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]
    assert {path.name: path.read_bytes() for path in written} == dict.fromkeys(
        ("360p.m3u8", "b.vtt", "c.vtt"), SMALL
    )
    assert {path.stat().st_mode & 0o777 for path in written} == {0o640}


async def test_no_more_than_a_megabyte_of_small_files_is_kept(storage: CountingStorage) -> None:
    files = SmallFiles(storage, mode=None)
    for number in range(40):
        await files.add(str(number), bytes(2**16))
    assert storage.calls == 40 * 2**16 // 2**20


async def test_a_large_file_is_not_kept(storage: CountingStorage) -> None:
    sink = FileSink(storage, "0", mode=0o644)
    await sink.write([LARGE])
    assert sink.take_small() is None
    await sink.finish("720p.mp4")
    await sink.close()


async def test_small_files_take_the_place_of_what_stands_there_and_follow_no_link(
    storage: CountingStorage, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_bytes(b"precious")
    (tmp_path / "staging/linked.vtt").symlink_to(tmp_path / "outside")
    (tmp_path / "staging/old.vtt").write_bytes(b"of an earlier download, and longer")
    files = SmallFiles(storage, mode=0o644)
    await files.add("linked.vtt", SMALL)
    await files.add("old.vtt", SMALL)
    await files.write()
    assert (tmp_path / "outside").read_bytes() == b"precious"
    assert not (tmp_path / "staging/linked.vtt").is_symlink()
    assert (tmp_path / "staging/old.vtt").read_bytes() == SMALL


async def test_a_full_disk_is_told_by_small_files_as_by_large_ones(
    storage: CountingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    files = SmallFiles(storage, mode=0o644)
    await files.add("a.vtt", SMALL)
    monkeypatch.setattr(File, "write", full)
    with pytest.raises(NoSpaceError):
        await files.write()
    await files.close()


async def test_whoever_is_cancelled_while_files_are_written_waits_for_the_thread(
    storage: CountingStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes on in a thread would make files in a directory that is being deleted."""
    begun, may_go_on = threading.Event(), threading.Event()
    write = File.write

    def slow(file: File, content: bytes) -> None:
        begun.set()
        may_go_on.wait(10)
        write(file, content)

    monkeypatch.setattr(File, "write", slow)
    files = SmallFiles(storage, mode=0o644)
    await files.add("a.vtt", SMALL)
    writing = asyncio.create_task(files.write())
    await asyncio.to_thread(begun.wait)
    writing.cancel()
    await asyncio.wait([writing])
    closing = asyncio.create_task(files.close())
    await asyncio.sleep(0)
    assert not closing.done()
    may_go_on.set()
    await closing
    assert (tmp_path / "staging/a.vtt").read_bytes() == SMALL

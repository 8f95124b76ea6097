"""What comes of a file, on its way to the disk."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from poddispatchd.domain.completeness import Wholeness
from poddispatchd.errors import NoSpaceError
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.results import StagingStorage
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runner.filesink import FileSink

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
    assert await sink.wholeness("source_0.png") is Wholeness.CUT
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

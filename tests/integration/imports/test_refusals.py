"""ENOSPC, EDQUOT, EIO, EROFS at every kind of call: an import waits in words, and nothing is lost (I11)."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from poddispatchd.pod.media import directory, opened
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)

_CALLS = {
    "open": (0, 1, 9, 30),
    "mkdir": (0, 1, 2, 3),
    "write": (0, 1, 5, 9),
    "fsync": (0, 3, 12, 20),
    "fchmod": (0, 3, 8, 9),
    "link": (0, 1, 5, 9),
    "rename": (0, 1, 12, 20),
    "stat": (0, 4, 20, 60),
    "fstat": (0, 5, 20, 50),
    "scandir": (0, 1, 2, 4),
    "statvfs": (0, 1, 2, 3),
    "pread": (0, 1, 2, 4),
    "unlink": (0, 1, 2, 3),
}
"""System calls, each with the numbers of the calls that fail, one in each attempt."""


class Refusing:
    """The system calls of the media tree, of which one fails."""

    def __init__(self) -> None:
        self._name = ""
        self._left = -1
        self._error = 0
        self.refused = 0

    def at(self, name: str, number: int, error: int) -> None:
        """Let the call of this name and number fail."""
        self._name, self._left, self._error, self.refused = name, number, error, 0

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        return self._watched(name, real) if name == self._name else real

    def _watched(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            self._left -= 1
            if name == self._name and self._left == -1:
                self.refused += 1
                raise OSError(self._error, os.strerror(self._error))
            return real(*arguments, **named)

        return call


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    refusing = Refusing()
    for module in (directory, opened):
        monkeypatch.setattr(module, "os", refusing)
    return refusing


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def named_files(here: Bench) -> list[str]:
    async with here.pod.connection() as connection:
        rows = await connection.fetch(
            "SELECT source_file FROM video_encode_transcript_encodingvideo"
            " UNION SELECT source_file FROM video_encode_transcript_encodingaudio"
            " UNION SELECT source_file FROM video_encode_transcript_playlistvideo"
            " UNION SELECT video FROM video_video"
        )
    return [row[0] for row in rows]


@pytest.mark.parametrize("name", list(_CALLS))
async def test_whatever_call_fails_the_result_waits_and_all_that_could_be_watched_still_can(
    here: Bench, calls: Refusing, name: str
) -> None:
    task = await here.ready(video=await here.video(encoded=True))
    refused = 0
    for number, error in zip(_CALLS[name], _ERRORS, strict=True):
        calls.at(name, number, error)
        await here.import_again()
        refused += calls.refused
        calls.at("", -1, 0)
        assert all(here.files().get(path) for path in await named_files(here)), (number, error)
        [(state, attempts, reason)] = await here.imports_of(task)
        if state == "done":
            break  # it failed where nothing depends on it
        assert (state, attempts, await here.status(task)) == ("open", 0, "running"), reason
        assert os.strerror(error) in str(reason), reason
    assert refused
    await here.import_again()
    assert await here.status(task) == "completed"
    assert all(here.files().get(path) for path in await named_files(here))

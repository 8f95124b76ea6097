"""What the files of Pod's locks tell besides."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import ImportBusyError, MediaNotWritableError
from poddispatchd.pod.media.lock import first_imports, task_lock
from poddispatchd.pod.media.tree import MediaTree

_BEYOND_ALL_YEARS = 300_000_000_000
"""Seconds: in the year 11476, of which Python makes no date; some file systems keep it as it is."""


async def test_a_lock_file_of_another_age_keeps_no_daemon_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / ".runner_task_locks" / "7.lock"
    file.parent.mkdir()
    file.touch()
    os.utime(file, (0, _BEYOND_ALL_YEARS))
    found = await first_imports(MediaTree(tmp_path), [TaskPk(7), TaskPk(8)])
    assert found == {TaskPk(7): file.stat().st_mtime}


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file of another user's, which may be read only: root, who runs some tests, may write to it."""
    file = tmp_path / ".runner_task_locks" / "7.lock"
    file.parent.mkdir()
    file.touch()
    real = os.open

    def opened(path: str, flags: int, *arguments: int, **named: int) -> int:
        if flags & os.O_RDWR and path.endswith(".lock"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", opened)
    return file


async def test_a_lock_file_that_a_cron_of_root_has_left_is_locked_all_the_same(
    tmp_path: Path, foreign: Path
) -> None:
    """Whatever Pod had tried to import as root before the daemon took over waited for a person."""
    with foreign.open() as holder:
        async with task_lock(MediaTree(tmp_path), TaskPk(7)):
            with pytest.raises(BlockingIOError):
                fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(ImportBusyError):
            async with task_lock(MediaTree(tmp_path), TaskPk(7)):
                pass


@pytest.mark.parametrize("trouble", ["it is not there", "NFS"])
@pytest.mark.usefixtures("foreign")
async def test_one_that_cannot_be_locked_so_is_told_by_the_right_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    if trouble == "NFS":
        monkeypatch.setattr(fcntl, "flock", refused)
    task = TaskPk(8 if trouble == "it is not there" else 7)
    with pytest.raises(MediaNotWritableError, match="cannot be locked: Permission denied"):
        async with task_lock(MediaTree(tmp_path), task):
            pass

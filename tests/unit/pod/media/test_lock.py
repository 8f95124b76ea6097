"""What the files of Pod's locks tell besides."""

import os
from pathlib import Path

from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.media.lock import first_imports
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

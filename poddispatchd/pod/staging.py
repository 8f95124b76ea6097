"""Staging directories on the disk: emptied before use, and found again when a crash left them."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import disk_error
from poddispatchd.pod.placing import ensure_directory

_HIDDEN = re.compile(r"\.\d+\.poddispatchd-(\d{1,18})")
_STUDIO = re.compile(r"(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging directory that is there, last changed at some moment (Unix time).

    ``is_ours`` is False for one that Pod's own code may have made.
    """

    path: Path
    task: TaskPk
    is_ours: bool
    changed_at: float


def clear(directory: Path) -> None:
    """Remove what an earlier attempt left in a staging directory, and let its parent exist (blocking).

    Nothing of it may be taken for a part of another result.

    Raises:
        MediaNotWritableError: something cannot be removed or made.
    """
    ensure_directory(directory.parent)
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise disk_error(error, f"{directory} cannot be emptied") from error


def staging_directories(media_root: Path, videos_dir: str) -> list[Staging]:
    """Every staging directory: hidden ones beside video files, and ``tasks/<pk>`` of studio tasks (blocking).

    A directory that cannot be read is passed over.
    """
    videos = media_root / videos_dir
    found = [
        Staging(Path(entry.path), TaskPk(int(match[1])), is_ours=False, changed_at=_changed_at(entry))
        for entry in _directories(media_root / "tasks")
        if (match := _STUDIO.fullmatch(entry.name))
    ]
    for directory in (videos, *(Path(entry.path) for entry in _directories(videos))):
        found.extend(
            Staging(Path(entry.path), TaskPk(int(match[1])), is_ours=True, changed_at=_changed_at(entry))
            for entry in _directories(directory)
            if (match := _HIDDEN.fullmatch(entry.name))
        )
    return found


def _directories(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return


def _changed_at(entry: os.DirEntry[str]) -> float:
    """When a directory was last changed; one that is gone or hidden from us is taken for brand new."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return inf

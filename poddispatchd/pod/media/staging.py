"""Staging directories: made under names that nobody can guess, found again when a crash left them."""

import re
from contextlib import suppress

from msgspec import Struct

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import ResultError, disk_error
from poddispatchd.pod.media.directory import PRIVATE_DIRECTORY_MODE, Directory
from poddispatchd.pod.media.files import delete_tree
from poddispatchd.pod.media.tree import OURS, MediaPath, MediaTree

_OURS = re.compile(rf"\.(?:\d+\.)?{re.escape(OURS)}(\d{{1,18}})(?:-[0-9a-f]{{16}})?")
_STUDIO = re.compile(r"(\d{1,18})")
_STUDIO_OR_OURS = re.compile(f"(?:{_STUDIO.pattern}|{_OURS.pattern})")
_TASKS = "tasks"


class Staging(Struct, frozen=True):
    """A staging directory that is there, last changed at some moment (Unix time).

    ``is_ours`` is False for one that Pod's own code may have made.
    """

    path: MediaPath
    task: TaskPk
    is_ours: bool
    changed_at: float


def begin(directory: MediaPath, task: TaskPk) -> None:
    """Make a new staging directory, which only this user can enter, and remove those of earlier attempts.

    Nothing of them may be taken for a part of another result, Pod's own ``tasks/<pk>`` included. The lock of
    the task, which Pod's code takes as well, is held.

    Raises:
        NoSpaceError: the disk is full.
        MediaNotWritableError: something cannot be removed or made, or stands in the way.
    """
    parent = directory.parent
    try:
        with parent.made() as opened:
            with suppress(OSError):
                for left in _found(parent, opened, is_tasks=parent.relative == _TASKS):
                    if left.task == task:
                        delete_tree(left.path)
            if not opened.make_directory(directory.name, PRIVATE_DIRECTORY_MODE):
                raise FileExistsError(17, "something else has its name")
    except OSError as error:
        raise disk_error(error, f"{directory} cannot be made") from error


async def discard(directory: MediaPath | None) -> None:
    """Remove a staging directory, if there is one; what remains of it is swept up later."""
    if directory is not None:
        with suppress(ResultError):
            await directory.tree.run(delete_tree, directory)


def staging_directories(tree: MediaTree, videos_dir: str) -> list[Staging]:
    """Every staging directory: hidden ones beside video files, and ``tasks/<pk>`` of studio tasks.

    A directory that cannot be read is passed over.
    """
    videos = tree.path(videos_dir)
    found = _in(tree.path(_TASKS), is_tasks=True)
    found += _in(videos)
    with suppress(OSError):
        with videos.opened() as opened:
            entries = opened.statuses()
        for name, status in entries:
            if status.is_directory:
                found += _in(videos / name)
    return found


def _in(place: MediaPath, *, is_tasks: bool = False) -> list[Staging]:
    with suppress(OSError), place.opened() as opened:
        return _found(place, opened, is_tasks=is_tasks)
    return []


def _found(place: MediaPath, opened: Directory, *, is_tasks: bool) -> list[Staging]:
    found = []
    for name, status in opened.statuses(_STUDIO_OR_OURS if is_tasks else _OURS):
        match = _OURS.fullmatch(name) or (_STUDIO.fullmatch(name) if is_tasks else None)
        if status.is_directory and match is not None:
            task, is_ours = TaskPk(int(match[1])), match.re is _OURS
            found.append(Staging(place / name, task, is_ours=is_ours, changed_at=status.changed_at))
    return found

"""Staging directories: made under names that nobody can guess, filled by downloads, found after a crash."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import TypeVar

from msgspec import Struct

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import ResultError
from poddispatchd.file_errors import disk_error
from poddispatchd.pod.media.directory import PRIVATE_DIRECTORY_MODE, Directory
from poddispatchd.pod.media.files import delete_tree
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.tree import OURS, MediaPath, MediaTree

T = TypeVar("T")

_OURS = re.compile(rf"\.(?:\d+\.)?{re.escape(OURS)}(\d{{1,18}})(?:-[0-9a-f]{{16}})?")
_STUDIO = re.compile(r"(\d{1,18})")
_STUDIO_OR_OURS = re.compile(f"(?:{_STUDIO.pattern}|{_OURS.pattern})")
_TASKS = "tasks"
_PARTIAL = ".poddispatchd-partial-"


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
    for name, status in opened.statuses((_STUDIO_OR_OURS if is_tasks else _OURS).fullmatch):
        match = _OURS.fullmatch(name) or (_STUDIO.fullmatch(name) if is_tasks else None)
        if status.is_directory and match is not None:
            task, is_ours = TaskPk(int(match[1])), match.re is _OURS
            found.append(Staging(place / name, task, is_ours=is_ours, changed_at=status.changed_at))
    return found


class StagingStorage:
    """Files of one result, below a staging directory made for it, as ``ResultStorage`` wants it.

    Half-written files lie in a directory of their own whose name nobody can guess. Every method but ``run``
    blocks, and may raise OSError.
    """

    def __init__(self, directory: MediaPath) -> None:
        self._directory = directory
        self._partial = directory / f"{_PARTIAL}{secrets.token_hex(8)}"
        self.is_clean = True
        """Whether no half-written file was made since ``prepare``."""

    def __str__(self) -> str:
        return str(self._directory)

    async def run(self, function: Callable[[], T], *, is_long: bool = False) -> T:
        """Do something here in a thread; ``is_long`` when it takes longer the larger a file is.

        Raises:
            MediaSlowError: the file system does not answer.
        """
        tree = self._directory.tree
        return await tree.run_within(tree.limits.file if is_long else tree.limits.step, function)

    def later(self, function: Callable[[], object]) -> None:
        """Have something done here when nothing else is going on; nobody waits for it."""
        self._directory.tree.later(function)

    def prepare(self) -> None:
        """Make the directory if need be, and remove what is half-written of an earlier download."""
        with self._directory.made(PRIVATE_DIRECTORY_MODE) as directory:
            for name in directory.names():
                if name.startswith(_PARTIAL):
                    directory.remove_tree(name)
        self.is_clean = True

    def clean(self) -> None:
        """Remove what is half-written."""
        with suppress(OSError), self._directory.opened() as directory:
            directory.remove_tree(self._partial.name)

    def create(self, name: str, mode: int | None) -> "PartialResultFile":
        """A new half-written file."""
        # Before it is made: a directory that nobody has noted would not be removed.
        self.is_clean = False
        with self._directory.opened() as directory:
            directory.make_directory(self._partial.name, PRIVATE_DIRECTORY_MODE)
            with directory.subdirectory(self._partial.name) as partial:
                return PartialResultFile(self, name, partial.create_file(name, mode), mode)

    def write_files(self, files: Sequence[tuple[str, bytes]], mode: int | None) -> None:
        """Make whole files under their names in the result, in the place of whatever has them."""
        opened: dict[MediaPath, Directory] = {}
        with ExitStack() as stack:
            for path, content in files:
                target = self._directory / path
                if (parent := target.parent) not in opened:
                    opened[parent] = stack.enter_context(parent.made(PRIVATE_DIRECTORY_MODE))
                with opened[parent].replace_file(target.name, mode) as file:
                    file.write(content)
                    file.set_mode(mode)

    def place(self, name: str, path: str) -> None:
        """Give a half-written file its name in the result, in the place of whatever has it."""
        target = self._directory / path
        with self._partial.opened() as partial, target.parent.made(PRIVATE_DIRECTORY_MODE) as directory:
            partial.rename(name, directory, target.name)

    def free_space(self) -> int:
        """Bytes that may still be written."""
        with self._directory.opened() as directory:
            return directory.free_space()


class PartialResultFile:
    """A half-written file. One call at a time; ``close`` may come at any moment, and waits for nobody."""

    def __init__(self, storage: StagingStorage, name: str, file: File, mode: int | None) -> None:
        self._storage = storage
        self._name = name
        self._file = file
        self._mode = mode
        self._busy = Lock()
        self._closing = False

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append."""
        with self._work():
            for piece in pieces:
                self._file.write(piece)

    def restart(self) -> None:
        """Forget what has been written."""
        with self._work():
            self._file.restart()

    def read(self, size: int, *, at: int) -> bytes:
        """A part of what has been written; fewer bytes only at its end."""
        with self._work():
            return self._file.read(size, at=at)

    def finish(self, path: str) -> None:
        """Give the file its mode, and its name in the result."""
        with self._work():
            self._file.set_mode(self._mode)
            self._storage.place(self._name, path)

    def close(self) -> None:
        """Close the file, or have that done by whoever is at it."""
        self._closing = True
        self._close_if_wanted()

    @contextmanager
    def _work(self) -> Iterator[None]:
        try:
            with self._busy:
                yield
        finally:
            self._close_if_wanted()

    def _close_if_wanted(self) -> None:
        if self._closing and self._busy.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._busy.release()

"""Reading, listing and deleting files under MEDIA_ROOT (blocking: for ``MediaTree.run`` and ``look``)."""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from msgspec import Struct

from poddispatchd.domain.task import TaskPk
from poddispatchd.errors import MediaNotWritableError, ResultRefusedError
from poddispatchd.file_errors import disk_error
from poddispatchd.pod.media.directory import Directory, NotPlainError
from poddispatchd.pod.media.file_system_errors import NOT_WRITABLE_NOW
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.tree import OURS, MediaPath, MediaTree

DERIVED = ".poddispatchd"
"""Directory inside a staging directory for the files we make ourselves; never part of a result."""

_LARGEST_TEXT = 16 * 2**20
_CHUNK = 1 << 20


def list_files(directory: MediaPath) -> dict[str, int]:
    """Names (relative, with ``/``) and sizes of the files below a directory, ours left out.

    Raises:
        MediaNotWritableError: something in it is neither a file nor a directory, or it cannot be read.
        NoSpaceError: so does a full file system.
    """
    found: dict[str, int] = {}
    try:
        with directory.opened() as opened:
            _list(opened, "", found)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise disk_error(error, f"The files in {directory} cannot be listed") from error
    return found


def _list(directory: Directory, prefix: str, found: dict[str, int]) -> None:
    for name, status in directory.statuses():
        if status.is_directory:
            if prefix + name != DERIVED:
                with directory.subdirectory(name) as below:
                    _list(below, f"{prefix}{name}/", found)
        elif status.is_file:
            found[prefix + name] = status.size
        else:
            raise replaced_error(prefix + name)


def replaced_error(name: str) -> MediaNotWritableError:
    """What a staged file means that is no file any more.

    We made it, a plain one, and no runner can change it: somebody else who writes to the media tree did. That
    says nothing about the result (invariant I16).
    """
    return MediaNotWritableError(
        f"{name} in the staging directory is not a plain file any more: something else changes files there."
    )


def open_file(path: MediaPath) -> File:
    """A regular file, opened to be read.

    Raises:
        OSError: it is not there, not a regular file, or cannot be read.
    """
    with path.parent.opened() as directory:
        return directory.open_file(path.name)


def read_text(path: MediaPath, *, most: int = _LARGEST_TEXT) -> bytes:
    """A file that is small if it is what its name says: playlists, subtitles, JSON; ``most`` in bytes.

    Raises:
        ResultRefusedError: it is larger than any of these.
        MediaNotWritableError: the disk does not give it.
    """
    try:
        with open_file(path) as file:
            content = file.read(most + 1, at=0)
    except OSError as error:
        raise disk_error(error, f"{path} cannot be read") from error
    if len(content) > most:
        raise ResultRefusedError(f"{path.name} is larger than {most // 2**20} MiB.")
    return content


def read_part(path: MediaPath, size: int, *, at: int = 0) -> bytes:
    """A part of a file: fewer bytes only at its end.

    Raises:
        MediaNotWritableError: the disk does not give it.
    """
    try:
        with open_file(path) as file:
            return file.read(size, at=at)
    except OSError as error:
        raise disk_error(error, f"{path} cannot be read") from error


def same_content(first: MediaPath, second: MediaPath) -> bool:
    """Whether two files hold the same bytes; false when either is not there, or no file.

    Raises:
        OSError: the disk does not give them.
    """
    try:
        with open_file(first) as left, open_file(second) as right:
            if left.size != right.size:
                return False
            at = 0
            while True:
                chunk = left.read(_CHUNK, at=at)
                if chunk != right.read(_CHUNK, at=at):
                    return False
                if not chunk:
                    return True
                at += len(chunk)
    except (FileNotFoundError, NotPlainError):
        return False


def existing_files(tree: MediaTree, paths: Iterable[str]) -> set[str]:
    """Those of these paths at which there is something.

    Raises:
        ResultError: that cannot be found out.
    """
    found: set[str] = set()
    for directory, names in _by_directory(paths).items():
        try:
            with tree.media_root.walk(directory) as opened:
                found.update(
                    posixpath.join(directory, name) for name in names if opened.status(name) is not None
                )
        except FileNotFoundError:
            continue
        except OSError as error:
            raise disk_error(error, f"{tree.root / directory} cannot be looked at") from error
    return found


class Undeleted(Struct, frozen=True):
    """Why a file could not be deleted: a sentence for the log.

    ``passes``: it is said about the whole file system, and no fault of this file (invariant I16).
    """

    words: str
    passes: bool = False


def delete_files(
    tree: MediaTree, paths: Sequence[str], is_ours: Callable[[str], bool] = lambda _: True
) -> dict[str, Undeleted]:
    """Delete files that no row names any more; those that are gone already are passed over.

    Args:
        tree: the media tree.
        paths: of the files.
        is_ours: whether one may still be deleted, asked right before: each may take the file system long.

    Returns:
        What could not be deleted, and why.
    """
    problems = {}
    for relative in paths:
        try:
            path = tree.path(relative)
            with path.parent.opened() as directory:
                if not is_ours(relative):
                    words = f"{relative} was not deleted in time: a new result may bring it again by now"
                    problems[relative] = Undeleted(words, passes=True)
                    continue
                directory.unlink(path.name, missing_ok=True)
        except FileNotFoundError:
            continue
        except OSError as error:
            words = f"{relative} could not be deleted: {error.strerror}"
            problems[relative] = Undeleted(words, passes=error.errno in NOT_WRITABLE_NOW)
        except ResultRefusedError as error:
            problems[relative] = Undeleted(f"{relative} could not be deleted: {error}")
    return problems


def delete_empty_directories(tree: MediaTree, paths: Iterable[str]) -> None:
    """Delete the directories of videos that these paths go through, where nothing is in them any more."""
    directories = {directory for path in paths for directory in _of_a_video(PurePosixPath(path))}
    for directory in sorted(directories, key=lambda each: len(each.parts), reverse=True):
        # Of a video that was never made, say; anything in it keeps it.
        with suppress(OSError, ResultRefusedError):
            path = tree.path(str(directory))
            with path.parent.opened() as parent:
                parent.remove_directory(path.name)


def delete_temporaries(tree: MediaTree, paths: Iterable[str], task: TaskPk) -> None:
    """Delete what a crash left beside these files of the import of a task, whose lock is held."""
    # By their names: a directory that users upload to may hold thousands of others.
    beginning = f".{OURS}{task}-"
    for directory in _by_directory(paths):
        with suppress(OSError), tree.media_root.walk(directory) as opened:
            for name, status in opened.statuses(lambda name: name.startswith(beginning)):
                if status.is_file:
                    opened.unlink(name, missing_ok=True)


def delete_tree(path: MediaPath) -> None:
    """Delete a directory with all that is in it, or a file; nothing missing is told.

    Raises:
        MediaNotWritableError: something cannot be deleted.
    """
    try:
        with path.parent.opened() as directory:
            directory.remove_tree(path.name)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise disk_error(error, f"{path} cannot be deleted") from error


def free_space(tree: MediaTree) -> int:
    """Bytes that an ordinary user may still write under MEDIA_ROOT.

    Raises:
        OSError: it cannot be looked at.
    """
    with tree.top.opened() as root:
        return root.free_space()


def _by_directory(paths: Iterable[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for path in paths:
        directory, name = posixpath.split(path)
        grouped.setdefault(directory, []).append(name)
    return grouped


def _of_a_video(path: PurePosixPath) -> list[PurePosixPath]:
    """The directory of a video that a path goes through, and those below it on its way."""
    directory = next((parent for parent in path.parents if parent.name.isdigit()), None)
    return [] if directory is None else [each for each in path.parents if each.is_relative_to(directory)]

"""Whether the media tree can be used by this process, in words: what an import does, rehearsed (blocking)."""

import re
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from poddispatchd.pod.media.directory import PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE, Directory
from poddispatchd.pod.media.file_system_errors import LINK_UNSAFE
from poddispatchd.pod.media.opened import close_lock
from poddispatchd.pod.media.tree import OURS, MediaPath, MediaTree, own_name

_LOOK = re.compile(rf"\.{re.escape(OURS)}0-[0-9a-f]{{16}}")
"""The name of a file that was written to see whether files can be written."""

_WRONG_TREE = "is MEDIA_ROOT mounted, and are pod.media_root and pod.videos_dir right?"
"""For a missing directory: most often nothing is wrong with the configuration, and the disk is not there."""


class Rehearsal(Struct, frozen=True):
    """What a rehearsal found: what keeps imports from working, and what they do without; each a sentence."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


class Trouble(Struct, frozen=True):
    """What keeps this process from using a directory: a sentence, and whether it may pass by itself.

    A full disk or a file server that is away passes; a wrong path or a missing right does not.
    """

    words: str
    may_pass: bool = False


def owner_of(directory: MediaPath) -> int:
    """The id of the user whom a directory belongs to.

    Raises:
        OSError: it cannot be looked at.
    """
    with directory.opened() as opened:
        return opened.owner


def trouble_with(directory: MediaPath) -> Trouble | None:
    """What keeps this process from reading and writing in a directory; None when nothing does."""
    try:
        opened = directory.opened()
    except FileNotFoundError:
        return Trouble(f"{directory} does not exist: {_WRONG_TREE}")
    except NotADirectoryError:
        return Trouble(f"{directory} is not a directory: {_WRONG_TREE}")
    except PermissionError:
        return Trouble(f"{directory} cannot be reached by this user: run as the user of Pod.")
    except OSError as error:
        return Trouble(f"{directory} cannot be looked at: {error.strerror or error}.", may_pass=True)
    with opened:
        if not opened.is_accessible():
            return Trouble(f"{directory} cannot be read by this user: run as the user of Pod.")
        name = f".{own_name(None)}"
        try:
            _remove_left(opened)
            # Rights, read-only mounts and root squashing are seen by doing it only.
            opened.create_file(name, PRIVATE_FILE_MODE).close()
            # Another daemon that looks at this moment may have taken it for one that was left.
            opened.unlink(name, missing_ok=True)
        except PermissionError as error:
            return Trouble(
                f"{directory} cannot be written: {error.strerror or error}. Let it belong to the user "
                "of Pod, as whom the daemon runs."
            )
        except OSError as error:
            return Trouble(f"{directory} cannot be written: {error.strerror or error}.", may_pass=True)
    return None


def _remove_left(directory: Directory) -> None:
    """Remove the files of earlier looks that were killed while the file system did not answer."""
    # By their names: in the directory of videos there is one entry for each user.
    for name, status in directory.statuses(_LOOK.fullmatch):
        if status.is_file:
            directory.unlink(name, missing_ok=True)


def rehearse(tree: MediaTree, videos_dir: str, mode: int | None) -> Rehearsal:
    """Do in the directory of videos what an import does there, on files of its own; nothing of them stays.

    Args:
        tree: the media tree.
        videos_dir: VIDEOS_DIR.
        mode: FILE_UPLOAD_PERMISSIONS.
    """
    place = tree.path(videos_dir)
    name = f".{own_name(None)}"
    problems: list[str] = []
    notes: list[str] = []
    try:
        with place.opened() as videos:
            try:
                videos.make_directory(name, PRIVATE_DIRECTORY_MODE)
                with videos.subdirectory(name) as staging:
                    for what, step in _steps(_Stage(videos, staging, name, mode, notes)):
                        try:
                            step()
                        except OSError as error:
                            problems.append(f"{what} in {place}: {error.strerror or error}.")
            finally:
                for left in (name, _renamed(name)):
                    with suppress(OSError):
                        videos.remove_tree(left)
    except OSError as error:
        problems.append(f"A directory cannot be made in {place}: {error.strerror or error}.")
    tolerated = tree.tolerated()
    notes += [f"The file system refuses: {what}. Imports do without." for what in sorted(tolerated)]
    return Rehearsal(tuple(problems), tuple(notes))


class _Stage(Struct, frozen=True):
    """Where a rehearsal takes place: the directory of videos, and a directory called ``name`` in it."""

    videos: Directory
    staging: Directory
    name: str
    mode: int | None
    notes: list[str]

    def write(self) -> None:
        with self.staging.create_file("a", self.mode) as file:
            file.write(b"poddispatchd check\n")
            file.set_mode(self.mode)
            file.sync()

    def lock(self) -> None:
        close_lock(self.staging.lock_file("lock"))

    def link(self) -> None:
        try:
            self.staging.link("a", self.staging, "b")
        except OSError as error:
            if error.errno in LINK_UNSAFE:
                raise
            self.notes.append("The file system has no hard links: files are moved instead.")

    def rename(self) -> None:
        target = _renamed(self.name)
        self.staging.rename("a", self.videos, target)
        self.videos.unlink(target)


def _renamed(name: str) -> str:
    return f"{name}-renamed"


def _steps(stage: _Stage) -> list[tuple[str, Callable[[], None]]]:
    return [
        ("A file cannot be written and brought to stable storage", stage.write),
        ("A file cannot be locked", stage.lock),
        ("A file cannot be linked", stage.link),
        ("A directory cannot be brought to stable storage", stage.staging.sync),
        ("A file cannot be renamed", stage.rename),
    ]

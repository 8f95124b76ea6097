"""How files get into Pod's media tree: first all of them beside their targets, then by renames."""

import errno
import os
import posixpath
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from poddispatchd.errors import MediaNotWritableError, ResultIncompleteError, ResultRefusedError, disk_error

_DIRECTORY_MODE = 0o755
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Move:
    """A staged file and where it goes."""

    staged: Path
    target: Path


def ensure_directory(directory: Path) -> list[Path]:
    """Create a directory and its parents with the mode Pod gives them (0755 under the umask).

    Returns:
        Those that were not there, the outermost first.

    Raises:
        NoSpaceError: the disk is full.
        MediaNotWritableError: it cannot be created.
    """
    try:
        if directory.is_dir():
            return []
        made = ensure_directory(directory.parent)
        directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        raise disk_error(error, f"The directory {directory} cannot be created") from error
    return [*made, directory]


def write_staged(path: Path, content: bytes, *, behind: Path | None = None) -> None:
    """Write a file of our own into the staging directory, replacing an earlier one.

    Args:
        path: where.
        content: what is written, unless the other file ends with it.
        behind: a file that the new one begins with a copy of, however large.

    Raises:
        NoSpaceError: the disk is full.
        MediaNotWritableError: it cannot be written.
    """
    ensure_directory(path.parent)
    try:
        path.unlink(missing_ok=True)
        if behind is None:
            path.write_bytes(content)
            return
        shutil.copyfile(behind, path)
        with path.open("r+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(content)))
            if file.read() != content:
                file.write(content)
    except OSError as error:
        raise disk_error(error, f"{path.name} cannot be written") from error


def temporary_name(path: str) -> str:
    """What a file is called in its directory for the moment before its rename; a crash may leave it."""
    directory, name = posixpath.split(path)
    return posixpath.join(directory, f".{name[:200]}.poddispatchd")


def move_into_place(moves: Iterable[Move], mode: int | None) -> None:
    """Put staged files where they belong, durably, each by one atomic rename.

    All that can need space is done before the first rename: a disk that is full, or a result that has gone,
    leaves everything as it was. A playlist comes after the segments it names, the master playlist last. The
    staged name is kept where the file system has hard links, so that the whole step can be redone after a
    crash: what is in place already is skipped.

    Args:
        moves: the pairs; a later pair with the same target replaces an earlier one.
        mode: FILE_UPLOAD_PERMISSIONS; None leaves the mode that the umask gives.

    Raises:
        NoSpaceError: the disk is full.
        ResultIncompleteError: a staged file has gone and its target is not there either.
        ResultRefusedError: a staged file is none.
        MediaNotWritableError: a file cannot be moved; the words say which and why.
    """
    ordered = sorted({move.target: move for move in moves}.values(), key=_order)
    beside = _Beside(mode)
    try:
        ready = [(move, beside.put(move)) for move in ordered]
    except BaseException:
        beside.undo()
        raise
    for move, source in ready:
        if source is not None:
            _swap(source, move.target)
    for directory in sorted({move.target.parent for move in ordered}):
        _sync(directory)


def _order(move: Move) -> tuple[int, str]:
    name = move.target.name
    rank = (
        3 if name == "playlist.m3u8" else 2 if name.endswith(".m3u8") else 1 if name.endswith(".vtt") else 0
    )
    return rank, str(move.target)


class _Beside:
    """Puts files beside their targets under temporary names, and takes them away again if need be."""

    def __init__(self, mode: int | None) -> None:
        self._mode = mode
        self._files: list[Path] = []
        self._directories: list[Path] = []

    def put(self, move: Move) -> Path | None:
        """What is to be renamed to the target; None when that is in place already."""
        try:
            return self._put(move)
        except OSError as error:
            raise disk_error(error, f"{move.target} cannot be put in place") from error

    def undo(self) -> None:
        """Remove what has been put there; what cannot be is the maintenance's."""
        for path in self._files:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        for directory in reversed(self._directories):
            with suppress(OSError):
                directory.rmdir()

    def _put(self, move: Move) -> Path | None:
        staged, target = move.staged, move.target
        try:
            status = staged.lstat()
        except FileNotFoundError:
            if target.is_file():
                return None
            raise ResultIncompleteError(f"{staged.name} has vanished from the staging directory.") from None
        if not stat.S_ISREG(status.st_mode):
            raise ResultRefusedError(f"{staged.name} in the result is not a plain file.")
        if self._mode is not None and stat.S_IMODE(status.st_mode) != self._mode:
            staged.chmod(self._mode)
        if target.exists() and target.samefile(staged):
            return None
        if target.is_dir():
            raise MediaNotWritableError(f"{target} cannot be put in place: it is a directory.")
        self._directories += ensure_directory(target.parent)
        _sync(staged)
        beside = Path(temporary_name(str(target)))
        beside.unlink(missing_ok=True)
        self._files.append(beside)
        try:
            os.link(staged, beside, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return staged
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(staged, beside)
            shutil.copymode(staged, beside)
            _sync(beside)
        return beside


def _swap(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise disk_error(error, f"{target} cannot be put in place") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""How files get into Pod's media tree: first all of them beside their targets, then by renames."""

import errno
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from msgspec import Struct

from poddispatchd.errors import ImportBusyError, MediaNotWritableError, NameTakenError
from poddispatchd.file_errors import disk_error
from poddispatchd.pod.media.directory import (
    PRIVATE_DIRECTORY_MODE,
    PRIVATE_FILE_MODE,
    Directory,
    NotPlainError,
)
from poddispatchd.pod.media.file_system_errors import LINK_UNSAFE
from poddispatchd.pod.media.files import open_file, replaced_error, same_content
from poddispatchd.pod.media.opened import EntryStatus, File
from poddispatchd.pod.media.tree import MediaPath, own_name

_CHUNK = 1 << 20


class Move(Struct, frozen=True):
    """A staged file and where it goes.

    ``is_new``: nothing may be there yet but this very file, since others choose names there too.
    """

    staged: MediaPath
    target: MediaPath
    is_new: bool = False


def ensure_directory(path: MediaPath) -> tuple[Directory, list[MediaPath]]:
    """Open a directory; what is missing of it and its parents is made as Pod does (0755 under the umask).

    Returns:
        The directory, and those that were not there, the outermost first.

    Raises:
        NoSpaceError: the disk is full.
        MediaNotWritableError: it cannot be opened or made.
    """
    missing: list[MediaPath] = []
    here = path
    try:
        while here.name:
            try:
                found = here.opened()
            except FileNotFoundError:
                missing.append(here)
                here = here.parent
                continue
            if not missing:
                return found, []
            found.close()
            break
        return path.made(), missing[::-1]
    except OSError as error:
        raise disk_error(error, f"The directory {path} cannot be created") from error


def write_staged(path: MediaPath, content: bytes, *, behind: MediaPath | None = None) -> None:
    """Write a file of our own into the staging directory, replacing an earlier one.

    Args:
        path: where.
        content: what is written, unless the other file ends with it.
        behind: a file that the new one begins with a copy of, however large.

    Raises:
        NoSpaceError: the disk is full.
        MediaNotWritableError: it cannot be written.
    """
    try:
        with path.parent.made(PRIVATE_DIRECTORY_MODE) as directory:
            directory.unlink(path.name, missing_ok=True)
            with directory.create_file(path.name, None) as file:
                if behind is not None:
                    with open_file(behind) as other:
                        _copy(other, file)
                size = file.size if behind is not None else 0
                if not size or file.read(len(content), at=max(0, size - len(content))) != content:
                    file.write(content)
    except OSError as error:
        raise disk_error(error, f"{path.name} cannot be written") from error


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
        ImportBusyError: the tree is not surely this import's any more.
        NameTakenError: somebody else has put another file where one was to be new.
        MediaNotWritableError: a file cannot be moved, or somebody else has taken away or replaced a staged
            one; the words say which and why.
    """
    ordered = sorted({move.target: move for move in moves}.values(), key=_order)
    with ExitStack() as stack:
        beside = _Beside(mode, stack)
        try:
            ready = [each for move in ordered if (each := beside.put(move)) is not None]
            for each in ready:
                if each.move.is_new:
                    _still_ours(each)
                    each.appear()
        except BaseException:
            beside.undo()
            raise
        for each in ready:
            if not each.move.is_new:
                _still_ours(each)
                each.swap()
        beside.sync()


def _still_ours(ready: "Ready") -> None:
    """Asked before each rename: a process that was frozen goes on where it was, however long that took."""
    if not ready.move.target.tree.is_ours():
        raise ImportBusyError("Its files took longer than its lease: another daemon may be at them by now.")


def _order(move: Move) -> tuple[int, str]:
    name = move.target.name
    rank = (
        3 if name == "playlist.m3u8" else 2 if name.endswith(".m3u8") else 1 if name.endswith(".vtt") else 0
    )
    return rank, move.target.relative


class Ready(Struct, frozen=True):
    """What is to be renamed to a target: under a name of its own beside it, or the staged file itself."""

    source: Directory
    name: str
    target: Directory
    move: Move

    def appear(self) -> None:
        """Give it its place, which nobody else may have taken since it was chosen."""
        name = self.move.target.name
        try:
            if self.source is self.target:
                # link(2) fails where the name is taken; rename(2) would replace what is there.
                self.source.link(self.name, self.target, name)
                self.source.unlink(self.name, missing_ok=True)
            else:
                # Without hard links: the name is taken first.
                self.target.create_file(name, PRIVATE_FILE_MODE).close()
                self.source.rename(self.name, self.target, name)
        except FileExistsError:
            words = f"{self.move.target} has been put there by somebody else meanwhile."
            raise NameTakenError(words, self.move.target.relative) from None
        except OSError as error:
            raise _not_placed(self.move, error) from error

    def swap(self) -> None:
        """Give it its place."""
        try:
            self.source.rename(self.name, self.target, self.move.target.name)
        except OSError as error:
            raise _not_placed(self.move, error) from error


class _Beside:
    """Puts files beside their targets under names of their own, and takes them away again if need be."""

    def __init__(self, mode: int | None, stack: ExitStack) -> None:
        self._mode = mode
        self._stack = stack
        self._opened: dict[MediaPath, Directory] = {}
        self._targets: dict[MediaPath, Directory] = {}
        self._files: list[tuple[Directory, str]] = []
        self._made: list[MediaPath] = []

    def put(self, move: Move) -> Ready | None:
        """What is to be renamed to the target; None when that is in place already."""
        try:
            return self._put(move)
        except OSError as error:
            raise _not_placed(move, error) from error

    def undo(self) -> None:
        """Remove what has been put there; what cannot be is deleted later."""
        for directory, name in self._files:
            with suppress(OSError):
                directory.unlink(name, missing_ok=True)
        # Only where nobody has put anything meanwhile: a directory that is not empty stays.
        for path in reversed(self._made):
            with suppress(OSError), path.parent.opened() as parent:
                parent.remove_directory(path.name)

    def sync(self) -> None:
        """Bring the names of all targets to stable storage, and those of directories made for them."""
        above = {path.parent for path in self._made}
        for path in sorted({*self._targets, *above}, key=str):
            try:
                (self._targets.get(path) or self._stack.enter_context(path.opened())).sync()
            except OSError as error:
                raise disk_error(error, f"{path} cannot be written") from error

    def _put(self, move: Move) -> Ready | None:
        staged, target = move.staged, move.target
        source = self._directory(staged.parent)
        try:
            identity = None if source is None else self._make_durable(source, staged.name)
        except FileNotFoundError:
            identity = None
        except NotPlainError:
            raise replaced_error(staged.name) from None
        if source is None or identity is None:
            if target.is_file():
                return None
            raise MediaNotWritableError(f"{staged.name} has vanished from the staging directory.")
        there = self._made_directory(target.parent)
        old = there.status(target.name)
        # Another name of the very file: an earlier attempt has put it in place before it was cut off.
        if old is not None and old.identity == identity:
            return None
        if old is not None and old.is_directory:
            raise MediaNotWritableError(f"{target} cannot be put in place: it is a directory.")
        if move.is_new and _holds_the_same(move, old):
            return None
        name = f".{own_name(staged.tree.task)}"
        # Noted before it is made: what is cut off in between is removed as well.
        self._files.append((there, name))
        try:
            source.link(staged.name, there, name)
        except OSError as error:
            if error.errno == errno.EXDEV:
                self._copy(source, staged.name, there, name)
            elif error.errno in LINK_UNSAFE:
                raise
            else:
                return Ready(source, staged.name, there, move)
        return Ready(there, name, there, move)

    def _make_durable(self, source: Directory, name: str) -> tuple[int, int]:
        with source.open_file(name) as file:
            file.set_mode(self._mode)
            file.sync()
            return file.identity

    def _copy(self, source: Directory, name: str, there: Directory, new: str) -> None:
        with source.open_file(name) as file, there.create_file(new, self._mode) as copy:
            _copy(file, copy)
            copy.set_mode(self._mode)
            copy.sync()

    def _directory(self, path: MediaPath) -> Directory | None:
        if path not in self._opened:
            try:
                self._opened[path] = self._stack.enter_context(path.opened())
            except FileNotFoundError:
                return None
        return self._opened[path]

    def _made_directory(self, path: MediaPath) -> Directory:
        if path not in self._targets:
            directory, made = ensure_directory(path)
            self._targets[path] = self._stack.enter_context(directory)
            self._made += made
        return self._targets[path]


def _holds_the_same(move: Move, old: EntryStatus | None) -> bool:
    return old is not None and old.is_file and same_content(move.staged, move.target)


def _not_placed(move: Move, error: OSError) -> Exception:
    return disk_error(error, f"{move.target} cannot be put in place")


def _copy(source: File, target: File) -> None:
    at = 0
    while chunk := source.read(_CHUNK, at=at):
        target.write(chunk)
        at += len(chunk)

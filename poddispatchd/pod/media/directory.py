"""An opened directory: every system call on the media tree is made here, by its descriptor.

All of it blocks for as long as the file system does: it is called in the threads of ``MediaThreads`` only.
"""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from poddispatchd.pod.media.file_system_errors import LOCK_REFUSED, NO_LOCKS, SYNC_REFUSED, ToleratedErrors
from poddispatchd.pod.media.opened import EntryStatus, File, Opened, close_lock, open_lock

DIRECTORY_MODE = 0o755
"""Of directories that Pod and the web server read, under the umask: as Pod makes them."""

PRIVATE_DIRECTORY_MODE = 0o700
PRIVATE_FILE_MODE = 0o600

_FILE_MODE = 0o664
"""Of files whose mode is left to the umask: never writable by everybody, whatever the umask."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that somebody has put there is not waited for. O_NOCTTY: nor does a terminal become ours.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


Named: TypeAlias = Callable[[str], object]
"""Whether a file is called as it is to be, by its name; nothing false means yes."""


class NotPlainError(OSError):
    """Something that is neither a regular file nor a directory stands where one is to be opened."""


class Directory(Opened):
    """A directory by its descriptor."""

    @classmethod
    def opened(cls, path: Path, tolerated: ToleratedErrors) -> "Directory":
        """The root, or where a link on its first level leads: a path without links, made by a person."""
        return cls(os.open(path, _DIRECTORY), str(path), tolerated)

    def lent(self) -> "Directory":
        """The same directory for somebody who closes it; it stays open for whoever has it."""
        return _Lent(self._descriptor, self.path, self._tolerated)

    # --- directories -------------------------------------------------------------------------------------

    def subdirectory(self, name: str) -> "Directory":
        """A directory in this one.

        Raises:
            NotPlainError: a symbolic link, or a file, stands there.
            OSError: any other trouble.
        """
        try:
            descriptor = os.open(_plain(name), _DIRECTORY, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise self._in_the_way(name, "directory") from error
            raise
        return Directory(descriptor, f"{self.path}/{name}", self._tolerated)

    def make_directory(self, name: str, mode: int = DIRECTORY_MODE) -> bool:
        """Make a directory under the umask; false when something of that name is there already."""
        try:
            os.mkdir(_plain(name), mode, dir_fd=self._descriptor)
        except FileExistsError:
            return False
        return True

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(_plain(name), dir_fd=self._descriptor)

    def remove_tree(self, name: str) -> None:
        """Remove a directory with all in it, or a file; no link is followed, nothing missing is told."""
        status = self.status(name)
        if status is None:
            return
        with suppress(FileNotFoundError):
            if status.is_directory:
                shutil.rmtree(_plain(name), dir_fd=self._descriptor)
            else:
                self.unlink(name)

    def names(self, called: Named | None = None) -> list[str]:
        """The names in the directory, or those that are called so, in their order."""
        with os.scandir(self._descriptor) as entries:
            return sorted(entry.name for entry in entries if called is None or called(entry.name))

    def statuses(self, called: Named | None = None) -> list[tuple[str, EntryStatus]]:
        """What is in the directory, by name, or what is called so; what is gone again is left out."""
        return [(name, status) for name in self.names(called) if (status := self.status(name)) is not None]

    def is_empty(self) -> bool:
        """Whether nothing is in the directory."""
        with os.scandir(self._descriptor) as entries:
            return next(entries, None) is None

    def identity_of(self, name: str) -> tuple[int, int]:
        """Device and inode of what is called so in the directory, or of what it leads to."""
        found = os.stat(_plain(name), dir_fd=self._descriptor)
        return found.st_dev, found.st_ino

    def links(self) -> dict[str, str]:
        """The symbolic links in the directory, by name: what they say, which is not looked at."""
        with os.scandir(self._descriptor) as entries:
            names = sorted(entry.name for entry in entries if entry.is_symlink())
        return {name: os.readlink(name, dir_fd=self._descriptor) for name in names}

    @property
    def descriptor(self) -> int:
        """Its number, for calls that take two directories."""
        return self._descriptor

    def free_space(self) -> int:
        """Bytes that an ordinary user may still write on the file system."""
        found = os.statvfs(self._descriptor)
        return found.f_bavail * found.f_frsize

    def is_accessible(self) -> bool:
        """Whether this user may list the directory and go through it."""
        return os.access(".", os.R_OK | os.X_OK, dir_fd=self._descriptor)

    def sync(self) -> None:
        """Bring the names in the directory to stable storage, where the file system can."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in SYNC_REFUSED:
                raise
            self._tolerated.note(
                "fsync of a directory",
                "Names of files are as durable as the file system makes them: after a power cut a result may "
                "have to be imported again.",
                error,
            )

    # --- names -------------------------------------------------------------------------------------------

    def status(self, name: str) -> EntryStatus | None:
        """What stands under a name; None when nothing does."""
        try:
            return EntryStatus.of(os.stat(_plain(name), dir_fd=self._descriptor, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def unlink(self, name: str, *, missing_ok: bool = False) -> None:
        """Delete a file, or a link itself."""
        try:
            os.unlink(_plain(name), dir_fd=self._descriptor)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def link(self, name: str, into: "Directory", new: str) -> None:
        """Give a file another name, which must be free."""
        try:
            os.link(
                _plain(name),
                _plain(new),
                src_dir_fd=self._descriptor,
                dst_dir_fd=into.descriptor,
                follow_symlinks=False,
            )
        except FileExistsError:
            if not _has_been_done(self.status(name), into, new):
                raise

    def rename(self, name: str, into: "Directory", new: str) -> None:
        """Give a file another name in the place of whatever has it, at once."""
        named = self.status(name)
        try:
            os.rename(_plain(name), _plain(new), src_dir_fd=self._descriptor, dst_dir_fd=into.descriptor)
        except FileNotFoundError:
            if not _has_been_done(named, into, new):
                raise

    # --- files -------------------------------------------------------------------------------------------

    def open_file(self, name: str) -> "File":
        """Open a regular file to read it; a FIFO or a device is never waited for.

        Raises:
            NotPlainError: something else stands there.
            OSError: any other trouble.
        """
        try:
            descriptor = os.open(_plain(name), _READ, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise self._in_the_way(name, "regular file") from error
            raise
        return self._checked(descriptor, name)

    def create_file(self, name: str, mode: int | None) -> "File":
        """Create a file that must not be there; without a mode the umask decides."""
        bits = _FILE_MODE if mode is None else PRIVATE_FILE_MODE
        descriptor = os.open(_plain(name), _CREATE, bits, dir_fd=self._descriptor)
        return File(descriptor, f"{self.path}/{name}", self._tolerated)

    def replace_file(self, name: str, mode: int | None) -> "File":
        """Create a file in the place of one that may be there, which is deleted."""
        try:
            return self.create_file(name, mode)
        except FileExistsError:
            self.unlink(name, missing_ok=True)
            return self.create_file(name, mode)

    def lock_file(self, name: str) -> int:
        """Open a file of locks, made if need be, and lock it; the lock lasts until the descriptor is closed.

        Raises:
            BlockingIOError: somebody else holds it.
            OSError: it cannot be opened or locked; the words name what is missing.
        """
        descriptor = open_lock(_plain(name), self._descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._in_the_way(name, "regular file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            close_lock(descriptor)
            if error.errno in LOCK_REFUSED:
                words = f"{os.strerror(error.errno or 0)} ({NO_LOCKS})"
                raise OSError(error.errno, words) from error
            if error.errno == errno.EBADF:
                # NFS: one that may only be read cannot be locked there.
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
            raise
        return descriptor

    def _checked(self, descriptor: int, name: str) -> "File":
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise self._in_the_way(name, "regular file")
        except OSError:
            os.close(descriptor)
            raise
        return File(descriptor, f"{self.path}/{name}", self._tolerated, found)

    def _in_the_way(self, name: str, wanted: str) -> NotPlainError:
        status = self.status(name)
        what = f"not a {wanted}"
        if status is not None and status.is_link:
            what = (
                "a symbolic link: links are followed on the first level of MEDIA_ROOT only, and only "
                "those that were there at the start or at the last 'systemctl reload poddispatchd'"
            )
        return NotPlainError(errno.ELOOP, f"{self.path}/{name} is {what}")


class _Lent(Directory):
    """A directory that somebody else closes."""

    def close(self) -> None:
        """Leave it open."""


def real_path(path: Path) -> Path:
    """Where a path leads; links that lead to each other, over which ``resolve`` fails, lead nowhere.

    For MEDIA_ROOT and its first level, at the start.
    """
    return Path(os.path.realpath(path))


def identity_of(path: Path) -> tuple[int, int]:
    """Device and inode of what a path leads to."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _has_been_done(named: EntryStatus | None, into: Directory, new: str) -> bool:
    """Whether a file has its new name though the system says no.

    NFS repeats a request whose answer was lost, and a server that was started anew meanwhile does it twice.
    """
    there = into.status(new)
    return named is not None and there is not None and there.identity == named.identity


def _plain(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise OSError(errno.EINVAL, f"{name!r} is no name of a file")
    return name

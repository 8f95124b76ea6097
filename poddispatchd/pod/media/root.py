"""The way to a directory of the media tree: from MEDIA_ROOT, or from one that a thread keeps open."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, local

from poddispatchd.pod.media.directory import Directory, NotPlainError, identity_of, real_path
from poddispatchd.pod.media.file_system_errors import ToleratedErrors

_MOVED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What is said of a path at whose end no directory is any more: nothing, a file, a link."""


class MediaRoot:
    """MEDIA_ROOT: where it leads, and where the links on its first level led when they were first looked at.

    A link that is made later is not followed, and nobody goes through one that leads elsewhere by now, before
    ``look_anew``: what would be put where it led nobody would see. MEDIA_ROOT itself is followed wherever it
    leads; when that is another place, or another file system is mounted there, its own links are looked at
    anew. Where a link leads is looked at by whoever goes there: a file system that hangs behind one of them
    keeps nobody from the others (invariant I12).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tolerated_errors = ToleratedErrors()
        self._real: Path | None = None
        self._links: dict[str, Path] = {}
        """What the links say, by name."""
        self._targets: dict[str, Path] = {}
        """Where those lead that have been followed."""
        self._known: tuple[tuple[int, int], int] | None = None
        """Of which root, and for which of the looks that were asked for, they are."""
        self._looks = 0
        self._lock = Lock()
        self.held = HeldDirectories()

    def walk(self, relative: str, *, make: int | None = None) -> Directory:
        """The directory at a place, opened part by part; no link below the first level is followed.

        It blocks.

        Args:
            relative: the place; empty for the root.
            make: the mode with which what is missing is made; None to make nothing.

        Raises:
            OSError: it is not there, or a part of it is a symbolic link.
        """
        held = self.held.nearest(relative)
        current, rest = held or (self.opened(), relative)
        first = held is None
        for part in rest.split("/") if rest else []:
            with current:
                try:
                    current = self.first(current, part) if first else current.subdirectory(part)
                except FileNotFoundError:
                    if make is None:
                        raise FileNotFoundError(
                            errno.ENOENT, f"{current.path}/{part} does not exist"
                        ) from None
                    current.make_directory(part, make)
                    current = current.subdirectory(part)
            first = False
        return current

    def opened(self) -> Directory:
        """The root (blocking)."""
        root = self._where_it_led()
        if root is None:
            with self._lock:
                real = self._real = real_path(self.path)
            root = Directory.opened(real, self.tolerated_errors)
        root.path = str(self.path)
        try:
            self._resolve(root)
        except BaseException:
            root.close()
            raise
        return root

    def _where_it_led(self) -> Directory | None:
        """The root where it led the last time; None when it leads elsewhere by now."""
        with self._lock:
            real = self._real
        if real is None:
            return None
        try:
            root = Directory.opened(real, self.tolerated_errors)
        except OSError as error:
            # It was moved away, with or without a link in its place: what counts is where it leads now.
            if error.errno not in _MOVED:
                raise
            return None
        try:
            if root.identity == identity_of(self.path):
                return root
        except BaseException:
            root.close()
            raise
        # A link on the way to it was changed: what is put where it led nobody sees.
        root.close()
        return None

    def look_anew(self) -> None:
        """The links on the first level are as they are to be, a person says: they are followed.

        It does not block, also while the file system hangs: the event loop asks.
        """
        self._looks += 1

    def first(self, root: Directory, name: str) -> Directory:
        """A directory on the first level of the root (blocking)."""
        with self._lock:
            link, targets = self._links.get(name), self._targets
        if link is None:
            return root.subdirectory(name)
        try:
            directory = Directory.opened(_followed(name, link, targets), self.tolerated_errors)
        except FileNotFoundError:
            # Where it led is gone: with it what was there, or only the old place of that.
            root.identity_of(name)
            raise self._led_elsewhere(name, targets[name]) from None
        directory.path = f"{self.path}/{name}"
        try:
            # Where it led must be where whoever goes there by its name comes to.
            is_there = directory.identity == root.identity_of(name)
        except BaseException:
            directory.close()
            raise
        if is_there:
            return directory
        directory.close()
        raise self._led_elsewhere(name, targets[name])

    def links(self) -> dict[str, Path]:
        """Where the links on the first level lead (blocking)."""
        self.opened().close()
        with self._lock:
            links, targets = self._links, self._targets
        return {name: _followed(name, link, targets) for name, link in links.items()}

    def _led_elsewhere(self, name: str, target: Path) -> NotPlainError:
        return NotPlainError(
            errno.ELOOP,
            f"{self.path}/{name} is not what it was at the start, a link to {target}: when it is as it is "
            "to be, have it followed by 'systemctl reload poddispatchd'",
        )

    def _resolve(self, root: Directory) -> None:
        # Before the links are looked at: what is asked for meanwhile is another look.
        wanted = root.identity, self._looks
        with self._lock:
            if wanted == self._known:
                return
            self._links = {name: self.path / target for name, target in root.links().items()}
            self._targets = {}
            self._known = wanted


def _followed(name: str, link: Path, targets: dict[str, Path]) -> Path:
    """Where a link leads, once for all; nobody else waits for the file system that it leads to."""
    if name not in targets:
        # What another thread has found meanwhile stays: all go by one target.
        targets.setdefault(name, real_path(link))
    return targets[name]


class HeldDirectories(local):
    """The directories that each thread keeps open: what is done in them does not begin at the root."""

    def __init__(self) -> None:
        self._directories: dict[str, Directory] = {}
        """By their place relative to MEDIA_ROOT."""

    @contextmanager
    def holding(self, relative: str, directory: Directory) -> Iterator[None]:
        """Let ``nearest`` find an opened directory until the end of the block."""
        self._directories[relative] = directory
        try:
            yield
        finally:
            del self._directories[relative]

    def nearest(self, relative: str) -> tuple[Directory, str] | None:
        """A directory on the way to a place, and the way from there; None when none is held."""
        for place, directory in self._directories.items():
            if relative == place or relative.startswith(f"{place}/"):
                return directory.lent(), relative[len(place) + 1 :]
        return None

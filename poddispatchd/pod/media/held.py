"""Directories that a thread keeps open: what is done in them does not begin at the root each time."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

from poddispatchd.pod.media.directory import Directory


class HeldDirectories(local):
    """The opened directories of each thread, by their place relative to MEDIA_ROOT."""

    def __init__(self) -> None:
        self._directories: dict[str, Directory] = {}

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

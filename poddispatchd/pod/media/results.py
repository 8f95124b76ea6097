"""Where a download is written: a staging directory by its descriptors, as ``ResultStorage`` wants it."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import TypeVar

from poddispatchd.pod.media.directory import PRIVATE_DIRECTORY_MODE, Directory
from poddispatchd.pod.media.opened import File
from poddispatchd.pod.media.tree import MediaPath

T = TypeVar("T")

_PARTIAL = ".poddispatchd-partial-"


class StagingStorage:
    """Files of one result, below a staging directory that has been made for it.

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

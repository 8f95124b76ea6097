"""MEDIA_ROOT and the places below it: how a name in a row becomes an opened directory."""

import errno
import posixpath
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import ParamSpec, TypeVar

from msgspec import Struct

from poddispatchd.domain.media import video_number
from poddispatchd.domain.task import TaskPk, VideoId
from poddispatchd.errors import ResultRefusedError
from poddispatchd.file_errors import disk_error
from poddispatchd.pod.media.directory import DIRECTORY_MODE, Directory, NotPlainError
from poddispatchd.pod.media.opened import EntryStatus
from poddispatchd.pod.media.root import MediaRoot
from poddispatchd.pod.media.threads import FileCalls, Look, MediaThreads

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

OURS = "poddispatchd-"
"""What the names of all that we make for a while have in them; behind it, the number of its task."""

_NO_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What is said of a name that no file can have."""


class FileTimeouts(Struct, frozen=True):
    """Seconds that the file system gets.

    Args:
        look: for a question of the dispatcher.
        space: for the free space, and for questions that go through many directories.
        step: for one step of an import that writes little.
        file: for bringing one file of any size to stable storage.
    """

    look: float = 5.0
    space: float = 20.0
    step: float = 120.0
    file: float = 900.0


@dataclass(frozen=True, slots=True)
class MediaPath:
    """A place under MEDIA_ROOT; ``relative`` has no link in it that is followed below the first level.

    As text it is the absolute path, for words, logs and rows: nothing is ever opened by it.
    """

    tree: "MediaTree" = field(compare=False, repr=False)
    relative: str

    def __str__(self) -> str:
        # Not by pathlib, which interns every part: some versions of CPython keep those for ever.
        return posixpath.join(self.tree.root, self.relative).rstrip("/") or "/"

    def __truediv__(self, name: str) -> "MediaPath":
        return MediaPath(self.tree, posixpath.join(self.relative, checked(name)))

    @property
    def name(self) -> str:
        """The last part."""
        return posixpath.basename(self.relative)

    @property
    def parent(self) -> "MediaPath":
        """The directory that it is in."""
        return MediaPath(self.tree, posixpath.dirname(self.relative))

    # --- blocking ----------------------------------------------------------------------------------------

    def opened(self) -> Directory:
        """The directory at this place.

        Raises:
            OSError: it is not there, or it or one above it is a symbolic link.
        """
        return self.tree.media_root.walk(self.relative)

    def made(self, mode: int = DIRECTORY_MODE) -> Directory:
        """The directory at this place, made under the umask if it is missing, with those above it.

        Raises:
            OSError: it cannot be made, or it or one above it is a symbolic link.
        """
        return self.tree.media_root.walk(self.relative, make=mode)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Open the directory at this place once for all that this thread does in it until the block's end.

        One that cannot be opened is met by whoever does something in it.
        """
        with ExitStack() as stack:
            with suppress(OSError):
                directory = stack.enter_context(self.opened())
                stack.enter_context(self.tree.media_root.held.holding(self.relative, directory))
            yield

    def status(self) -> EntryStatus | None:
        """What stands there; None when nothing does, or there is no directory for it.

        Raises:
            OSError: it cannot be looked at, or a directory above it is a symbolic link.
        """
        if not self.name:
            with self.opened():
                return None
        try:
            with self.parent.opened() as directory:
                return directory.status(self.name)
        except FileNotFoundError:
            return None

    def rewrite(self, content: bytes) -> None:
        """Write a small file in the place of whatever is here; its directory is made, its mode the umask's.

        It is written under its own name: a crash leaves a shorter file at worst, and nothing else.

        Raises:
            OSError: it cannot be written.
        """
        with self.parent.made() as directory, directory.replace_file(self.name, None) as file:
            file.write(content)

    def is_file(self) -> bool:
        """Whether a regular file is there; a link above it leads nowhere.

        Raises:
            MediaNotWritableError: it cannot be told: the disk fails, which is no evidence about the file.
        """
        try:
            status = self.status()
        except NotPlainError:
            return False
        except OSError as error:
            if error.errno in _NO_NAME:
                return False
            raise disk_error(error, f"{self} cannot be looked at") from error
        return status is not None and status.is_file

    def exists(self) -> bool:
        """Whether anything is there, a link included.

        Raises:
            OSError: it cannot be looked at.
        """
        return self.status() is not None


class MediaTree:
    """MEDIA_ROOT, and the threads in which it is worked on.

    Args:
        root: MEDIA_ROOT.
        limits: how long the file system may take.
    """

    def __init__(self, root: Path, *, limits: FileTimeouts | None = None) -> None:
        self.media_root = MediaRoot(root)
        self._threads = MediaThreads()
        self.limits = limits or FileTimeouts()
        self.calls = FileCalls()
        self.task: TaskPk | None = None
        self.is_ours: Callable[[], bool] = lambda: True  # asked, in any thread, before files change

    @staticmethod
    def sharing(other: "MediaTree", task: TaskPk | None = None) -> "MediaTree":
        """The same tree for some other work: what of it hangs is known apart from all other."""
        tree = copy(other)
        tree.calls, tree.task = FileCalls(), task
        return tree

    @property
    def root(self) -> Path:
        """MEDIA_ROOT as it is configured: for words."""
        return self.media_root.path

    # --- names -------------------------------------------------------------------------------------------

    @property
    def top(self) -> MediaPath:
        """MEDIA_ROOT itself."""
        return MediaPath(self, "")

    def path(self, relative: str) -> MediaPath:
        """The place of a file named in a row.

        Raises:
            ResultRefusedError: the name is empty or absolute, or leaves MEDIA_ROOT.
        """
        return MediaPath(self, checked(relative))

    def staging_directory(self, video_file: str, video_id: VideoId, task: TaskPk) -> MediaPath:
        """A new place for a result: hidden, beside the output directory, hence on its file system.

        Nobody can guess its name.

        Raises:
            ResultRefusedError: the video file does not lie inside MEDIA_ROOT.
        """
        name = f".{video_number(video_id)}.{own_name(task)}"
        return self.path(posixpath.join(posixpath.dirname(video_file), name))

    def studio_staging_directory(self, task: TaskPk) -> MediaPath:
        """A new place for the result of a studio task: hidden, where Pod downloads such results, too."""
        return self.path(f"tasks/.{own_name(task)}")

    # --- work --------------------------------------------------------------------------------------------

    async def look(self, kind: Look, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What a function says that only looks, within ``limits.look`` seconds.

        Raises:
            MediaSlowError: the file system does not answer.
        """
        return await self.look_within(self.limits.look, kind, lambda: function(*arguments, **named))

    async def look_within(self, limit: float, kind: Look, function: Callable[[], T], *, place: str = "") -> T:
        """The same with a limit of its own, in seconds; looks at another ``place`` do not wait for it."""
        return await self._threads.look(kind, function, limit=limit, place=place)

    async def look_each(
        self, kind: Look, function: Callable[[Item], T], items: Sequence[Item], *, place: str = ""
    ) -> list[T]:
        """What it says of each of many items: as many in one turn of a thread as begin within half its time.

        So a file system that takes long for each is waited for, as if they were looked at one by one.
        """
        said: list[T] = []
        limit = self.limits.look
        while rest := items[len(said) :]:
            some = partial(_of_some, function, rest, limit / 2)
            said += await self.look_within(limit, kind, some, place=place)
        return said

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What a function returns that changes something, within ``limits.step`` seconds.

        Raises:
            MediaSlowError: the file system does not answer; the function goes on, and its calls know of it.
        """
        return await self.run_within(self.limits.step, lambda: function(*arguments, **named))

    async def run_within(self, limit: float, function: Callable[[], T]) -> T:
        """The same with a limit of its own, in seconds."""
        return await self._threads.run(self.calls, function, limit=limit)

    def later(self, function: Callable[[], object]) -> None:
        """Have something done as soon as nothing goes on of its calls; nobody waits for it."""
        self.calls.when_idle(lambda: self._threads.later(function))

    # --- blocking ----------------------------------------------------------------------------------------

    def tolerated(self) -> frozenset[str]:
        """What the file system has refused so far and imports do without."""
        return self.media_root.tolerated_errors.told

    def first_level_links(self) -> dict[str, Path]:
        """Where the links on the first level of MEDIA_ROOT lead."""
        return self.media_root.links()


def _of_some(function: Callable[[Item], T], items: Sequence[Item], seconds: float) -> list[T]:
    """What it says of the first one, and of as many more as begin within these seconds."""
    until = monotonic() + seconds
    said: list[T] = []
    for item in items:
        if said and monotonic() > until:
            break
        said.append(function(item))
    return said


def own_name(task: TaskPk | None) -> str:
    """A new name that nobody can guess, of which can be told whose it is."""
    return f"{OURS}{task or 0}-{secrets.token_hex(8)}"


def checked(relative: str) -> str:
    """A path relative to MEDIA_ROOT as it is in rows and results.

    Raises:
        ResultRefusedError: it is empty or absolute, or leaves MEDIA_ROOT.
    """
    parts = relative.split("/")
    kept = "/".join(part for part in parts if part not in ("", "."))
    if not kept or relative.startswith("/") or "\0" in relative or ".." in parts:
        raise ResultRefusedError(f"The path {relative!r} does not lie inside MEDIA_ROOT.")
    return kept

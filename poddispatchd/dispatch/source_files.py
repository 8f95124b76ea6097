"""Whether the source files of tasks are there, without waiting for a file system that does not answer."""

from collections.abc import Sequence
from enum import Enum, auto
from functools import partial

from poddispatchd.errors import MediaSlowError, ResultRefusedError
from poddispatchd.pod.media.looks import look_each
from poddispatchd.pod.media.quirks import IN_TROUBLE
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runtime.batching import Batcher


class Presence(Enum):
    """Whether a source file is there."""

    THERE = auto()
    MISSING = auto()
    EMPTY = auto()
    """It is there and has no bytes."""
    NOT_A_FILE = auto()
    """A directory, a FIFO or the like has its name."""
    HIDDEN = auto()
    """We may not see it, or a link leads there, which is not followed: the web server may see more."""
    SILENT = auto()
    """The file system did not answer in time, or is in trouble."""


MISSING_WORDS = {
    Presence.MISSING: "The source file {path} does not exist.",
    Presence.EMPTY: "The source file {path} is empty (0 bytes): upload it again.",
    Presence.NOT_A_FILE: "The source {path} is not a regular file: upload it again.",
}
"""Why a task whose source is found like that can never be run, if the media tree is the right one."""


SILENT_WORDS = (
    "The source {path} cannot be looked at: its file system does not answer, or answers with errors. "
    "Tasks from there wait until it does."
)
"""Why a task waits. Whoever works on it fetches its source from the web server, which reads the same files,
and its result would have to be written there: it would be run to fail."""

_TOGETHER = 20
"""Files that are asked for in one turn of a thread."""


class SourceFiles:
    """Asks for files of each directory of the first level, those that wait together, in threads of their own.

    A hanging NFS holds up nothing else.
    """

    def __init__(self, tree: MediaTree) -> None:
        self._tree = tree
        self._places: dict[str, Batcher[str, Presence]] = {}

    async def look(self, relative: str) -> Presence:
        """Whether there is a file at a path relative to MEDIA_ROOT; within ``limits.look`` seconds."""
        place = relative.partition("/")[0]
        if place not in self._places:
            self._places[place] = Batcher(partial(self._look, place), limit=_TOGETHER)
        try:
            return await self._places[place].put(relative)
        except MediaSlowError:
            return Presence.SILENT

    async def _look(self, place: str, paths: Sequence[str]) -> Sequence[Presence]:
        return await look_each(self._tree, Look.SOURCE, partial(_presence, self._tree), paths, place=place)


def _presence(tree: MediaTree, relative: str) -> Presence:
    try:
        status = tree.path(relative).status()
    except OSError as error:
        return Presence.SILENT if error.errno in IN_TROUBLE else Presence.HIDDEN
    except ResultRefusedError:
        return Presence.HIDDEN
    if status is None:
        return Presence.MISSING
    if status.is_file:
        return Presence.THERE if status.size else Presence.EMPTY
    return Presence.HIDDEN if status.is_link else Presence.NOT_A_FILE

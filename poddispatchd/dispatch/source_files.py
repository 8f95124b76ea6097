"""Whether the source files of tasks are there, without waiting for a file system that does not answer."""

from enum import Enum, auto

from poddispatchd.errors import MediaSlowError, ResultRefusedError
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree


class Presence(Enum):
    """Whether a source file is there."""

    THERE = auto()
    MISSING = auto()
    EMPTY = auto()
    """It is there and has no bytes."""
    NOT_A_FILE = auto()
    """A directory, a FIFO or the like has its name."""
    UNKNOWN = auto()
    """The file system did not answer in time, or answered with an error, or a link leads there, which is not
    followed."""


MISSING_WORDS = {
    Presence.MISSING: "The source file {path} does not exist.",
    Presence.EMPTY: "The source file {path} is empty (0 bytes): upload it again.",
    Presence.NOT_A_FILE: "The source {path} is not a regular file: upload it again.",
}
"""Why a task whose source is found like that can never be run, if the media tree is the right one."""


class SourceFiles:
    """Asks for one file at a time, in a thread of its own kind: a hanging NFS holds up nothing else."""

    def __init__(self, tree: MediaTree) -> None:
        self._tree = tree

    async def look(self, relative: str) -> Presence:
        """Whether there is a file at a path relative to MEDIA_ROOT; within ``limits.look`` seconds."""
        try:
            return await self._tree.look(Look.SOURCE, _presence, self._tree, relative)
        except MediaSlowError:
            return Presence.UNKNOWN


def _presence(tree: MediaTree, relative: str) -> Presence:
    try:
        status = tree.path(relative).status()
    except (OSError, ResultRefusedError):
        return Presence.UNKNOWN
    if status is None:
        return Presence.MISSING
    if status.is_file:
        return Presence.THERE if status.size else Presence.EMPTY
    return Presence.UNKNOWN if status.is_link else Presence.NOT_A_FILE

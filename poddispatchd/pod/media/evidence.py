"""Whether the media tree is the right one (invariant I16): files that the database knows are there.

A tree that is not mounted looks like one in which everything is missing: nothing fails for a missing file,
and nothing is deleted, before a sample of the video files of finished videos has been found.
"""

from collections.abc import Sequence

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.errors import MediaSlowError, ResultRefusedError
from poddispatchd.observability.events import Event
from poddispatchd.pod.media.directory import NotPlainError
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

log = structlog.get_logger(__name__)

_KNOWN_FILES = load_queries("poddispatchd.pod", "media.sql")["known_files"]

_SAMPLE = 4
"""Videos of each age that are looked at."""

FRESH_FOR = 10.0
"""Seconds for which the finding that the tree is the right one is good enough to delete something by."""


_WRONG_FOR = 1.0
"""Seconds for which the other finding is not made again: a long queue asks for each of its tasks."""


class MediaEvidence:
    """Looks for what the database knows, and remembers what was found.

    Args:
        tree: the media tree.
        database: Pod's.
        clock: of the daemon.
        videos_dir: VIDEOS_DIR.
        logs: whether a change is logged: a command says what it finds itself.
    """

    def __init__(
        self, tree: MediaTree, database: Database, clock: Clock, videos_dir: str, *, logs: bool = True
    ) -> None:
        self._logs = logs
        self._tree = tree
        self._database = database
        self._clock = clock
        self._videos_dir = videos_dir
        self._right_at = float("-inf")
        self._wrong_at = float("-inf")
        self._doubtful: set[str] = set()
        self.problem: str | None = None
        """What was wrong at the last look, in words; None when the tree was the right one."""

    async def check(self, *, source: str | None = None, within: float = FRESH_FOR) -> str | None:
        """What speaks against this being the right media tree, in words; None when nothing does.

        Args:
            source: a file of a task that is not there; that alone does not speak against the tree.
            within: how many seconds an earlier finding that it is the right one is good for.

        Raises:
            DatabaseError: what should be there cannot be found out.
        """
        now = self._clock.monotonic()
        if (source is None and now - self._right_at < within) or now - self._wrong_at < _WRONG_FOR:
            return self.problem
        known = [row["video"] for row in await self._database.fetch(*_KNOWN_FILES(some=_SAMPLE))]
        places = self._doubtful if source is None else {*self._doubtful, source.partition("/")[0]}
        try:
            words, doubtful = await self._tree.look_within(
                self._tree.limits.space,
                Look.TREE,
                lambda: examine(self._tree, self._videos_dir, known, sorted(places)),
            )
        except MediaSlowError as error:
            return str(error)
        self._doubtful = doubtful
        self._tell(words)
        if words is None:
            self._right_at, self._wrong_at = self._clock.monotonic(), float("-inf")
        else:
            self._right_at, self._wrong_at = float("-inf"), self._clock.monotonic()
        return words

    def _tell(self, words: str | None) -> None:
        if self._logs and words is not None and self.problem is None:
            log.error(Event.MEDIA_MISSING, reason=words)
        if self._logs and words is None and self.problem is not None:
            log.info(Event.MEDIA_FOUND)
        self.problem = words


def examine(
    tree: MediaTree, videos_dir: str, known: Sequence[str], places: Sequence[str]
) -> tuple[str | None, set[str]]:
    """Look for known files, and into directories of the first level in which something should be (blocking).

    Returns:
        What is wrong, in words, if anything is; and which of the places are missing or empty.
    """
    doubtful = {place for place in places if _is_bare(tree, place)}
    if known:
        words = _without_videos(tree, videos_dir, known)
        if words is not None:
            return words, doubtful
    if doubtful:
        place = min(doubtful)
        return (
            f"{tree.root / place} is missing or empty, though the database names files in it: is it "
            "mounted? Nothing is submitted from there, and nothing is deleted, until it is."
        ), doubtful
    return None, doubtful


def _without_videos(tree: MediaTree, videos_dir: str, known: Sequence[str]) -> str | None:
    try:
        tree.path(videos_dir).opened().close()
    except FileNotFoundError:
        return (
            f"{tree.root / videos_dir} does not exist, though the database knows videos: is it mounted, and "
            "are pod.media_root and pod.videos_dir right? Until it is there no task fails and nothing is "
            "deleted."
        )
    except NotPlainError as error:
        return f"{error.strerror}."
    except OSError as error:
        return f"{tree.root / videos_dir} cannot be looked at: {error.strerror}."
    found = sum(_is_there(tree, path) for path in known)
    if 2 * found >= len(known):
        return None
    return (
        f"{len(known) - found} of {len(known)} video files that the database knows are not under "
        f"{tree.root}: is it mounted, and is it Pod's MEDIA_ROOT? Until they are there no task fails and "
        "nothing is deleted."
    )


def _is_there(tree: MediaTree, path: str) -> bool:
    try:
        return tree.path(path).exists()
    except (OSError, ResultRefusedError):
        return False


def _is_bare(tree: MediaTree, place: str) -> bool:
    try:
        with tree.path(place).opened() as directory:
            return directory.is_empty()
    except FileNotFoundError:
        return True
    except (OSError, ResultRefusedError):
        return False

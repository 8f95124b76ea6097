"""Whether the media tree is the right one (invariant I16): files that the database knows are there.

A tree that is not mounted looks like one in which everything is missing: nothing fails for a missing file,
and nothing is deleted, before a sample of the video files of finished videos has been found.
"""

from collections.abc import Sequence

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.media import place_of
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

_DOUBTED_FOR = 600.0
"""Seconds after which a directory that is bare, or does not answer, is forgotten unless a task asks for a
file in it again."""


class MediaEvidence:
    """Looks for what the database knows, and remembers what was found.

    A directory of the first level, or one of Pod's, may be a mount of its own. One that is bare, though a
    task has its source there, keeps that task waiting; it says nothing about the rest of the tree.

    Args:
        tree: the media tree.
        database: Pod's.
        clock: of the daemon.
        pod: how this Pod is set up.
        logs: whether a change is logged: a command says what it finds itself.
    """

    def __init__(
        self, tree: MediaTree, database: Database, clock: Clock, pod: PodSettings, *, logs: bool = True
    ) -> None:
        self._logs = logs
        self._tree = tree
        self._database = database
        self._clock = clock
        self._pod = pod
        self._right_at = float("-inf")
        self._wrong_at = float("-inf")
        self._asked_at: dict[str, float] = {}
        """When a task last missed its source in these directories, which were bare."""
        self._bare: dict[str, str] = {}
        self.silent_places: dict[str, tuple[str, float]] = {}
        """Why the sources in these directories cannot be looked at, and when one was tried last."""
        self.problem: str | None = None
        """What was wrong at the last look, in words; None when the tree was the right one."""

    @property
    def place_problems(self) -> tuple[str, ...]:
        """A sentence for each directory in which tasks have their sources and nothing can be found."""
        return (*self._bare.values(), *self._silent_words().values())

    @property
    def nothing_can_be_submitted(self) -> str | None:
        """Why no task can be, in words: the tree is not the right one, or its videos do not answer."""
        return self.problem or self._silent_words().get(self._place(f"{self._pod.videos_dir}/"))

    def silent(self, source: str, words: str) -> None:
        """A source could not be looked at: its file system does not answer, or is in trouble."""
        now, place = self._clock.monotonic(), self._place(source)
        lately = self._silent_words()
        if self._logs and place not in lately:
            log.error(Event.MEDIA_SLOW, reason=words)
        self.silent_places = {name: known for name, known in self.silent_places.items() if name in lately}
        self.silent_places[place] = (words, now)

    def answered(self, source: str) -> None:
        """A source could be looked at."""
        if self.silent_places.pop(self._place(source), None) is not None and self._logs:
            log.info(Event.MEDIA_FOUND)

    def _place(self, path: str) -> str:
        return place_of(path, self._pod.directories)

    def _silent_words(self) -> dict[str, str]:
        now = self._clock.monotonic()
        return {place: words for place, (words, at) in self.silent_places.items() if now - at < _DOUBTED_FOR}

    async def check(self, *, source: str | None = None, within: float = FRESH_FOR) -> str | None:
        """What speaks against this being the right media tree, in words; None when nothing does.

        Args:
            source: a file of a task that is not there; that alone does not speak against the tree, but it
                does when the place that it should be in is missing or empty.
            within: how many seconds an earlier finding that it is the right one is good for.

        Raises:
            DatabaseError: what should be there cannot be found out.
        """
        now = self._clock.monotonic()
        if (source is None and now - self._right_at < within) or now - self._wrong_at < _WRONG_FOR:
            return self.problem
        place = None if source is None else self._place(source)
        if place is not None:
            # Before anything is waited for: tasks ask at the same time, and no look is to forget any.
            self._asked_at[place] = now
        rows = await self._database.fetch(*_KNOWN_FILES(some=_SAMPLE))
        known = [(row["video"], row["rendition"]) for row in rows]
        asked = [name for name, at in self._asked_at.items() if now - at < _DOUBTED_FOR]
        try:
            words, bare = await self._tree.look_within(
                self._tree.limits.space,
                Look.TREE,
                lambda: examine(self._tree, self._pod.videos_dir, known, sorted(asked)),
            )
        except MediaSlowError as error:
            return str(error)
        # Those that were asked for since are not known yet.
        self._asked_at = {
            name: at
            for name, at in self._asked_at.items()
            if name in bare or (name not in asked and at >= now)
        }
        # Nothing is known of its parts while the whole may be another one.
        told = sorted(bare) if words is None else []
        self._tell(words, {name: _bare_words(self._tree, name) for name in told})
        if words is None:
            self._right_at, self._wrong_at = self._clock.monotonic(), float("-inf")
        else:
            self._right_at, self._wrong_at = float("-inf"), self._clock.monotonic()
        return words if words is not None or place is None else self._bare.get(place)

    def _tell(self, words: str | None, bare: dict[str, str]) -> None:
        news = [words] if words is not None and self.problem is None else []
        news += [sentence for place, sentence in bare.items() if place not in self._bare]
        was_wrong = self.problem is not None or bool(self._bare)
        self.problem, self._bare = words, bare
        if not self._logs:
            return
        for sentence in news:
            log.error(Event.MEDIA_MISSING, reason=sentence)
        if was_wrong and words is None and not bare:
            log.info(Event.MEDIA_FOUND)


def examine(
    tree: MediaTree, videos_dir: str, known: Sequence[tuple[str, str | None]], places: Sequence[str]
) -> tuple[str | None, frozenset[str]]:
    """Look for known files, and into places in which something should be (blocking).

    Args:
        tree: the media tree.
        videos_dir: VIDEOS_DIR.
        known: of videos that are finished: the video file, and a rendition if there is one.
        places: directories that may be mounts.

    Returns:
        What is wrong, in words, if anything is; and which of the places are missing or empty.
    """
    bare = frozenset(place for place in places if _is_bare(tree, place))
    return (_without_videos(tree, videos_dir, known) if known else None), bare


def _bare_words(tree: MediaTree, place: str) -> str:
    return (
        f"{tree.root / place} is missing or empty, though tasks have their sources in it: is it mounted? "
        "They wait until it is; 'poddispatchd tasks cancel' ends those whose source is gone for good."
    )


def _without_videos(tree: MediaTree, videos_dir: str, known: Sequence[tuple[str, str | None]]) -> str | None:
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
    # Some have their originals on tape: a rendition proves as much.
    found = sum(any(path and _is_there(tree, path) for path in files) for files in known)
    # Half of them: a person may have deleted some files, and a tree that is not mounted has none.
    if 2 * found >= len(known):
        return None
    return (
        f"{len(known) - found} of {len(known)} videos that the database knows have no file under "
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

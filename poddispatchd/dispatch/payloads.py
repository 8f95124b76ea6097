"""What would be posted for a task, once it is known that its source file is there; also ahead of its turn."""

import asyncio
import posixpath
from collections.abc import Sequence
from enum import Enum, auto
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.media import place_of
from poddispatchd.domain.payload import Payload, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.source import Source
from poddispatchd.domain.task import Task, TaskPk
from poddispatchd.errors import MediaMissingError, MediaSlowError, ResultRefusedError, UnsubmittableError
from poddispatchd.pod import sources
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.file_system_errors import IN_TROUBLE
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runtime.batching import Batcher

_FRESH = 2.0
"""Seconds for which what was read of a task's source is good enough; a restarted task is another one."""

_MOST = 256

_TOGETHER = 20
"""Files that are asked for in one turn of a thread."""


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


class SourceFile(Struct, frozen=True):
    """What is found of a source file; ``size``: its bytes, 0 where it is none or cannot be looked at."""

    presence: Presence
    size: int = 0


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


_MOST_PLACES = 100
"""Places that are remembered; those in which nothing is looked for make room."""


class SourceFiles:
    """Looks whether source files are there, without waiting for a file system that does not answer.

    It asks for files of each place that may be a mount, those that wait together, in threads of their own: a
    hanging NFS holds up nothing else.
    """

    def __init__(self, tree: MediaTree, pod: PodSettings) -> None:
        self._tree = tree
        self._named = pod.directories
        self._places: dict[str, Batcher[str, SourceFile]] = {}

    async def look(self, relative: str) -> SourceFile:
        """What is at a path relative to MEDIA_ROOT; within ``limits.look`` seconds."""
        place = place_of(relative, self._named)
        if place not in self._places:
            if len(self._places) >= _MOST_PLACES:
                # Idle ones only: beside one that is at work another one would look at the same place.
                self._places = {name: looks for name, looks in self._places.items() if not looks.is_idle}
            self._places[place] = Batcher(partial(self._look, place), limit=_TOGETHER)
        try:
            return await self._places[place].put(relative)
        except MediaSlowError:
            return SourceFile(Presence.SILENT)

    async def _look(self, place: str, paths: Sequence[str]) -> Sequence[SourceFile]:
        return await self._tree.look_each(Look.SOURCE, partial(_found, self._tree), paths, place=place)


def _found(tree: MediaTree, relative: str) -> SourceFile:
    try:
        status = tree.path(relative).status()
    except OSError as error:
        return SourceFile(Presence.SILENT if error.errno in IN_TROUBLE else Presence.HIDDEN)
    except ResultRefusedError:
        # A link below MEDIA_ROOT, which we do not follow (I14) and the web server may: its task is submitted.
        return SourceFile(Presence.HIDDEN)
    if status is None:
        return SourceFile(Presence.MISSING)
    if status.is_file:
        return SourceFile(Presence.THERE if status.size else Presence.EMPTY, status.size)
    return SourceFile(Presence.HIDDEN if status.is_link else Presence.NOT_A_FILE)


class Payloads:
    """Makes payloads; it changes nothing. What several tasks work on is read in one statement.

    Args:
        database: Pod's.
        catalogue: what Pod's tables have.
        disk: where source files are looked for.
        evidence: whether a file that is missing proves anything.
        pod: how this Pod is set up.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        disk: SourceFiles,
        evidence: MediaEvidence,
        pod: PodSettings,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._disk = disk
        self._evidence = evidence
        self._media_root = pod.media_root
        self._settings = sources.payload_settings(pod)
        self._sources: Batcher[Task, Source | UnsubmittableError] = Batcher(self._load)

    async def of(self, task: Task, site: Site) -> Payload:
        """What is posted for a task.

        Raises:
            UnsubmittableError: no runner could ever run this, or its source file does not exist or is empty.
            MediaMissingError: the media tree is not the right one, or does not answer.
        """
        source = await self._sources.put(task)
        if isinstance(source, UnsubmittableError):
            raise source
        payload = build_payload(source, site, self._settings)
        size = await self._check(posixpath.normpath(payload.source_file))
        return replace(payload, source_size=size)

    async def _check(self, path: str) -> int | None:
        """Make sure that a source is there, or that only others can know; its bytes, if it can be looked at.

        It has failed only when it is looked for before and after the tree has shown that it is the right one:
        it may have been mounted just now.
        """
        if (found := await self._disk.look(path)).presence in MISSING_WORDS:
            words = await self._evidence.check(source=path)
            if words is not None:
                raise MediaMissingError(words)
            found = await self._disk.look(path)
        if (words := MISSING_WORDS.get(found.presence)) is not None:
            raise UnsubmittableError(words.format(path=self._media_root / path))
        if found.presence is Presence.SILENT:
            words = SILENT_WORDS.format(path=self._media_root / path)
            self._evidence.silent(path, words)
            raise MediaMissingError(words)
        if self._evidence.silent_places:
            self._evidence.answered(path)
        return found.size or None

    async def directory_of(self, task: Task) -> str:
        """Where the results of an encoding would be; nowhere for other tasks, or for a video that is gone."""
        return sources.output_directory(self._media_root, await self._sources.put(task))

    async def _load(self, tasks: Sequence[Task]) -> Sequence[Source | UnsubmittableError]:
        async with self._database.connection() as connection:
            return await sources.load_sources(connection, self._catalogue.capabilities, tasks)


class _Begun(Struct, frozen=True):
    task: Task
    site: Site
    at: float
    work: "asyncio.Task[Payload]"


class Preparations:
    """Prepares tasks ahead, so that a manager that answers gets the next one at once.

    Whoever needs one that was not prepared, or long ago, prepares it now.
    """

    def __init__(self, payloads: Payloads, clock: Clock) -> None:
        self._payloads = payloads
        self._clock = clock
        self._begun: dict[TaskPk, _Begun] = {}

    def begin(self, task: Task, site: Site) -> None:
        """Prepare a task whose turn comes soon, unless that is under way."""
        if self.has(task, site):
            return
        if len(self._begun) >= _MOST:
            self._forget_old()
        work = asyncio.create_task(self._payloads.of(task, site), name=f"preparation of task {task.pk}")
        # Perhaps nobody asks for it any more.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._begun[task.pk] = _Begun(task, site, self._clock.monotonic(), work)

    def has(self, task: Task, site: Site) -> bool:
        """Whether a task is being prepared, or was a moment ago."""
        return self._fresh(task, site) is not None

    async def of(self, task: Task, site: Site) -> Payload:
        """What is posted for a task.

        Raises:
            UnsubmittableError: as ``Payloads.of``.
            MediaMissingError: as ``Payloads.of``.
        """
        begun = self._fresh(task, site)
        # For one use: a task that is tried once more is to be looked at as it is then.
        self._begun.pop(task.pk, None)
        return await (self._payloads.of(task, site) if begun is None else begun.work)

    def _fresh(self, task: Task, site: Site) -> _Begun | None:
        begun = self._begun.get(task.pk)
        if begun is None or (begun.task.date_added, begun.site) != (task.date_added, site):
            return None
        return begun if self._clock.monotonic() - begun.at <= _FRESH else None

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        self._begun = {pk: begun for pk, begun in self._begun.items() if now - begun.at <= _FRESH}

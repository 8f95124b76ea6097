"""What would be posted for a task, once it is known that its source file is there; also ahead of its turn."""

import asyncio
import posixpath
from collections.abc import Sequence

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.source_files import MISSING_WORDS, SILENT_WORDS, Presence, SourceFiles
from poddispatchd.domain import media
from poddispatchd.domain.payload import Payload, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.source import Source
from poddispatchd.domain.task import Task, TaskPk
from poddispatchd.errors import MediaMissingError, UnsubmittableError
from poddispatchd.pod import sources
from poddispatchd.pod.capabilities import Catalogue
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.runtime.batching import Batcher

_FRESH = 2.0
"""Seconds for which what was read of a task's source is good enough; a restarted task is another one."""

_MOST = 256


class Prepared(Struct, frozen=True):
    """What would be posted for a task, and where the results of an encoding would be."""

    payload: Payload
    output_directory: str = ""


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
        self._pod = pod
        self._sources: Batcher[Task, Source | UnsubmittableError] = Batcher(self._load)

    async def of(self, task: Task, site: Site) -> Prepared:
        """What is posted for a task.

        Raises:
            UnsubmittableError: no runner could ever run this, or its source file does not exist or is empty.
            MediaMissingError: the media tree is not the right one, or does not answer.
        """
        source = await self._sources.put(task)
        if isinstance(source, UnsubmittableError):
            raise source
        payload = build_payload(source, site, sources.payload_settings(self._pod))
        await self._check(posixpath.normpath(media.source_file(str(self._pod.media_root), source)))
        return Prepared(payload, sources.output_directory(self._pod.media_root, source))

    async def _check(self, path: str) -> None:
        """Make sure that a source is there, or that only others can know.

        It has failed only when it is looked for before and after the tree has shown that it is the right one:
        it may have been mounted just now.
        """
        media_root = self._pod.media_root
        if (found := await self._disk.look(path)) in MISSING_WORDS:
            words = await self._evidence.check(source=path)
            if words is not None:
                raise MediaMissingError(words)
            found = await self._disk.look(path)
        if found in MISSING_WORDS:
            raise UnsubmittableError(MISSING_WORDS[found].format(path=media_root / path))
        if found is Presence.SILENT:
            words = SILENT_WORDS.format(path=media_root / path)
            self._evidence.silent(path, words)
            raise MediaMissingError(words)
        self._evidence.answered(path)

    async def directory_of(self, task: Task) -> str:
        """Where the results of an encoding would be; nowhere for other tasks, or for a video that is gone."""
        return sources.output_directory(self._pod.media_root, await self._sources.put(task))

    async def _load(self, tasks: Sequence[Task]) -> Sequence[Source | UnsubmittableError]:
        async with self._database.connection() as connection:
            return await sources.load_sources(connection, self._catalogue.capabilities, tasks)


class _Begun(Struct, frozen=True):
    task: Task
    site: Site
    at: float
    work: "asyncio.Task[Prepared]"


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

    async def of(self, task: Task, site: Site) -> Prepared:
        """What is posted for a task.

        Raises:
            UnsubmittableError: as ``Payloads.of``.
            MediaMissingError: as ``Payloads.of``.
        """
        begun = self._fresh(task, site)
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

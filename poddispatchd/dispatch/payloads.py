"""What would be posted for a task, once it is known that its source file is there."""

import posixpath
from collections.abc import Sequence

from msgspec import Struct

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.dispatch.source_files import MISSING_WORDS, SILENT_WORDS, Presence, SourceFiles
from poddispatchd.domain import media
from poddispatchd.domain.payload import Payload, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.source import Source
from poddispatchd.domain.task import Task
from poddispatchd.errors import MediaMissingError, UnsubmittableError
from poddispatchd.pod import sources
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.runtime.batching import Batcher


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

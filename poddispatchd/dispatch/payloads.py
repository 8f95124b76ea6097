"""What would be posted for a task, once it is known that its source file is there."""

import posixpath

import structlog

from poddispatchd.dispatch.source_files import MISSING_WORDS, Presence, SourceFiles
from poddispatchd.domain import media
from poddispatchd.domain.payload import Payload, build_payload
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import Task
from poddispatchd.errors import MediaMissingError, UnsubmittableError
from poddispatchd.observability.events import Event
from poddispatchd.parts import Parts
from poddispatchd.pod import sources

log = structlog.get_logger(__name__)


class Payloads:
    """Makes payloads; it changes nothing."""

    def __init__(self, parts: Parts, *, disk: SourceFiles | None = None) -> None:
        self._parts = parts
        self._disk = disk or SourceFiles(parts.media)

    async def of(self, task: Task, site: Site) -> Payload:
        """What is posted for a task.

        Raises:
            UnsubmittableError: no runner could ever run this, or its source file does not exist or is empty.
            MediaMissingError: the media tree is not the right one.
        """
        parts, pod = self._parts, self._parts.settings.pod
        async with parts.database.connection() as connection:
            source = await sources.load_source(connection, parts.capabilities, task)
        payload = build_payload(source, site, sources.payload_settings(pod))
        await self._check(posixpath.normpath(media.source_file(str(pod.media_root), source)))
        return payload

    async def _check(self, path: str) -> None:
        """Make sure that a source is there, or that nobody can know.

        It has failed only when it is looked for before and after the tree has shown that it is the right one:
        it may have been mounted just now.
        """
        media_root = self._parts.settings.pod.media_root
        if (found := await self._disk.look(path)) in MISSING_WORDS:
            words = await self._parts.evidence.check(source=path)
            if words is not None:
                raise MediaMissingError(words)
            found = await self._disk.look(path)
        if found in MISSING_WORDS:
            raise UnsubmittableError(MISSING_WORDS[found].format(path=media_root / path))
        if found is Presence.UNKNOWN:
            # A file system that does not answer is no reason to fail the task.
            seconds = self._parts.media.limits.look
            log.warning(Event.MEDIA_SLOW, path=str(media_root / path), seconds=seconds)
